// SPDX-License-Identifier: Apache-2.0
// Who may request what from the key exchange: TLS, certificates, VIPs, and the answers to a client of the reference
// protocol.
import { randomBytes } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { KeysRotated } from '../../../proto/gen/bus.js';
import { PspError } from '../../../services/shared/errors.js';
import { Authority, type KeyPair } from './certificates.js';
import { handshake, PlainClient, type PlainRequest, type PlainResponse } from './peer.js';
import { flowOf, freePorts, startNode, type TestNode } from './rig.js';

// A command to the dataplane has a timeout of 300 ms; here it is longer, so that a busy machine does not decide the
// result.
vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  shortestCommandMs: 2000,
}));

let authority: Authority;
let a: TestNode;
let port: number;
let peer: KeyPair;
const clients: PlainClient[] = [];
beforeAll(async () => {
  authority = await Authority.create();
  const ports = await freePorts('a', 'b');
  port = ports.a as number;
  a = await startNode('a', authority, {
    ports,
    extra: '  c: { endpoint: "127.0.0.1:9", vips: [10.2.0.128/25], mayRotate: true }',
  });
  peer = await authority.gateway('spiffe://psp/gateway/b');
});
afterAll(async () => {
  for (const client of clients) client.close();
  await a?.stop();
});

const clientWith = (pair: KeyPair | undefined, ca = authority.certificate): PlainClient => {
  const client = new PlainClient(port, ca, pair);
  clients.push(client);
  return client;
};
const reverse = (change = {}) => ({
  mac: '02:00:00:00:00:02',
  ip: '192.0.2.2',
  version: 0,
  spi: 0x1234,
  key: randomBytes(16),
  encapType: 4,
  ...change,
});
const ask = (change: Partial<PlainRequest> = {}, tunnel = {}): PlainRequest => ({
  requestId: 7,
  versions: [0],
  tunnels: [{ source: '10.2.0.7', destination: '10.1.0.5', innerType: 4, ...tunnel }],
  ...change,
});

describe('a client that uses only the reference protocol', () => {
  it('receives a key for each tunnel, and its own offer reaches the dataplane', async () => {
    const offer = reverse();
    const response = (await clientWith(peer).request(ask({}, { reverse: offer }))) as PlainResponse;
    expect(response.requestId).toBe(7);
    expect(response.tunnels).toHaveLength(1);
    const [tunnel] = response.tunnels;
    expect(tunnel).toMatchObject({ mac: '02:00:00:00:00:01', ip: '192.0.2.1', version: 0, encapType: 4 });
    expect(tunnel?.key).toEqual(a.dataplane.offered.get(tunnel?.spi as number));
    const accept = a.dataplane.accepts.at(-1);
    expect(accept?.message).toMatchObject({ peer: 'b', peerEpoch: undefined, version: 0 });
    expect(accept?.message.flows).toEqual([flowOf('10.1.0.5', '10.2.0.7')]);
    expect(accept?.message.egress[0]).toMatchObject({ spi: 0x1234, number: undefined });
    expect(accept?.keys[0]).toEqual(offer.key);
  });

  it('receives keys without offering any', async () => {
    const response = (await clientWith(peer).request(ask())) as PlainResponse;
    expect(response.tunnels).toHaveLength(1);
    expect(a.dataplane.accepts.at(-1)?.message.egress).toEqual([]);
  });

  it('is answered in the first version of its order that is allowed', async () => {
    const response = (await clientWith(peer).request(ask({ versions: [3, 1, 0] }))) as PlainResponse;
    expect(response.tunnels[0]).toMatchObject({ version: 1 });
    expect(response.tunnels[0]?.key).toHaveLength(32);
  });

  it('may send a batch of maximum size', async () => {
    const tunnels = Array.from({ length: 1024 }, (_, i) => ({
      source: `fd00:2:0:0:abcd:abcd:abcd:${(0x1000 + i).toString(16)}`,
      destination: `fd00:1:0:0:abcd:abcd:abcd:${(0x1000 + i).toString(16)}`,
      innerType: 6,
      reverse: reverse({ version: 1, spi: 0xf0000001 + i, key: randomBytes(32) }),
    }));
    const response = (await clientWith(peer).request(ask({ versions: [1], tunnels }))) as PlainResponse;
    expect(response.tunnels).toHaveLength(1024);
  });
});

describe('a refused request', () => {
  const cases: [string, string, number, () => PlainRequest][] = [
    ['a VIP of nobody', 'VIP_NOT_PEERS', status.PERMISSION_DENIED, () => ask({}, { source: '10.9.0.1' })],
    ['our own VIP', 'VIP_NOT_PEERS', status.PERMISSION_DENIED, () => ask({}, { source: '10.1.0.9' })],
    [
      'a VIP in a more specific prefix of another peer',
      'VIP_NOT_PEERS',
      status.PERMISSION_DENIED,
      () => ask({}, { source: '10.2.0.200' }),
    ],
    [
      'a destination that is not ours',
      'VIP_NOT_OURS',
      status.NOT_FOUND,
      () => ask({}, { destination: '10.3.0.1' }),
    ],
    [
      'a version that we do not speak',
      'VERSION_NOT_SPOKEN',
      status.INVALID_ARGUMENT,
      () => ask({ versions: [2, 3] }),
    ],
    [
      'an offer outside the underlay',
      'UNDERLAY_NOT_ALLOWED',
      status.PERMISSION_DENIED,
      () => ask({}, { reverse: reverse({ ip: '203.0.113.1' }) }),
    ],
    ['no tunnels', 'REQUEST_INVALID', status.INVALID_ARGUMENT, () => ask({ tunnels: [] })],
    ['the wrong family', 'REQUEST_INVALID', status.INVALID_ARGUMENT, () => ask({}, { innerType: 6 })],
    [
      'an IPv4 address inside IPv6',
      'REQUEST_INVALID',
      status.INVALID_ARGUMENT,
      () => ask({}, { source: '::ffff:10.2.0.7', destination: '::ffff:10.1.0.5', innerType: 6 }),
    ],
  ];
  it.each(cases)(
    'for %s ends with %s, counted and logged, and no part of it takes effect',
    async (_what, code, grpc, make) => {
      const accepts = a.dataplane.accepts.length;
      const before = await a.counter(code);
      const request = make();
      const good = { source: '10.2.0.99', destination: '10.1.0.99', innerType: 4 };
      if (request.tunnels.length > 0 && code !== 'UNDERLAY_NOT_ALLOWED') request.tunnels.unshift(good);
      expect(await clientWith(peer).request(request)).toMatchObject({
        code: grpc,
        details: expect.stringMatching(`^${code}: `),
      });
      expect(await a.counter(code)).toBe(before + 1);
      expect(a.linesOf(code)[0]).toMatchObject({ peer: 'b', code, ms: expect.any(Number) });
      expect(a.dataplane.accepts.length).toBe(accepts);
    },
  );

  it('writes at most one equal log line per second', async () => {
    const client = clientWith(peer);
    const before = a.linesOf('VIP_NOT_OURS').length;
    const startMs = performance.now();
    const refused = 40;
    for (let i = 0; i < refused; i++) await client.request(ask({}, { destination: '10.3.0.1' }));
    const seconds = Math.floor((performance.now() - startMs) / 1000);
    expect(a.linesOf('VIP_NOT_OURS').length).toBeLessThanOrEqual(before + 1 + seconds);
    await new Promise((resolve) => setTimeout(resolve, 1050));
    await client.request(ask({}, { destination: '10.3.0.1' }));
    const lines = a.linesOf('VIP_NOT_OURS').slice(before);
    const suppressed = lines.reduce((sum, line) => sum + Number(line.suppressed ?? 0), 0);
    expect(lines.length + suppressed).toBeGreaterThanOrEqual(refused + 1);
  });

  it('cannot rotate our key', async () => {
    expect(await clientWith(peer).rotate()).toMatchObject({ code: status.PERMISSION_DENIED });
    expect(a.linesOf('ROTATION_NOT_ALLOWED')[0]).toMatchObject({ peer: 'b' });
    expect(a.dataplane.rotations).toEqual([]);
  });
});

describe('a peer that may rotate our key', () => {
  it.each([false, true])('has its request carried out, issue_new_keys %s', async (issueNewKeys) => {
    a.dataplane.rotations.length = 0;
    const client = clientWith(await authority.gateway('spiffe://psp/gateway/c'));
    expect(await client.rotate(issueNewKeys)).toEqual([8, 1]);
    expect(a.dataplane.rotations).toEqual(['c']);
  });

  it.each([
    ['ROTATION_LIMITED', status.RESOURCE_EXHAUSTED, 'in 59000 ms'],
    ['ROTATION_PENDING', status.FAILED_PRECONDITION, '3 flows unanswered'],
    ['ENGINE_BUSY', status.UNAVAILABLE, 'full at the moment'],
  ] as const)('receives %s as status %i', async (code, expected, text) => {
    const client = clientWith(await authority.gateway('spiffe://psp/gateway/c'));
    a.dataplane.rotates = () => {
      if (code === 'ROTATION_PENDING') return KeysRotated.fromPartial({ code, unansweredFlows: 3 });
      throw new PspError(code, { ms: 59_000 });
    };
    expect(await client.rotate()).toMatchObject({
      code: expected,
      details: expect.stringMatching(new RegExp(`^${code}: .*${text}`)),
    });
  });
});

describe('a certificate', () => {
  const unauthorized: [string, string[], string[]][] = [
    ['of no configured peer', ['spiffe://psp/gateway/zoe'], []],
    ['of another trust domain', ['spiffe://other/gateway/b'], []],
    ['with two URIs, one of them the peer’s', ['spiffe://psp/gateway/b', 'spiffe://psp/gateway/zoe'], []],
    ['without a URI', [], ['b']],
    ['whose DNS name imitates a URI', [], ['x, URI:spiffe://psp/gateway/b']],
  ];
  it.each(unauthorized)('%s, although of our authority, is PEER_UNKNOWN', async (_what, uris, dns) => {
    const before = await a.counter('PEER_UNKNOWN');
    const accepts = a.dataplane.accepts.length;
    const client = clientWith(await authority.issue(uris, dns));
    expect(await client.request(ask())).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: expect.stringMatching(/^PEER_UNKNOWN: /),
    });
    expect(await a.counter('PEER_UNKNOWN')).toBe(before + 1);
    expect(a.linesOf('PEER_UNKNOWN')[0]).toMatchObject({ code: 'PEER_UNKNOWN', ms: expect.any(Number) });
    expect(a.dataplane.accepts.length).toBe(accepts);
  });

  it('of an unauthorized client does not permit a rotation either', async () => {
    const client = clientWith(await authority.issue(['spiffe://psp/gateway/zoe']));
    expect(await client.rotate()).toMatchObject({ details: expect.stringMatching(/^PEER_UNKNOWN: /) });
  });

  it('of another authority is rejected', async () => {
    const foreign = await Authority.create();
    const before = await a.counter('requests');
    const client = clientWith(await foreign.issue(['spiffe://psp/gateway/b']));
    expect(await client.request(ask())).toMatchObject({ code: status.UNAVAILABLE });
    expect(await clientWith(undefined).request(ask())).toMatchObject({ code: status.UNAVAILABLE });
    expect(await a.counter('requests')).toBe(before);
  });
});

it('is not accepted with TLS 1.2, and is with TLS 1.3', async () => {
  expect(await handshake(port, authority.certificate, peer, 'TLSv1.2')).toMatch(
    /PROTOCOL_VERSION|ECONNRESET/,
  );
  expect(await handshake(port, authority.certificate, peer, 'TLSv1.3')).toBe('TLSv1.3');
});
