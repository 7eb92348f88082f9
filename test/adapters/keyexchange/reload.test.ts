// SPDX-License-Identifier: Apache-2.0
// TLS files that change while two real key exchanges run and exchange keys all the time: what is used, what is refused, and
// which connections end.
import { X509Certificate } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { untrustedMs } from '../../../services/keyexchange/core/rules.js';
import { until } from '../../e2e/namespace.js';
import { eventually } from '../shared/waiting.js';
import { Authority, type KeyPair, replaceTls, writeTls } from './certificates.js';
import { PlainClient, type PlainRequest } from './peer.js';
import { flowOf, freePorts, startNode, type TestNode, unhurried } from './rig.js';

// A change of our files is followed by a renewal at once.
vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  renewalSpreadMs: 0,
  shortestCommandMs: 2000,
}));

const identity = (node: string) => `spiffe://psp/gateway/${node}`;
const fingerprintOf = ({ certificate }: KeyPair): string =>
  new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase();
const request: PlainRequest = {
  requestId: 7,
  versions: [0],
  tunnels: [{ source: '10.2.0.7', destination: '10.1.0.5', innerType: 4 }],
};

let authority: Authority;
let other: Authority;
let ports: Record<string, number>;
let a: TestNode;
let b: TestNode;
let pairOfB: KeyPair;
let closing: (() => unknown)[] = [];
beforeAll(async () => {
  authority = await Authority.create();
  other = await Authority.create();
});
beforeEach(async () => {
  ports = await freePorts('a', 'b');
  pairOfB = await authority.gateway(identity('b'));
  a = await startNode('a', authority, { ports, times: unhurried });
  closing.push(() => a.stop());
  b = await startNode('b', authority, { ports, times: unhurried, pair: pairOfB });
  closing.push(() => b.stop());
  await eventually(async () =>
    expect([await linkOf(a), await linkOf(b)]).toEqual(['connected', 'connected']),
  );
});
afterEach(async () => {
  vi.useRealTimers();
  for (const close of closing.reverse()) await close();
  closing = [];
});

const peerOf = async (node: TestNode) => (await node.status()).peers[0];
const linkOf = async (node: TestNode) => (await peerOf(node))?.link;
/** The fingerprint of the certificate that the peer of a node presented last. */
const presentedTo = async (node: TestNode) => (await peerOf(node))?.certificate?.fingerprint;
const faultsOf = async (node: TestNode, part: string) =>
  (await node.status()).health.filter((each) => each.part === part).map(({ message }) => message);
const inUse = async (node: TestNode) => (await node.status()).certificates[0]?.fingerprint;

/** Exchanges in both directions, one after another, until the end. @returns how many were started and failed by then. */
function exchanging(): () => Promise<{ failed: number; answered: number }> {
  const wants = setInterval(() => {
    a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.7')]);
    b.dataplane.want('a', [flowOf('10.2.0.7', '10.1.0.5')]);
  }, 25);
  closing.push(() => clearInterval(wants));
  return async () => {
    clearInterval(wants);
    const peers = [await peerOf(a), await peerOf(b)];
    return {
      failed: peers.reduce((sum, peer) => sum + Number(peer?.failed ?? 0), 0),
      answered: Math.min(...peers.map((peer) => Number(peer?.answered ?? 0))),
    };
  };
}

function clientAs(pair: KeyPair, ca = authority.certificate): PlainClient {
  const client = new PlainClient(ports.a as number, ca, pair);
  closing.push(() => client.close());
  return client;
}

describe('a new pair', () => {
  it('is used by new handshakes and by renewed connections, and no exchange fails', async () => {
    const end = exchanging();
    const next = await authority.gateway(identity('b'));
    expect(await presentedTo(a)).toBe(fingerprintOf(pairOfB));
    replaceTls(b.folder, 'node.key', next.privateKey);
    replaceTls(b.folder, 'node.crt', next.certificate);
    await eventually(async () => expect(await inUse(b)).toBe(fingerprintOf(next)));
    // The client of b presents it to the server of a.
    await eventually(async () => expect(await presentedTo(a)).toBe(fingerprintOf(next)));
    expect(b.lines).toContainEqual(expect.objectContaining({ msg: 'certificates reloaded' }));
    const { failed, answered } = await end();
    expect(failed).toBe(0);
    expect(answered).toBeGreaterThan(20);
    expect([await linkOf(a), await linkOf(b)]).toEqual(['connected', 'connected']);
  });

  it('is not used until both of its files are there, and the reason is reported', async () => {
    const next = await authority.gateway(identity('b'));
    replaceTls(b.folder, 'node.key', next.privateKey);
    await eventually(async () =>
      expect(await faultsOf(b, 'certificate files')).toEqual([
        expect.stringMatching(
          /^CERTIFICATE_NOT_RELOADED: .*node\.key is not the key of .*node\.crt: .*stay in use$/,
        ),
      ]),
    );
    expect(await inUse(b)).toBe(fingerprintOf(pairOfB));
    expect(await b.counter('CERTIFICATE_NOT_RELOADED')).toBe(1);
    replaceTls(b.folder, 'node.crt', next.certificate);
    await eventually(async () => expect(await inUse(b)).toBe(fingerprintOf(next)));
    expect(await faultsOf(b, 'certificate files')).toEqual([]);
  });

  it('that was written in part is not used until the file is complete', async () => {
    const next = await authority.gateway(identity('b'));
    const file = join(b.folder, 'tls/node.crt');
    const cut = next.certificate.slice(0, next.certificate.length / 2);
    writeFileSync(file, cut);
    await eventually(async () =>
      expect(await faultsOf(b, 'certificate files')).toEqual([
        expect.stringContaining('node.crt cannot be read'),
      ]),
    );
    expect(await inUse(b)).toBe(fingerprintOf(pairOfB));
    writeFileSync(join(b.folder, 'tls/node.key'), next.privateKey);
    writeFileSync(file, next.certificate);
    await eventually(async () => expect(await inUse(b)).toBe(fingerprintOf(next)));
    expect(await faultsOf(b, 'certificate files')).toEqual([]);
  });

  it('that does not lead to an authority of ours is not used', async () => {
    writeTls(b.folder, authority.certificate, await other.gateway(identity('b')));
    await eventually(async () =>
      expect(await faultsOf(b, 'certificate files')).toEqual([
        expect.stringMatching(/node\.crt does not lead to an authority in .*ca\.crt/),
      ]),
    );
    expect(await inUse(b)).toBe(fingerprintOf(pairOfB));
  });

  it('may come by a changed symbolic link, from an intermediate authority, with a DNS name, as SPIRE and Kubernetes write it', async () => {
    const root = await Authority.root();
    replaceTls(a.folder, 'ca.crt', `${authority.certificate}${root.certificate}`);
    const tls = join(b.folder, 'tls');
    const put = (version: string, pair: KeyPair) => {
      mkdirSync(join(tls, version));
      writeFileSync(join(tls, version, 'ca.crt'), authority.certificate + root.certificate);
      writeFileSync(join(tls, version, 'node.crt'), pair.certificate);
      writeFileSync(join(tls, version, 'node.key'), pair.privateKey, { mode: 0o640 });
      symlinkSync(version, join(tls, '..new'));
      renameSync(join(tls, '..new'), join(tls, '..data'));
    };
    put('..1', pairOfB);
    for (const file of ['ca.crt', 'node.crt', 'node.key']) {
      symlinkSync(`..data/${file}`, join(tls, 'link'));
      renameSync(join(tls, 'link'), join(tls, file));
    }
    await eventually(async () => expect((await b.status()).certificates).toHaveLength(3));
    const intermediate = await root.intermediate();
    const leaf = await intermediate.issue([identity('b')], ['b.example', 'gateway-b']);
    put('..2', { ...leaf, certificate: `${leaf.certificate}\n${intermediate.certificate}` });
    rmSync(join(tls, '..1'), { recursive: true });
    await eventually(async () => expect(await presentedTo(a)).toBe(fingerprintOf(leaf)));
    const kinds = (await b.status()).certificates.map(({ kind }) => kind);
    expect(kinds).toEqual(['node', 'intermediate', 'authority', 'authority']);
    expect([await linkOf(a), await linkOf(b)]).toEqual(['connected', 'connected']);
  });
});

it('an authority is replaced without one failed exchange, and the old one is of no use afterwards', async () => {
  const end = exchanging();
  const both = authority.certificate + other.certificate;
  for (const node of [a, b]) replaceTls(node.folder, 'ca.crt', both);
  for (const node of [a, b])
    await eventually(async () => expect((await node.status()).certificates).toHaveLength(3));
  for (const node of [a, b]) {
    const { certificate, privateKey } = await other.gateway(identity(node.name));
    replaceTls(node.folder, 'node.key', privateKey);
    replaceTls(node.folder, 'node.crt', certificate);
    await eventually(async () => expect(await inUse(node)).toBe(fingerprintOf({ certificate, privateKey })));
  }
  expect(
    await clientAs(pairOfB, `${authority.certificate}\n${other.certificate}`).request(request),
  ).toMatchObject({ requestId: 7 });
  for (const node of [a, b]) replaceTls(node.folder, 'ca.crt', other.certificate);
  for (const node of [a, b])
    await eventually(async () => expect((await node.status()).certificates).toHaveLength(2));
  // Longer than a connection under the old authority may last.
  await delay(untrustedMs + 2000);
  const { failed, answered } = await end();
  expect(failed).toBe(0);
  expect(answered).toBeGreaterThan(100);
  expect([await linkOf(a), await linkOf(b)]).toEqual(['connected', 'connected']);
  expect(await clientAs(pairOfB, other.certificate).request(request)).toMatchObject({
    code: status.UNAVAILABLE,
  });
});

describe('the connections of a peer end', () => {
  const refused = 'PEER_CERTIFICATE_INVALID: peer b presents a certificate that ';
  /** b can neither use its connection nor establish one, and a uses none to it. */
  async function isCutOff(client: PlainClient, reason: string): Promise<void> {
    const isReported = async () => (await faultsOf(a, 'peer b')).join().includes(`${refused}${reason}`);
    await until('the reason is reported', isReported, 60_000, 100);
    await eventually(async () => expect([await linkOf(a), await linkOf(b)]).toEqual(['failed', 'failed']));
    expect(await client.request(request)).toMatchObject({ code: status.UNAVAILABLE });
  }
  const isBack = () =>
    eventually(async () => expect([await linkOf(a), await linkOf(b)]).toEqual(['connected', 'connected']));

  it('when its authority revokes its certificate, until the list is replaced', async () => {
    const client = clientAs(pairOfB);
    expect(await client.request(request)).toMatchObject({ requestId: 7 });
    // A list of another authority has no effect, even if it has the same serial number.
    replaceTls(a.folder, 'ca.crl', await other.revoke([pairOfB.certificate]));
    await eventually(async () =>
      expect(await faultsOf(a, 'revocation')).toEqual([
        expect.stringContaining('which is no authority of ours'),
      ]),
    );
    expect(await client.request(request)).toMatchObject({ requestId: 7 });
    replaceTls(a.folder, 'ca.crl', await authority.revoke([pairOfB.certificate], -1000));
    await isCutOff(client, 'was revoked by its authority');
    // The list is overdue, which is reported, and in force.
    expect(await faultsOf(a, 'revocation')).toEqual([expect.stringContaining('was due for an update on')]);
    replaceTls(a.folder, 'ca.crl', await authority.revoke([]));
    await isBack();
    expect(await faultsOf(a, 'revocation')).toEqual([]);
  });

  it('when its fingerprint is in the list of refused ones, also while that list has a mistake later', async () => {
    const client = clientAs(pairOfB);
    expect(await client.request(request)).toMatchObject({ requestId: 7 });
    const line = `${new X509Certificate(pairOfB.certificate).fingerprint256} # stolen\n`;
    replaceTls(a.folder, 'refused.txt', `# refused\n${line}`);
    await isCutOff(client, 'is in the list of refused fingerprints');
    replaceTls(a.folder, 'refused.txt', 'b, the one that was stolen\n');
    await eventually(async () =>
      expect(await faultsOf(a, 'certificate files')).toEqual([
        expect.stringMatching(/refused\.txt cannot be read \(no list of SHA-256 fingerprints \(line 1 /),
      ]),
    );
    expect(await linkOf(a)).toBe('failed');
    rmSync(join(a.folder, 'tls/refused.txt'));
    await isBack();
  });

  it('when its authority is removed, although the connection was established before', async () => {
    const client = clientAs(pairOfB);
    expect(await client.request(request)).toMatchObject({ requestId: 7 });
    const { certificate, privateKey } = await other.gateway(identity('a'));
    replaceTls(a.folder, 'ca.crt', authority.certificate + other.certificate);
    await eventually(async () => expect((await a.status()).certificates).toHaveLength(3));
    writeTls(a.folder, other.certificate, { certificate, privateKey });
    await isCutOff(client, 'does not lead to an authority in our tls/ca.crt');
  });

  it('when the clock is set to a time at which its certificate has expired, until it is set back', async () => {
    const client = clientAs(pairOfB);
    expect(await client.request(request)).toMatchObject({ requestId: 7 });
    const now = Date.now();
    vi.useFakeTimers({ toFake: ['Date'], now: now + 900 * 86_400_000 });
    await eventually(async () =>
      expect(await faultsOf(a, 'certificate')).toEqual([expect.stringContaining('node.crt expired on ')]),
    );
    await eventually(async () => expect([await linkOf(a), await linkOf(b)]).toEqual(['failed', 'failed']));
    vi.setSystemTime(now);
    await isBack();
    expect(await faultsOf(a, 'certificate')).toEqual([]);
  });
});
