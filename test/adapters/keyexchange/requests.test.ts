// SPDX-License-Identifier: Apache-2.0
// The table of answers to requests in docs/interop/README.md: each row is one test, with real gRPC and a client that knows
// the field numbers only.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type MultiTunnelResponse, PSP_GatewayService } from '../../../proto/gen/psp_gateway.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { longMs } from '../shared/waiting.js';
import { Authority, type KeyPair } from './certificates.js';
import { freePorts, startNode, type TestNode, unhurried } from './rig.js';

vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  shortestCommandMs: 5000,
}));

let authority: Authority;
let a: TestNode;
let limited: TestNode;
let ports: Record<string, number>;
let b: KeyPair;
const clients: Client[] = [];
beforeAll(async () => {
  authority = await Authority.create();
  ports = await freePorts('a', 'b', 'c');
  a = await startNode('a', authority, { ports, times: unhurried });
  limited = await startNode('c', authority, { ports, times: unhurried, limits: 'requestsPerSecond: 1' });
  b = await authority.gateway('spiffe://psp/gateway/b');
});
afterAll(async () => {
  for (const client of clients) client.close();
  await a?.stop();
  await limited?.stop();
});

const { requestMultipleTunnelParams: exchange, requestKeyRotation: rotation } = PSP_GatewayService;

type Answer = { status: string; details: string; response?: MultiTunnelResponse; retryMs?: string };

function call(path: string, octets: Buffer, pair: KeyPair, port = ports.a): Promise<Answer> {
  const [ca, key, cert] = [authority.certificate, pair.privateKey, pair.certificate].map(Buffer.from);
  const secure = credentials.createSsl(ca, key, cert, { checkServerIdentity: () => undefined });
  const client = new Client(`127.0.0.1:${port}`, secure, { 'grpc.ssl_target_name_override': 'a' });
  clients.push(client);
  return new Promise((resolve) => {
    const settle = (error: ServiceError | null, response?: MultiTunnelResponse) => {
      if (error === null)
        return resolve({ status: 'OK', details: '', response: response as MultiTunnelResponse });
      const [retryMs] = error.metadata.get('grpc-retry-pushback-ms');
      resolve({
        status: status[error.code],
        details: error.details,
        ...(retryMs && { retryMs: String(retryMs) }),
      });
    };
    client.makeUnaryRequest(
      path,
      (message: Buffer) => message,
      exchange.responseDeserialize,
      octets,
      { deadline: Date.now() + longMs },
      settle,
    );
  });
}

const offer = (change = {}) => ({
  macAddr: '02:00:00:00:00:02',
  ipAddr: '192.0.2.2',
  pspVersion: 1,
  spi: 0x1234,
  encryptionKey: randomBytes(32),
  virtCookie: 0n,
  encapType: 4,
  offerNumber: undefined,
  mode: undefined,
  ...change,
});
const tunnel = (change = {}) => ({
  virtSrcIp: '10.2.0.7',
  virtDstIp: '10.1.0.5',
  innerType: 4,
  reverseParams: undefined,
  ...change,
});
const octetsOf = (change = {}): Buffer =>
  exchange.requestSerialize({
    requestId: 1n,
    pspVersionsAccepted: [1],
    tunnels: [tunnel({ reverseParams: offer() })],
    epoch: undefined,
    ...change,
  });
const ask = (change = {}, pair = b) => call(exchange.path, octetsOf(change), pair);
const offering = (change: object) => ask({ tunnels: [tunnel({ reverseParams: offer(change) })] });
const asking = (change: object) => ask({ tunnels: [tunnel(change)] });
const tunnels = (count: number, more: (i: number) => object = () => ({})) =>
  Array.from({ length: count }, (_, i) => tunnel({ virtSrcIp: `10.2.${i >> 8}.${i & 255}`, ...more(i) }));
const many = (count: number) =>
  ask({ tunnels: tunnels(count, (i) => ({ reverseParams: offer({ spi: 0xf0000001 + i }) })) });

async function unknownPeer(): Promise<Answer> {
  return ask({}, await authority.gateway('spiffe://psp/gateway/zoe'));
}

async function tooOften(): Promise<Answer> {
  let answer: Answer = { status: '', details: '' };
  for (let i = 0; i < 15 && answer.status !== 'RESOURCE_EXHAUSTED'; i++)
    answer = await call(exchange.path, octetsOf(), b, ports.c);
  expect(Number(answer.retryMs)).toBeGreaterThan(0);
  return answer;
}

async function twice(): Promise<Answer> {
  await ask({ requestId: 1n });
  return ask({ requestId: 1n });
}

const cases: Record<string, () => Promise<Answer>> = {
  'versions 3, 7, 1 and 0': async () => {
    const answer = await ask({ pspVersionsAccepted: [3, 7, 1, 0] });
    expect(a.dataplane.accepts.at(-1)?.message.version).toBe(1);
    return answer;
  },
  'no version, or none that is allowed': async () => {
    expect(await ask({ pspVersionsAccepted: [] })).toMatchObject({ status: 'INVALID_ARGUMENT' });
    return ask({ pspVersionsAccepted: [2, 3, 4_294_967_295] });
  },
  'no `inner_type`': async () => {
    const v6 = await asking({ innerType: 0, virtSrcIp: 'fd00:2::7', virtDstIp: 'fd00:1::5' });
    expect(v6).toMatchObject({ status: 'OK' });
    return asking({ innerType: 0 });
  },
  'an `inner_type` of 5': () => asking({ innerType: 5 }),
  'IPv4 VIPs and `inner_type` 6': () => asking({ innerType: 6 }),
  'VIPs of two families': () => asking({ innerType: 0, virtDstIp: 'fd00:1::5' }),
  'an IPv4 VIP written as an IPv6 address': () =>
    asking({ innerType: 6, virtSrcIp: '::ffff:10.2.0.7', virtDstIp: 'fd00:1::5' }),
  'a text that is no address as a VIP': () => asking({ virtSrcIp: '10.2.0' }),
  "a `virt_src_ip` that is not the peer's": () => asking({ virtSrcIp: '10.3.0.1' }),
  'a `virt_dst_ip` that is not ours': () => asking({ virtDstIp: '10.3.0.1' }),
  'no tunnel': () => ask({ tunnels: [] }),
  '1000 tunnels': async () => {
    const answer = await many(1000);
    expect(answer.response?.tunnelsParams).toHaveLength(1000);
    return answer;
  },
  '1025 tunnels': () => many(1025),
  'more than 512 KiB': () => many(6000),
  'one tunnel twice': () => ask({ tunnels: [tunnel(), tunnel()] }),
  'no `reverse_params`': async () => {
    const answer = await asking({});
    expect(a.dataplane.accepts.at(-1)?.message.egress).toEqual([]);
    return answer;
  },
  '`reverse_params` for some tunnels only': () =>
    ask({ tunnels: tunnels(2, (i) => (i === 0 ? { reverseParams: offer() } : {})) }),
  'one SPI for two tunnels': () => ask({ tunnels: tunnels(2, () => ({ reverseParams: offer() })) }),
  'an SPI of 0': () => offering({ spi: 0 }),
  'an SPI of 0x80000000, whose low 31 bits are 0': () => offering({ spi: 0x8000_0000 }),
  'a key of the wrong length': () => offering({ encryptionKey: randomBytes(16) }),
  'no key': () => offering({ encryptionKey: Buffer.alloc(0) }),
  '`reverse_params` of version 4': () => offering({ pspVersion: 4 }),
  'an `encap_type` of the other family': () => offering({ encapType: 6 }),
  'no `encap_type`': () => offering({ encapType: 0 }),
  'an `ip_addr` outside the underlay of the peer': () => offering({ ipAddr: '203.0.113.1' }),
  'our address as `ip_addr`': () => offering({ ipAddr: '192.0.2.1' }),
  'a multicast `ip_addr`': () => offering({ ipAddr: '224.0.0.5' }),
  'an `ip_addr` that is no address': () => offering({ ipAddr: 'gateway-b' }),
  'a multicast `mac_addr`': () => offering({ macAddr: '01:00:5e:00:00:05' }),
  'a `mac_addr` of zeros': () => offering({ macAddr: '00:00:00:00:00:00' }),
  'no `mac_addr`': () => offering({ macAddr: '' }),
  'another `mode` than the configured one': () => offering({ mode: 2 }),
  'a `mode` of 3': () => offering({ mode: 3 }),
  'a `request_id` that was used before': async () => {
    const answer = await twice();
    expect(answer.response?.requestId).toBe(1n);
    return answer;
  },
  'octets that are no message': () => call(exchange.path, Buffer.from([0x1a, 0x7f, 1, 2, 3]), b),
  'a message that ends early': () => call(exchange.path, octetsOf().subarray(0, 40), b),
  'another method': () => call('/psp_gateway.PSP_Gateway/SetOpState', Buffer.alloc(0), b),
  'a certificate of no configured peer': unknownPeer,
  'more requests than `keyExchange.limits` allows': tooOften,
  'RequestKeyRotation without the right to it': () =>
    call(rotation.path, rotation.requestSerialize({ requestId: 1n, issueNewKeys: true }), b),
};

const rows = [
  ...(readFileSync(fromPackageRoot('docs/interop/README.md'), 'utf8')
    .split('## Answers to requests')[1]
    ?.matchAll(/^\| (?!a request with|---)(.+?) \| (.+?) \| (?:.+ )?\|$/gm) ?? []),
].map(([, request = '', answer = '']) => [request, answer] as const);

it('the table has a row for each of these tests', () => {
  expect(rows.map(([request]) => request)).toEqual(Object.keys(cases));
});

it.each(rows)('a request with %s is answered with %s', async (request, answer) => {
  const accepts = a.dataplane.accepts.length;
  const { status: given, details, response } = await (cases[request] as () => Promise<Answer>)();
  const [, expected, code] = /^([A-Z_]+)(?: `([A-Z_]+)`|, by gRPC)/.exec(answer) ?? [];
  if (expected === undefined) {
    expect({ given, details }).toEqual({ given: 'OK', details: '' });
    expect(response?.tunnelsParams.length).toBeGreaterThan(0);
    return;
  }
  expect(given).toBe(expected);
  if (code !== undefined) expect(details).toMatch(new RegExp(`^${code}: `));
  expect(details).not.toMatch(/\n|at .*\.js/);
  expect(a.dataplane.accepts.length).toBe(accepts);
});
