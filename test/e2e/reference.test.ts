// SPDX-License-Identifier: Apache-2.0
// Exchanges with a peer that speaks as NVIDIA's DOCA PSP Gateway 3.3 does: over gRPC without TLS, without our additional
// fields. The known bugs of that application, by their effect, are shown to be absent from the gateway.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, run, until } from './namespace.js';
import { dropped } from './numbers.js';
import { type Arrived, type Asked, ReferencePeer } from './reference_peer.js';
import { Topology } from './topology.js';

/** Debian's Python, which has the packages; another one may come first in PATH. */
const python = '/usr/bin/python3';
/** What that application sends as the cookie of every tunnel. */
const constantCookie = '0x778899aabbccddee';

let net: Topology;
let stubs: string;
let peer: ReferencePeer;
beforeAll(async () => {
  stubs = mkdtempSync(join(tmpdir(), 'psp-stubs-'));
  const protos = fromPackageRoot('docs/interop');
  const outputs = [`--python_out=${stubs}`, `--grpc_python_out=${stubs}`];
  run(python, '-m', 'grpc_tools.protoc', '-I', protos, ...outputs, join(protos, 'psp_gateway.proto'));
  const interop = 'insecureReferenceInterop: true, cookie: true';
  net = await Topology.create({
    edit: (node, yaml) =>
      node !== 'a'
        ? yaml
        : yaml
            .replace('"198.51.100.1:3000"', '$&, insecureReferenceListen: "198.51.100.1:3001"')
            .replace(
              /^peers:\n/m,
              `$&  c: { endpoint: "198.51.100.3:3000", vips: [10.3.0.0/16, "fd00:3::/64"], ${interop} }\n`,
            ),
  });
  const { namespace } = net.b;
  namespace.run('ethtool', '-K', 'veth-wire', 'tx', 'off');
  namespace.ip('address', 'add', '192.0.2.3/24', 'dev', 'veth-wire');
  namespace.ip('link', 'set', 'veth-wire', 'up');
  // The only address towards the gateway, so that connections come from it.
  namespace.ip('address', 'del', '198.51.100.2/24', 'dev', 'oob');
  namespace.ip('address', 'add', '198.51.100.3/24', 'dev', 'oob');
  peer = await ReferencePeer.start(namespace, python, stubs);
  await net.a.start();
});
afterAll(async () => {
  await peer?.stop();
  await net?.close();
  rmSync(stubs, { recursive: true, force: true });
});

const host = '10.1.0.2';
const sendFromHost = async (destination: string, text: string) => {
  const plan = JSON.stringify([
    { destination, port: 7777, count: 1, hex: Buffer.from(text).toString('hex') },
  ]);
  await net.host1.namespace.try(process.execPath, [
    fromPackageRoot('dist/test/e2e/agents/udp_send.js'),
    plan,
  ]);
};
const receive = (text: string) => peer.do<Arrived>('receive', { text });
const ask = (source: string, options: object = {}) =>
  peer.do<Asked>('ask', { tunnels: [[source, host]], ...options });
/** Sends packets of the host until the peer receives one of them. */
async function carries(destination: string, text: string): Promise<Arrived> {
  const arrived = receive(text);
  let done = false;
  void arrived.finally(() => {
    done = true;
  });
  await until(`${destination} is reached`, async () => {
    if (!done) await sendFromHost(destination, text);
    return done;
  });
  return arrived;
}
const liveSpis = async (source: string) =>
  (await net.a.flows()).find((flow) => flow.direction === 'ingress' && flow.source === source)?.liveSpis ?? 0;

/** What the host receives while `work` runs. */
async function delivered(
  work: () => Promise<unknown>,
  text: string,
): Promise<{ from: string; text: string }[]> {
  const receiver = net.host1.namespace.spawn(process.execPath, [
    fromPackageRoot('dist/test/e2e/agents/udp_receive.js'),
    '7777',
  ]);
  let out = '';
  receiver.stdout?.on('data', (chunk) => {
    out += chunk;
  });
  const lines = () => out.split('\n').filter((line) => line.startsWith('{'));
  try {
    await until('the host listens', () => out.startsWith('listening'));
    await work();
    await until('the packet is delivered', () => lines().some((line) => JSON.parse(line).text === text));
    return lines().map((line) => JSON.parse(line));
  } finally {
    const gone = ended(receiver);
    receiver.kill('SIGTERM');
    await gone;
  }
}
const send = (source: string, text: string, options: object = {}) =>
  peer.do('send', { source, destination: host, text, ...options });

describe('the requests of NVIDIA’s DOCA PSP Gateway', () => {
  it('are answered in the first version of its list that is allowed, whatever its request_id', async () => {
    const ok = { status: 'OK', requestId: 1 };
    expect(await ask('10.3.0.2', { versions: [0, 1] })).toMatchObject({ ...ok, versions: [0] });
    expect(await ask('10.3.0.2', { versions: [1, 0] })).toMatchObject({ ...ok, versions: [1] });
    expect(await ask('10.3.0.2', { versions: [3, 2] })).toMatchObject({ status: 'INVALID_ARGUMENT' });
  });

  it('are answered without inner_type or reverse_params, and refused with an encap_type of the other family', async () => {
    expect(await ask('10.3.0.2', { inner_type: 0, reverse: false })).toMatchObject({ status: 'OK' });
    expect(await ask('10.3.0.2', { encap_type: 6 })).toMatchObject({ status: 'INVALID_ARGUMENT' });
  });

  it('exchange keys for both directions', async () => {
    const { offered } = await ask('10.3.0.3');
    expect(await carries('10.3.0.3', 'to the peer')).toEqual({
      spi: offered[0],
      cookie: constantCookie,
      text: 'to the peer',
    });
    const all = await delivered(() => send('10.3.0.3', 'to the host'), 'to the host');
    expect(all).toEqual([{ from: '10.3.0.3', text: 'to the host' }]);
  });
});

describe('the gateway has no such bug: in NVIDIA’s DOCA PSP Gateway 3.3', () => {
  it('2: any caller gets a key for any pair of addresses, and can rotate the master key', async () => {
    const { generation } = await net.a.numbers();
    expect(await ask('10.2.0.2')).toMatchObject({
      status: 'PERMISSION_DENIED',
      details: expect.stringMatching(/^VIP_NOT_PEERS: /),
    });
    expect(await peer.do('ask', { tunnels: [['10.3.0.2', '10.9.0.9']] })).toMatchObject({
      status: 'NOT_FOUND',
    });
    expect(await peer.do('rotate')).toMatchObject({ status: 'PERMISSION_DENIED' });
    expect((await net.a.numbers()).generation).toBe(generation);
    expect((await net.a.flows()).filter(({ source }) => source === '10.2.0.2')).toEqual([]);
  });

  it('3: the virtualization cookie is constant, and is not checked on receipt', async () => {
    const cookies = new Set<string>();
    for (let i = 0; i < 5; i++) for (const cookie of (await ask('10.3.0.4')).cookies) cookies.add(cookie);
    expect(cookies.size).toBe(5);
    expect([...cookies].filter((cookie) => cookie === '0x0' || cookie === constantCookie)).toEqual([]);
    const before = await net.a.numbers();
    const all = await delivered(async () => {
      await send('10.3.0.4', 'wrong cookie', { wrong: 1 });
      await send('10.3.0.4', 'its cookie');
    }, 'its cookie');
    expect(all).toEqual([{ from: '10.3.0.4', text: 'its cookie' }]);
    expect(dropped(before, await net.a.numbers(), 'ingress/acl_miss')).toBe(1);
  });

  it('9: a tunnel whose first request failed is never requested again', async () => {
    const failures = async () => (await net.a.numbers()).peers.c?.failed ?? 0;
    const before = await failures();
    await peer.do('mode', { mode: 'UNAVAILABLE' });
    await sendFromHost('10.3.0.5', 'lost');
    await until('the request failed', async () => (await failures()) > before);
    await peer.do('mode', { mode: 'answer' });
    await carries('10.3.0.5', 'after a failure');
  });

  it('9: a tunnel that only the peer requested never gets a key for the other direction', async () => {
    expect(await ask('10.3.0.6', { reverse: false })).toMatchObject({ status: 'OK' });
    await carries('10.3.0.6', 'requested by us');
  });

  it('12: what a failed or repeated request used is never released', async () => {
    const gauges = async () => {
      const { receiveSpis, wants } = (await net.a.numbers()).values;
      return { receiveSpis, wants };
    };
    const before = await gauges();
    await peer.do('mode', { mode: 'INVALID_ARGUMENT' });
    const plan = Array.from({ length: 40 }, (_, i) => ({
      destination: `10.3.8.${i + 1}`,
      port: 7777,
      count: 1,
    }));
    await net.host1.namespace.try(process.execPath, [
      fromPackageRoot('dist/test/e2e/agents/udp_send.js'),
      JSON.stringify(plan),
    ]);
    const refused = /^10\.3\.8\./;
    await until('the peer refused all', async () => {
      const { requests } = await peer.do<{ requests: [string, string][][] }>('asked');
      const destinations = requests.flat().map(([, destination]) => destination);
      return new Set(destinations.filter((each) => refused.test(each))).size === 40;
    });
    await until('all offers are released', async () => {
      const { receiveSpis, wants } = await gauges();
      return wants === 0 && (receiveSpis ?? 0) <= (before.receiveSpis ?? 0);
    });
    await peer.do('mode', { mode: 'answer' });
  });

  it('13: a repeated request adds entries that are never removed, and may leave an old key in use', async () => {
    let last: Asked | undefined;
    for (let i = 0; i < 20; i++) last = await ask('10.3.0.7');
    expect(await liveSpis('10.3.0.7')).toBeLessThanOrEqual(8);
    const { spi } = await carries('10.3.0.7', 'under the last key');
    expect(spi).toBe(last?.offered[0]);
    await delivered(() => send('10.3.0.7', 'under the last offer'), 'under the last offer');
  });

  it('14: concurrent requests share state without a lock', async () => {
    const tunnels = [['10.3.0.8', host]];
    const asked = peer.do<{ answers: Asked[] }>('askParallel', { tunnels, clients: 8, times: 25 });
    await net.a.rotate();
    const { answers } = await asked;
    expect(answers.map(({ status }) => status)).toEqual(Array(200).fill('OK'));
    const spis = answers.flatMap((answer) => answer.spis);
    expect(new Set(spis).size).toBe(200);
    expect(await liveSpis('10.3.0.8')).toBeLessThanOrEqual(8);
    await carries('10.3.0.8', 'after all of them');
  });

  it('15: a peer that does not answer stops the thread that moves packets', async () => {
    await peer.do('mode', { mode: 'hang' });
    await sendFromHost('10.3.0.9', 'held');
    await until('the peer is requested', async () => {
      const { requests } = await peer.do<{ requests: [string, string][][] }>('asked');
      return requests.flat().some(([, destination]) => destination === '10.3.0.9');
    });
    await sendFromHost('10.3.0.3', 'meanwhile');
    await receive('meanwhile');
    await peer.do('mode', { mode: 'answer' });
    await carries('10.3.0.9', 'after the wait');
  });

  it('28: many tunnels exceed a receive limit, and none is a request for 0 keys', async () => {
    const thousand = await peer.do<Asked>('askMany', { first: '10.3.16.0', count: 1000, destination: host });
    expect(thousand.status).toBe('OK');
    expect(new Set(thousand.spis).size).toBe(1000);
    expect(await peer.do('ask', { tunnels: [] })).toMatchObject({ status: 'INVALID_ARGUMENT' });
    await carries('10.3.19.231', 'the last of a thousand');
  });
});

it('the node says for as long as it runs that keys cross the network in plaintext', async () => {
  const { stdout } = await net.a.psp('status');
  expect(stdout).toMatch(/^note peer c: KEYS IN PLAINTEXT \(insecureReferenceInterop\): /m);
  expect((await net.a.psp('config', 'check')).stdout).toMatch(/warning: peers\.c\.insecureReferenceInterop/);
  expect(net.a.log()).toMatch(/less protection by configuration/);
  expect(net.a.log()).toMatch(/peers\.c\.insecureReferenceInterop/);
});
