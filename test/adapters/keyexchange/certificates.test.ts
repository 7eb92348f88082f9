// SPDX-License-Identifier: Apache-2.0
// Certificates that are not accepted, in either direction: each fault is reported, with the peer if it is proven, in
// the log, in status and in health, even if nothing is requested from the peer.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls, { createServer } from 'node:tls';
import grpc, { status } from '@grpc/grpc-js';
import { beforeAll, describe, expect, it } from 'vitest';
import { PSP_GatewayClient } from '../../../proto/gen/psp_gateway.js';
import { until } from '../../e2e/namespace.js';
import { eventually } from '../shared/waiting.js';
import { Authority, type KeyPair, type Unusual, writeTls } from './certificates.js';
import { nodeOfEachTest } from './node_of_each_test.js';
import { FakePeer, PlainClient, type PlainRequest } from './peer.js';
import { flowOf, startNode, type TestNode, unhurried } from './rig.js';

const identity = 'spiffe://psp/gateway/b';
const hourMs = 3_600_000;
const expired: Unusual = { to: -hourMs };
const early: Unusual = { from: hourMs };
const request: PlainRequest = {
  requestId: 7,
  versions: [0],
  tunnels: [{ source: '10.2.0.7', destination: '10.1.0.5', innerType: 4 }],
};

let authority: Authority;
let foreign: Authority;
let ports: Record<string, number>;
let a: TestNode;
const closing = nodeOfEachTest((made) => {
  ({ authority, ports, a } = made);
});
beforeAll(async () => {
  foreign = await Authority.create();
});

const health = async (node = a) => (await node.status()).health;
const peerHealth = async (node = a, peer = 'b') => {
  const lines = (await health(node)).filter(({ part }) => part === `peer ${peer}`);
  return lines.map(({ message }) => message);
};
const noConnection = (reason: string) => `no connection to 127.0.0.1:${ports.b}: ${reason}`;

describe('the certificate of a server at the peer’s address', () => {
  const cases: [string, () => Promise<KeyPair>, string][] = [
    ['has expired', () => authority.issue([identity], [], expired), 'a certificate that expired on '],
    [
      'is not valid yet',
      () => authority.issue([identity], [], early),
      'a certificate that is not valid before ',
    ],
    [
      'is for clients only',
      () => authority.issue([identity], [], { usages: ['clientAuth'] }),
      'a certificate that lacks the extended key usage serverAuth; ',
    ],
    [
      'is of another authority',
      () => foreign.issue([identity]),
      'a certificate that does not lead to an authority in our tls/ca.crt; ',
    ],
    [
      'is that of another gateway',
      () => authority.issue(['spiffe://psp/gateway/zoe']),
      `the certificate of spiffe://psp/gateway/zoe, not of ${identity}; `,
    ],
  ];
  it.each(cases)('that %s is reported without any want, and for one', async (_what, issue, detail) => {
    const peer = new FakePeer();
    await peer.start(ports.b as number, authority.certificate, await issue());
    closing.push(() => peer.stop());
    const named = `PEER_CERTIFICATE_INVALID: peer b presents ${detail}`;
    await eventually(async () =>
      expect(await peerHealth()).toEqual([expect.stringContaining(noConnection(named))]),
    );
    a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.7')]);
    await eventually(() => expect(a.linesOf('PEER_CERTIFICATE_INVALID')).toHaveLength(1));
    expect(a.linesOf('PEER_CERTIFICATE_INVALID')[0]).toMatchObject({ peer: 'b' });
    expect((await a.status()).peers[0]).toMatchObject({ failed: 1n, lastCode: 'PEER_CERTIFICATE_INVALID' });
    expect(a.dataplane.refusals).toEqual([]);
    expect(peer.requests).toEqual([]);
  });
});

describe('the certificate of a client', () => {
  const from = (pair: KeyPair | undefined): PlainClient => {
    const client = new PlainClient(ports.a as number, authority.certificate, pair);
    closing.push(() => client.close());
    return client;
  };
  /** Including the reason why there is no connection to b, because no process listens there. */
  const beside = (...messages: unknown[]) => [
    expect.stringContaining(noConnection('PEER_DOWN')),
    ...messages,
  ];

  const proven: [string, Unusual, string][] = [
    ['has expired', expired, 'expired on '],
    ['is not valid yet', early, 'is not valid before '],
    ['is for servers only', { usages: ['serverAuth'] }, 'lacks the extended key usage clientAuth; '],
  ];
  it.each(proven)(
    'that %s is reported with its peer until the peer uses a valid one',
    async (_what, unusual, detail) => {
      const requests = await a.counter('requests');
      const bad = await from(await authority.issue([identity], [], unusual)).request(request);
      expect(bad).toMatchObject({ code: status.UNAVAILABLE });
      const named = `PEER_CERTIFICATE_INVALID: peer b presents a certificate that ${detail}`;
      await eventually(async () =>
        expect(await peerHealth()).toEqual(beside(expect.stringContaining(named))),
      );
      expect(a.linesOf('PEER_CERTIFICATE_INVALID')[0]).toMatchObject({ peer: 'b' });
      expect(await a.counter('requests')).toBe(requests);
      expect(await from(await authority.issue([identity])).request(request)).toMatchObject({ requestId: 7 });
      await eventually(async () => expect(await peerHealth()).toEqual(beside()));
    },
  );

  const unproven: [string, () => Promise<KeyPair | undefined>, string][] = [
    [
      'is of another authority',
      () => foreign.issue([identity]),
      'a certificate that does not lead to an authority in our tls/ca.crt; ',
    ],
    ['does not exist', async () => undefined, 'no certificate; '],
  ];
  it.each(unproven)(
    'that %s is reported with the address, and is no fault of the peer',
    async (_what, issue, detail) => {
      expect(await from(await issue()).request(request)).toMatchObject({ code: status.UNAVAILABLE });
      await eventually(() => expect(a.linesOf('PEER_CERTIFICATE_INVALID')).not.toEqual([]));
      const [line] = a.linesOf('PEER_CERTIFICATE_INVALID');
      expect(line?.err).toContain(`peer at 127.0.0.1 presents ${detail}`);
      expect(line?.peer).toBeUndefined();
      expect(await a.counter('PEER_CERTIFICATE_INVALID')).toBeGreaterThan(0);
      await eventually(async () => expect(await peerHealth()).toEqual(beside()));
    },
  );
});

it('no TLS session is resumed, which would skip the verification of the certificate', async () => {
  const { certificate, privateKey } = await authority.gateway(identity);
  const options = {
    host: '127.0.0.1',
    port: ports.a as number,
    ca: authority.certificate,
    cert: certificate,
    key: privateKey,
    servername: 'a',
    ALPNProtocols: ['h2'],
  };
  const first = tls.connect(options);
  const [session] = (await Promise.race([once(first, 'session'), once(first, 'data').then(() => [])])) as [
    Buffer?,
  ];
  first.destroy();
  const second = tls.connect({ ...options, ...(session && { session }) });
  await once(second, 'secureConnect');
  expect(second.isSessionReused()).toBe(false);
  expect(second.authorized).toBe(true);
  second.destroy();
});

describe('our own certificate', () => {
  const refused = 'CERTIFICATE_REFUSED: peer b refuses our certificate: ';

  it('that a peer rejects without an alert is reported as refused', async () => {
    const pair = await authority.gateway(identity);
    const server = createServer({
      ca: foreign.certificate,
      cert: pair.certificate,
      key: pair.privateKey,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
    });
    server.listen(ports.b, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => server.close());
    const named = noConnection(`${refused}it closed the connection right after the TLS handshake; `);
    await eventually(async () => expect(await peerHealth()).toEqual([expect.stringContaining(named)]));
  });

  it('that a peer rejects with an alert is reported with the reason of the alert', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'psp-alert-'));
    closing.push(() => rmSync(folder, { recursive: true }));
    writeTls(folder, foreign.certificate, await authority.gateway(identity));
    const file = (name: string) => join(folder, 'tls', name);
    const tls = ['-CAfile', file('ca.crt'), '-cert', file('node.crt'), '-key', file('node.key')];
    const demanding = ['-Verify', '1', '-verify_return_error', '-tls1_3', '-alpn', 'h2'];
    const args = ['s_server', '-accept', `127.0.0.1:${ports.b}`, ...tls, ...demanding, '-quiet'];
    const server: ChildProcess = spawn('openssl', args, { stdio: 'ignore' });
    closing.push(() => server.kill('SIGKILL'));
    const named = noConnection(`${refused}it does not trust the authority that issued it; `);
    await eventually(async () => expect(await peerHealth()).toEqual([expect.stringContaining(named)]));
  });

  it('that a client rejects with an alert is reported with the address and the reason', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'psp-alert-'));
    closing.push(() => rmSync(folder, { recursive: true }));
    writeTls(folder, foreign.certificate, await authority.gateway(identity));
    const file = (name: string) => join(folder, 'tls', name);
    const tls = ['-CAfile', file('ca.crt'), '-cert', file('node.crt'), '-key', file('node.key')];
    const args = ['s_client', '-connect', `127.0.0.1:${ports.a}`, ...tls, '-verify_return_error', '-quiet'];
    const client = spawn('openssl', args, { stdio: 'ignore' });
    await once(client, 'exit');
    await eventually(() => expect(a.linesOf('CERTIFICATE_REFUSED')).not.toEqual([]));
    expect(a.linesOf('CERTIFICATE_REFUSED')[0]?.err).toMatch(
      /^peer at 127\.0\.0\.1 refuses our certificate: it does not trust the authority that issued it; /,
    );
  });

  it('that expires while the node runs is a fault on both sides', async () => {
    // Long enough for any start; nothing except the wait depends on it.
    const pair = await authority.issue([identity], [], { to: 25_000 });
    const b = await startNode('b', authority, { ports, pair, times: unhurried });
    closing.push(() => b.stop());
    expect(await health(b)).not.toContainEqual(expect.objectContaining({ part: 'certificate' }));
    const own = expect.stringMatching(
      /^CERTIFICATE_UNUSABLE: \S+node\.crt expired on \S+: .*psp certs renew/,
    );
    const fault = await until(
      'its certificate is a fault',
      async () => (await health(b)).find(({ part }) => part === 'certificate'),
      60_000,
      500,
    );
    expect(fault.message).toEqual(own);
    expect(Math.abs(Date.now() - Number(fault.sinceMs))).toBeLessThan(600_000);
    await eventually(() =>
      expect(b.lines).toContainEqual(
        expect.objectContaining({ code: 'CERTIFICATE_UNUSABLE', msg: 'certificate unusable' }),
      ),
    );
    // The established connections end, in both directions.
    const theirs = 'PEER_CERTIFICATE_INVALID: peer b presents a certificate that expired on ';
    await eventually(async () =>
      expect(await peerHealth()).toContainEqual(expect.stringContaining(noConnection(theirs))),
    );
    await eventually(async () =>
      expect(await peerHealth(b, 'a')).toEqual([
        expect.stringContaining('CERTIFICATE_REFUSED: peer a refuses'),
      ]),
    );
  });
});

it('two gateways with the identity of one peer are reported while both send requests', async () => {
  const { certificate, privateKey } = await authority.gateway(identity);
  const [ca, key, pair] = [authority.certificate, privateKey, certificate].map((text) => Buffer.from(text));
  const credentials = grpc.credentials.createSsl(ca, key, pair, { checkServerIdentity: () => undefined });
  const client = new PSP_GatewayClient(`127.0.0.1:${ports.a}`, credentials, {
    'grpc.ssl_target_name_override': 'a',
  });
  closing.push(() => client.close());
  const askIn = (epoch: bigint) =>
    new Promise<void>((resolve) => {
      const tunnels = [
        { virtSrcIp: '10.2.0.7', virtDstIp: '10.1.0.5', innerType: 4, reverseParams: undefined },
      ];
      client.requestMultipleTunnelParams({ requestId: 7n, pspVersionsAccepted: [0], tunnels, epoch }, () =>
        resolve(),
      );
    });
  const named =
    'IDENTITY_SHARED: two gateways use the identity of peer b, at 127.0.0.1; give each a name and a certificate of its own';
  await askIn(1n);
  await askIn(2n);
  expect(await peerHealth()).not.toContain(named);
  await until(
    'both were in use for long enough',
    async () => {
      await askIn(1n);
      await askIn(2n);
      return (await peerHealth()).includes(named);
    },
    60_000,
    500,
  );
  expect(a.linesOf('IDENTITY_SHARED')).toHaveLength(1);
});
