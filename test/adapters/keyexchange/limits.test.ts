// SPDX-License-Identifier: Apache-2.0
// What one identity, or a client without one, may take of the key exchange: requests, tunnels, connections, TLS
// handshakes and the time in which a request arrives. And how a gateway acts that is limited.
import { once } from 'node:events';
import { type ClientHttp2Session, connect as http2Connect } from 'node:http2';
import { type Socket, connect as tcpConnect } from 'node:net';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PSP_GatewayService } from '../../../proto/gen/psp_gateway.js';
import { eventually } from '../shared/waiting.js';
import { Authority, type KeyPair } from './certificates.js';
import { PlainClient, type PlainRequest } from './peer.js';
import { flowOf, freePorts, startNode, type TestNode, unhurried } from './rig.js';

vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  shortestCommandMs: 2000,
  arrivalMs: 2000,
  handshakesPerAddress: 8,
}));

let authority: Authority;
let a: TestNode;
let b: TestNode;
let port: number;
let pairOfB: KeyPair;
const closing: (() => void)[] = [];
beforeAll(async () => {
  authority = await Authority.create();
  const ports = await freePorts('a', 'b');
  port = ports.a as number;
  const limits = 'requestsPerSecond: 1, tunnelsPerSecond: 128, connections: 3';
  a = await startNode('a', authority, { ports, limits, times: unhurried });
  b = await startNode('b', authority, { ports, times: unhurried });
  pairOfB = await authority.gateway('spiffe://psp/gateway/b');
});
afterAll(async () => {
  for (const close of closing) close();
  await a?.stop();
  await b?.stop();
});

const clientWith = (pair: KeyPair): PlainClient => {
  const client = new PlainClient(port, authority.certificate, pair);
  closing.push(() => client.close());
  return client;
};
const ask = (tunnels: number): PlainRequest => ({
  requestId: 1,
  versions: [0],
  tunnels: Array.from({ length: tunnels }, (_, i) => ({
    source: `10.2.${i >> 8}.${i & 255}`,
    destination: '10.1.0.5',
    innerType: 4,
  })),
});
const sessionWith = (pair: KeyPair): ClientHttp2Session => {
  const session = http2Connect(`https://127.0.0.1:${port}`, {
    ca: authority.certificate,
    cert: pair.certificate,
    key: pair.privateKey,
    checkServerIdentity: () => undefined,
    // Node's own client would not send headers that the server cannot accept.
    maxSendHeaderBlockLength: 1_000_000,
  });
  session.on('error', () => undefined);
  closing.push(() => session.destroy());
  return session;
};
const path = '/psp_gateway.PSP_Gateway/RequestMultipleTunnelParams';
const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
/** A gRPC message that announces 1000 octets and contains fewer. */
const cut = Buffer.concat([Buffer.from([0, 0, 0, 3, 232]), Buffer.alloc(500)]);

describe('a gateway whose peer limits the rate of its requests', () => {
  it('drops wants until the time that the refusal names, refuses no flow, and is keyed afterwards', async () => {
    // The bucket holds ten requests.
    const flows = Array.from({ length: 14 }, (_, i) => flowOf('10.2.0.5', `10.1.0.${i + 1}`));
    for (const flow of flows) b.dataplane.want('a', [flow]);
    await eventually(() => expect(b.dataplane.installs.length).toBeGreaterThanOrEqual(10));
    await eventually(async () => expect(await b.counter('wantsDeferred')).toBeGreaterThan(0));
    expect(b.linesOf('PEER_LIMITS_RATE')[0]).toMatchObject({
      peer: 'a',
      err: expect.stringMatching(
        /^peer a limits the rate of our requests and accepts the next one after \d+ ms: RESOURCE_EXHAUSTED: RATE_LIMITED: client b exceeds requestsPerSecond 1 of keyExchange\.limits; retry after \d+ ms$/,
      ),
    });
    const peer = async () => (await b.status()).peers[0];
    expect(await peer()).toMatchObject({ breaker: 'closed', failed: 0n, refused: 0n, link: 'connected' });
    expect((await peer())?.deferred).toBeGreaterThan(0n);
    expect(b.dataplane.refusals).toEqual([]);
    const seen = b.dataplane.installs.length;
    await eventually(async () => {
      b.dataplane.want('a', [flows[13] as (typeof flows)[number]]);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(b.dataplane.installs.length).toBeGreaterThan(seen);
    });
  });

  it('is counted, shown and audited by the gateway that limits', async () => {
    expect((await a.status()).peers[0]?.limited).toBeGreaterThan(0n);
    expect(await a.counter('RATE_LIMITED')).toBeGreaterThan(0);
    expect((await a.status()).health).toContainEqual(
      expect.objectContaining({
        part: 'peer b',
        message: expect.stringMatching(
          /^RATE_LIMITED: client b exceeds .*; look for a loop at that peer, or raise/,
        ),
      }),
    );
  });
});

it('a request that exceeds a rate is answered with RESOURCE_EXHAUSTED and the time after which it is admitted', async () => {
  const client = clientWith(pairOfB);
  let last = await client.request(ask(1));
  for (let i = 0; i < 12 && !('code' in last); i++) last = await client.request(ask(1));
  expect(last).toMatchObject({ code: status.RESOURCE_EXHAUSTED, retryMs: expect.any(Number) });
  const { retryMs = 0 } = last as { retryMs?: number };
  expect(retryMs).toBeGreaterThan(0);
  expect(retryMs).toBeLessThanOrEqual(1000);
  await new Promise((resolve) => setTimeout(resolve, retryMs));
  expect(await client.request(ask(1))).toMatchObject({ requestId: 1 });
});

it('a rotation counts as a request', async () => {
  const client = clientWith(pairOfB);
  let last = (await client.rotate()) as { code: number };
  for (let i = 0; i < 12 && last.code !== status.RESOURCE_EXHAUSTED; i++)
    last = (await client.rotate()) as { code: number };
  expect(last).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
});

it('clients without a configured identity share one limit, and take nothing from a peer', async () => {
  const [one, other] = await Promise.all(
    ['x', 'y'].map((name) => authority.gateway(`spiffe://psp/gateway/${name}`)),
  );
  const codes: number[] = [];
  for (const pair of [one, other] as KeyPair[]) {
    const client = clientWith(pair);
    for (let i = 0; i < 8; i++) codes.push(((await client.request(ask(0))) as { code: number }).code);
  }
  expect(codes.slice(0, 8)).toEqual(Array(8).fill(status.PERMISSION_DENIED));
  expect(codes.slice(8)).toContain(status.RESOURCE_EXHAUSTED);
});

describe('connections', () => {
  it('of one identity beyond its limit close the oldest one, and the newest one is served', async () => {
    const before = await a.counter('connectionsEvicted');
    const pair = await authority.gateway('spiffe://psp/gateway/z');
    const sessions: ClientHttp2Session[] = [];
    const closed: number[] = [];
    for (let i = 0; i < 6; i++) {
      const session = sessionWith(pair);
      session.once('close', () => closed.push(i));
      await once(session, 'remoteSettings');
      sessions.push(session);
    }
    await eventually(() => expect(closed).toEqual([0, 1, 2]));
    expect(await a.counter('connectionsEvicted')).toBeGreaterThanOrEqual(before + 3);
    const call = (sessions[5] as ClientHttp2Session).request(headers);
    call.end(Buffer.from([0, 0, 0, 0, 0]));
    const [answer] = await once(call, 'response');
    expect(['7', '8']).toContain(answer['grpc-status']);
  });

  it('of a peer are shown', async () => {
    await eventually(async () => expect((await a.status()).peers[0]?.connections).toBeGreaterThan(0));
  });

  it('that do not finish their handshake yield to newer ones, and an honest client is served meanwhile', async () => {
    const sockets: Socket[] = [];
    const closed = new Set<number>();
    for (let i = 0; i < 20; i++) {
      const socket = tcpConnect(port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.once('close', () => closed.add(i));
      closing.push(() => socket.destroy());
      await once(socket, 'connect');
      // The start of a ClientHello, and nothing more.
      socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0]));
      sockets.push(socket);
    }
    await eventually(() => expect(closed.size).toBeGreaterThanOrEqual(12));
    expect([...closed]).toEqual(expect.arrayContaining([0, 1, 2, 3]));
    expect(closed.has(19)).toBe(false);
    expect(await a.counter('handshakesEvicted')).toBeGreaterThanOrEqual(12);
    const session = sessionWith(pairOfB);
    await once(session, 'remoteSettings');
    session.destroy();
  });
});

describe('a request', () => {
  it('that does not arrive in time ends its connection; complete ones on another connection are answered', async () => {
    const pair = await authority.gateway('spiffe://psp/gateway/w');
    const slow = sessionWith(pair);
    await once(slow, 'remoteSettings');
    const gone = once(slow, 'close');
    for (let i = 0; i < 100; i++) {
      const call = slow.request(headers);
      call.on('error', () => undefined);
      call.write(cut);
    }
    await gone;
    expect(await a.counter('requestsCut')).toBeGreaterThan(0);
    const before = await a.counter('requestsCut');
    // A complete request does not end its connection later.
    const session = sessionWith(pair);
    await once(session, 'remoteSettings');
    const call = session.request(headers);
    call.end(Buffer.from([0, 0, 0, 0, 0]));
    await once(call, 'response');
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(session.closed).toBe(false);
    expect(await a.counter('requestsCut')).toBe(before);
  });

  it('that has arrived may wait longer for its answer', async () => {
    const session = sessionWith(pairOfB);
    await once(session, 'remoteSettings');
    // The bucket of b has a token again.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const accepts = a.dataplane.accepts.length;
    a.dataplane.answers = false;
    const message = PSP_GatewayService.requestMultipleTunnelParams.requestSerialize({
      requestId: 1n,
      pspVersionsAccepted: [1],
      tunnels: [{ virtSrcIp: '10.2.0.9', virtDstIp: '10.1.0.5', innerType: 4, reverseParams: undefined }],
      epoch: undefined,
    });
    const call = session.request(headers);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(message.length);
    call.end(Buffer.concat([Buffer.from([0]), length, message]));
    await eventually(() => expect(a.dataplane.accepts.length).toBe(accepts + 1));
    await new Promise((resolve) => setTimeout(resolve, 2500));
    a.dataplane.answers = true;
    expect(session.closed).toBe(false);
    session.destroy();
  });

  it('that ends in the middle of its message is answered with an error and does nothing', async () => {
    const accepts = a.dataplane.accepts.length;
    const session = sessionWith(pairOfB);
    await once(session, 'remoteSettings');
    const call = session.request(headers);
    call.end(cut);
    const [answer] = (await once(call, 'response')) as [Record<string, string>];
    call.resume();
    const trailers = answer['grpc-status'] === undefined ? (await once(call, 'trailers'))[0] : answer;
    expect([status.INTERNAL, status.UNIMPLEMENTED].map(String)).toContain(trailers['grpc-status']);
    expect(a.dataplane.accepts.length).toBe(accepts);
    session.destroy();
  });

  it('with more metadata than 64 KiB ends, and the gateway continues', async () => {
    const session = sessionWith(pairOfB);
    await once(session, 'remoteSettings');
    const before = await a.counter('requests');
    const huge = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, 'v'.repeat(8000)]));
    const call = session.request({ ...headers, ...huge });
    call.on('error', () => undefined);
    await new Promise((resolve) => call.once('close', resolve));
    expect(call.rstCode).not.toBe(0);
    expect(await a.counter('requests')).toBe(before);
    const next = sessionWith(pairOfB);
    await once(next, 'remoteSettings');
    next.destroy();
  });
});
