// SPDX-License-Identifier: Apache-2.0
// Peers that are down, silent, slow, faulty or that refuse: what the key exchange concludes, reports to the
// dataplane, counts and logs, and how soon it recovers.
import { once } from 'node:events';
import { createServer, type Server as TcpServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { MultiTunnelRequest, MultiTunnelResponse } from '../../../proto/gen/psp_gateway.js';
import { eventually } from '../shared/waiting.js';
import { Authority } from './certificates.js';
import { answerTo, FakePeer } from './peer.js';
import { flowOf, freePorts, startNode, type TestNode, unhurried } from './rig.js';

// A command to the dataplane has a timeout of 300 ms; here it is longer, so that a busy machine does not decide the
// result.
vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  shortestCommandMs: 2000,
}));

let authority: Authority;
let ports: Record<string, number>;
let a: TestNode;
/** Three times the defaults, so that a busy machine keeps them: for tests that wait for them to pass. */
const hurried = { exchangeMs: 3000, callMs: 2100 };
const closing: (() => Promise<void> | void)[] = [];
/** Replaces `a` by a node with these times. */
async function startA(times: typeof hurried): Promise<void> {
  ports = await freePorts('a', 'b', 'c');
  const started = await startNode('a', authority, { ports, times });
  closing.push(() => started.stop());
  a = started;
}
beforeEach(async () => {
  authority ??= await Authority.create();
  await startA(unhurried);
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startFake(name: string, identity = `spiffe://psp/gateway/${name}`): Promise<FakePeer> {
  const fake = new FakePeer();
  await fake.start(ports[name] as number, authority.certificate, await authority.gateway(identity));
  closing.push(() => fake.stop());
  return fake;
}

const good = (request: MultiTunnelRequest, callback: (error: null, response: MultiTunnelResponse) => void) =>
  callback(null, answerTo(request));
const flow = flowOf('10.1.0.5', '10.2.0.7');
const peerOf = async (name: string) => (await a.status()).peers.find((peer) => peer.name === name);

/** The required state after one exchange with b ended with this code. */
async function expectFailure(code: string): Promise<void> {
  await eventually(() => expect(a.linesOf(code)).toHaveLength(1));
  expect(a.linesOf(code)[0]).toMatchObject({
    peer: 'b',
    flow: '10.1.0.5 -> 10.2.0.7',
    ms: expect.any(Number),
    err: expect.any(String),
  });
  expect(await a.counter(code)).toBe(1);
  expect(await peerOf('b')).toMatchObject({ exchanges: 1n, answered: 0n, lastCode: code });
  expect(a.dataplane.installs).toEqual([]);
}

async function expectUnknown(code: string): Promise<void> {
  await expectFailure(code);
  expect(await peerOf('b')).toMatchObject({ failed: 1n, refused: 0n });
  expect(a.dataplane.refusals).toEqual([]);
}

describe('an outcome that is unknown is not reported to the dataplane:', () => {
  it('no server listens', async () => {
    a.dataplane.want('b', [flow]);
    await expectUnknown('PEER_DOWN');
  });

  it('the peer does not answer within the time of the call', async () => {
    await startA(hurried);
    await startFake('b');
    const startMs = performance.now();
    a.dataplane.want('b', [flow]);
    await expectUnknown('PEER_TIMEOUT');
    expect(performance.now() - startMs).toBeGreaterThan(hurried.callMs - 50);
  });

  it.each([status.UNAVAILABLE, status.CANCELLED])('the peer answers with status %i', async (code) => {
    (await startFake('b')).behave = (_request, callback) => callback({ code, details: 'x' });
    a.dataplane.want('b', [flow]);
    await expectUnknown('PEER_DOWN');
  });

  it.each([status.UNKNOWN, status.INTERNAL])('the peer fails with status %i', async (code) => {
    (await startFake('b')).behave = (_request, callback) => callback({ code, details: 'x' });
    a.dataplane.want('b', [flow]);
    await expectUnknown('RESPONSE_INVALID');
  });

  it('the server at the peer’s address has the certificate of another peer', async () => {
    const fake = await startFake('b', 'spiffe://psp/gateway/c');
    a.dataplane.want('b', [flow]);
    await expectUnknown('PEER_CERTIFICATE_INVALID');
    expect(a.linesOf('PEER_CERTIFICATE_INVALID')[0]?.err).toContain(
      'peer b presents the certificate of spiffe://psp/gateway/c, not of spiffe://psp/gateway/b; ',
    );
    expect(fake.requests).toEqual([]);
  });

  it('the peer supports TLS 1.2 at most', async () => {
    const pair = await authority.gateway('spiffe://psp/gateway/b');
    const old = createTlsServer({
      ca: authority.certificate,
      cert: pair.certificate,
      key: pair.privateKey,
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
      ALPNProtocols: ['h2'],
    });
    const refused = once(old, 'tlsClientError');
    await new Promise<void>((resolve) => old.listen(ports.b, '127.0.0.1', resolve));
    closing.push(() => void old.close());
    a.dataplane.want('b', [flow]);
    await expectUnknown('PEER_DOWN');
    expect((await refused)[0]).toMatchObject({ code: expect.stringMatching(/UNSUPPORTED_PROTOCOL|VERSION/) });
  });

  const faults: [string, (request: MultiTunnelRequest) => MultiTunnelResponse][] = [
    ['fewer tunnels than asked for', (request) => ({ ...answerTo(request), tunnelsParams: [] })],
    [
      'more tunnels than asked for',
      (request) => ({
        ...answerTo(request),
        tunnelsParams: [...answerTo(request).tunnelsParams, ...answerTo(request).tunnelsParams],
      }),
    ],
    ['a version that we do not allow', (request) => answerTo(request, { pspVersion: 2 })],
    ['a key that does not fit the version', (request) => answerTo(request, { pspVersion: 1 })],
    ['an SPI of zero', (request) => answerTo(request, { spi: 0x80000000 })],
    ['another outer family', (request) => answerTo(request, { encapType: 6, ipAddr: '2001:db8::1' })],
    ['an address outside the underlay', (request) => answerTo(request, { ipAddr: '203.0.113.1' })],
    ['a group MAC address', (request) => answerTo(request, { macAddr: '03:00:00:00:00:02' })],
    ['no MAC address', (request) => answerTo(request, { macAddr: '' })],
  ];
  it.each(faults)('the answer contains %s', async (_what, make) => {
    (await startFake('b')).behave = (request, callback) => callback(null, make(request));
    a.dataplane.want('b', [flow]);
    await expectUnknown('RESPONSE_INVALID');
  });
});

describe('a refusal', () => {
  const codes = ['PERMISSION_DENIED', 'NOT_FOUND', 'INVALID_ARGUMENT', 'RESOURCE_EXHAUSTED'] as const;
  it.each(codes)('with %s is passed to the dataplane', async (code) => {
    (await startFake('b')).behave = (_request, callback) =>
      callback({ code: status[code], details: 'because' });
    const want = a.dataplane.want('b', [flow]);
    await expectFailure('PEER_REFUSED');
    expect(a.linesOf('PEER_REFUSED')[0]?.err).toContain(`${code}: because`);
    expect(await peerOf('b')).toMatchObject({ failed: 0n, refused: 1n, breaker: 'closed' });
    await eventually(() => expect(a.dataplane.refusals).toHaveLength(1));
    const { exchange, epoch, peer, flows } = want;
    expect(a.dataplane.refusals[0]).toEqual({ exchange, epoch, peer, flows, refusal: 'PEER_REFUSED' });
  });

  it('never opens the breaker', async () => {
    const fake = await startFake('b');
    fake.behave = (_request, callback) => callback({ code: status.PERMISSION_DENIED, details: '' });
    for (let i = 0; i < 20; i++) a.dataplane.want('b', [flow]);
    await eventually(() => expect(a.dataplane.refusals).toHaveLength(20));
    expect(await peerOf('b')).toMatchObject({ breaker: 'closed', refused: 20n });
  });
});

describe('a dead peer', () => {
  /** A peer that accepts connections and never sends anything. */
  async function startSilent(name: string): Promise<TcpServer> {
    const sockets: { destroy(): void }[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(ports[name], '127.0.0.1', resolve));
    closing.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return server;
  }

  const wantMuch = () => {
    for (let i = 0; i < 500; i++) a.dataplane.want('b', [flowOf('10.1.0.5', `10.2.${i >> 8}.${i & 255}`)]);
  };

  it('delays no other peer, however many wants there are for it', async () => {
    await startSilent('b');
    const fake = await startFake('c');
    fake.behave = (request, callback) => callback(null, answerTo(request));
    a.dataplane.want('c', [flowOf('10.1.0.5', '10.3.0.1')]);
    await eventually(() => expect(a.dataplane.installs).toHaveLength(1));
    wantMuch();
    a.dataplane.want('c', [flowOf('10.1.0.5', '10.3.0.2')]);
    await eventually(() => expect(a.dataplane.installs).toHaveLength(2));
    // None of those before it has ended yet.
    expect(a.linesOf('PEER_TIMEOUT')).toEqual([]);
  });

  it('gets a bounded number of attempts, and few log lines are written about them', async () => {
    await startA(hurried);
    await startSilent('b');
    wantMuch();
    const failed = async () => Number((await peerOf('b'))?.failed);
    await eventually(async () => expect((await failed()) + (await a.counter('wantsExpired'))).toBe(500));
    expect(await failed()).toBeGreaterThanOrEqual(64);
    expect(await peerOf('b')).toMatchObject({ breaker: expect.stringMatching(/open/) });
    expect((await a.status()).health[0]).toMatchObject({ part: 'peer b' });
    expect(a.linesOf('PEER_TIMEOUT').length).toBeLessThan(10);
  });

  it('is tried about once a second, however many wants there are', async () => {
    await startA(hurried);
    await startSilent('b');
    const wants = setInterval(() => a.dataplane.want('b', [flow]), 100);
    closing.push(() => clearInterval(wants));
    await eventually(async () => expect(await a.counter('BREAKER_OPEN')).toBeGreaterThan(3));
    // Those in flight when the breaker opened end first.
    await new Promise((resolve) => setTimeout(resolve, hurried.callMs));
    const startMs = performance.now();
    const timeouts = await a.counter('PEER_TIMEOUT');
    const trials = await eventually(async () => {
      const more = (await a.counter('PEER_TIMEOUT')) - timeouts;
      expect(more).toBeGreaterThanOrEqual(3);
      return more;
    });
    // One at a time, however long each takes.
    expect(trials).toBeLessThanOrEqual(2 + (performance.now() - startMs) / hurried.callMs);
  });

  it('that comes up is keyed without intervention', async () => {
    await startA(hurried);
    const wants = setInterval(() => a.dataplane.want('b', [flow]), 200);
    closing.push(() => clearInterval(wants));
    await eventually(async () => expect((await peerOf('b'))?.breaker).not.toBe('closed'));
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const fake = await startFake('b');
    fake.behave = good as never;
    await eventually(() => expect(a.dataplane.installs.length).toBeGreaterThan(0));
    await eventually(async () => expect((await peerOf('b'))?.breaker).toBe('closed'));
  });

  it('that hung and recovers is reached over a new connection', async () => {
    await startA(hurried);
    const silent = await startSilent('b');
    const wants = setInterval(() => a.dataplane.want('b', [flow]), 200);
    closing.push(() => clearInterval(wants));
    await eventually(async () => expect(await a.counter('PEER_TIMEOUT')).toBeGreaterThan(2));
    await new Promise<void>((resolve) => {
      silent.close();
      setTimeout(resolve, 100);
    });
    const fake = await startFake('b');
    fake.behave = good as never;
    await eventually(() => expect(a.dataplane.installs.length).toBeGreaterThan(0));
  });

  it('that restarts receives requests again at once', async () => {
    const first = await startFake('b');
    first.behave = good as never;
    a.dataplane.want('b', [flow]);
    await eventually(() => expect(a.dataplane.installs).toHaveLength(1));
    first.stop();
    const second = await startFake('b');
    second.behave = good as never;
    await new Promise((resolve) => setTimeout(resolve, 200));
    a.dataplane.want('b', [flow]);
    await eventually(() => expect(a.dataplane.installs).toHaveLength(2));
  });
});

describe('a greeting', () => {
  it('of a peer whose application does not know greetings has no consequence', async () => {
    const fake = await startFake('b');
    fake.behave = good;
    for (let i = 0; i < 5; i++) a.dataplane.greet('b');
    const unsupported = {
      peer: 'b',
      peerEpoch: undefined,
      answeredEpoch: a.dataplane.epoch,
      unknownSpis: [],
    };
    await eventually(() => expect(a.dataplane.greetings).toEqual(Array(5).fill(unsupported)));
    expect(await a.counter('greetingsUnsupported')).toBe(5);
    expect(await peerOf('b')).toMatchObject({ breaker: 'closed', failed: 0n, refused: 0n, lastCode: '' });
    expect(a.lines.filter(({ msg }) => msg === 'key exchange failed')).toEqual([]);
  });

  it('of a peer that is down opens no breaker, and is sent once the peer is there', async () => {
    for (let i = 0; i < 5; i++) a.dataplane.greet('b');
    await eventually(async () => expect(await a.counter('greetingsFailed')).toBe(5));
    expect(await peerOf('b')).toMatchObject({ breaker: 'closed', failed: 0n });
    await startFake('b');
    await eventually(() => {
      a.dataplane.greet('b');
      expect(a.dataplane.greetings.length).toBeGreaterThan(0);
    });
  });
});
