// SPDX-License-Identifier: Apache-2.0
// A peer without TLS, as NVIDIA's DOCA PSP Gateway is: it is known by its source address at a listener of its own, its keys
// are exchanged in both directions, it may use its VIPs only, and nobody else gains anything by that listener.
import { once } from 'node:events';
import { connect as tcpConnect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { Client, credentials, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type MultiTunnelRequest, PSP_GatewayService } from '../../../proto/gen/psp_gateway.js';
import { eventually, longMs } from '../shared/waiting.js';
import { Authority } from './certificates.js';
import { answerTo, FakePeer, PlainClient } from './peer.js';
import { flowOf, freePorts, startNode, type TestNode, unhurried } from './rig.js';

vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  shortestCommandMs: 2000,
}));

let authority: Authority;
let a: TestNode;
let ports: Record<string, number>;
let plain = 0;
const closing: (() => void)[] = [];
beforeAll(async () => {
  authority = await Authority.create();
  ports = await freePorts('a', 'b', 'c', 'plain');
  plain = ports.plain as number;
  delete ports.plain;
  a = await startNode('a', authority, {
    ports,
    times: unhurried,
    insecureListen: `127.0.0.1:${plain}`,
    terms: { b: 'insecureReferenceInterop: true' },
  });
});
afterAll(async () => {
  for (const close of closing) close();
  await a?.stop();
});

const stub = PSP_GatewayService.requestMultipleTunnelParams;
const tunnel = (virtSrcIp: string, virtDstIp: string) => ({
  virtSrcIp,
  virtDstIp,
  innerType: 4,
  reverseParams: undefined,
});

/** A call without TLS. @param port the listener without TLS by default. */
function call(
  path: string,
  request: Buffer,
  port = plain,
): Promise<{ code: number; details: string; answer?: Buffer }> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  closing.push(() => client.close());
  const octets = (message: Buffer) => message;
  return new Promise((resolve) => {
    const deadline = Date.now() + longMs;
    client.makeUnaryRequest(path, octets, octets, request, { deadline }, (error, answer) =>
      resolve(error ? error : { code: status.OK, details: '', answer: answer as Buffer }),
    );
  });
}
const ask = async (source: string, destination: string) => {
  const request: MultiTunnelRequest = {
    requestId: 1n,
    pspVersionsAccepted: [1],
    tunnels: [tunnel(source, destination)],
    epoch: undefined,
  };
  const result = await call(stub.path, stub.requestSerialize(request));
  return { ...result, answer: result.answer && stub.responseDeserialize(result.answer) };
};

describe('a peer without TLS', () => {
  it('receives a key for its VIPs', async () => {
    const { code, answer } = await ask('10.2.0.7', '10.1.0.5');
    expect(code).toBe(status.OK);
    expect(answer?.tunnelsParams[0]?.encryptionKey).toEqual(
      a.dataplane.offered.get(answer?.tunnelsParams[0]?.spi as number),
    );
    expect(a.dataplane.accepts.at(-1)?.message.peer).toBe('b');
  });

  it('receives none for the VIPs of another peer, and may not rotate our keys', async () => {
    expect(await ask('10.3.0.7', '10.1.0.5')).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: 'VIP_NOT_PEERS: peer b is not allowed to use 10.3.0.7, which is not one of its vips',
    });
    const rotation = PSP_GatewayService.requestKeyRotation;
    const request = rotation.requestSerialize({ requestId: 1n, issueNewKeys: false });
    expect(await call(rotation.path, request)).toMatchObject({ code: status.PERMISSION_DENIED });
  });

  it('is requested in plaintext', async () => {
    const peer = new FakePeer();
    peer.behave = (request, callback) => callback(null, answerTo(request));
    await peer.start(ports.b as number);
    closing.push(() => peer.stop());
    await eventually(async () =>
      expect((await a.status()).peers.find(({ name }) => name === 'b')?.link).toBe('connected'),
    );
    a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.9')]);
    await eventually(() => expect(a.dataplane.installs).toHaveLength(1));
    expect(a.dataplane.installs[0]?.keys[0]).toEqual(Buffer.alloc(16, 7));
    expect(peer.requests[0]?.tunnels[0]).toMatchObject({ virtSrcIp: '10.1.0.5', virtDstIp: '10.2.0.9' });
  });

  it('is shown as such, and no other peer is', async () => {
    const { peers } = await a.status();
    expect(peers.map(({ name, insecure }) => [name, insecure])).toEqual([
      ['b', true],
      ['c', false],
    ]);
    expect(a.lines).toContainEqual(
      expect.objectContaining({
        level: 40,
        listen: `127.0.0.1:${plain}`,
        msg: 'key exchange without TLS started',
      }),
    );
  });

  it('is not accepted at the listener with TLS, with a certificate in its name', async () => {
    const pair = await authority.gateway('spiffe://psp/gateway/b');
    const client = new PlainClient(ports.a as number, authority.certificate, pair);
    closing.push(() => client.close());
    const answer = await client.request({
      requestId: 1,
      versions: [1],
      tunnels: [{ source: '10.2.0.7', destination: '10.1.0.5', innerType: 4 }],
    });
    expect(answer).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: expect.stringMatching(/^PEER_UNKNOWN/),
    });
  });
});

describe('the listener without TLS', () => {
  it('closes a connection from any other address unread, counts it and reports it', async () => {
    const before = await a.counter('SOURCE_NOT_ALLOWED');
    const requests = await a.counter('requests');
    const socket = tcpConnect({ port: plain, host: '127.0.0.1', localAddress: '127.0.0.2' });
    socket.on('error', () => undefined);
    await once(socket, 'close');
    expect(socket.bytesRead).toBe(0);
    expect(await a.counter('SOURCE_NOT_ALLOWED')).toBe(before + 1);
    expect(await a.counter('requests')).toBe(requests);
    expect(a.linesOf('SOURCE_NOT_ALLOWED')[0]?.err).toBe(
      'a connection without TLS comes from 127.0.0.2, which is the address of no peer with insecureReferenceInterop',
    );
  });

  it('does not know a peer by its certificate', async () => {
    const { certificate, privateKey } = await authority.gateway('spiffe://psp/gateway/c');
    const ca = authority.certificate;
    const socket = tlsConnect({
      socket: tcpConnect({ port: plain, host: '127.0.0.1' }),
      ca,
      cert: certificate,
      key: privateKey,
      ALPNProtocols: ['h2'],
    });
    const [error] = await once(socket, 'error').catch((reason) => [reason]);
    expect(error).toBeInstanceOf(Error);
  });
});

it('the listener with TLS accepts no plaintext', async () => {
  const before = a.dataplane.accepts.length;
  const result = await call(stub.path, Buffer.alloc(0), ports.a);
  expect(result.code).toBe(status.UNAVAILABLE);
  expect(a.dataplane.accepts.length).toBe(before);
});
