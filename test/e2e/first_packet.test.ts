// SPDX-License-Identifier: Apache-2.0
// The first packet of a tunnel is held and not lost, whichever side begins, with every inner and outer family, and
// with many flows that miss at once.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { expectSchema } from '../json_schema.js';
import type { Capture } from './capture.js';
import { type Gateway, unhurried } from './gateway.js';
import { until } from './namespace.js';
import { grew, newDrops } from './numbers.js';
import { type Host, hostInterface, Topology } from './topology.js';
import { Listener, ping, send, transfer } from './traffic.js';

const marker = 'PSP-E2E-MARKER-1';
/** Offset in a datagram: after the headers of Ethernet, IPv4 and UDP. */
const payloadAt = 14 + 20 + 8;
/** Packets are held until the key is installed, however slow the machine is. */
const patient = (_node: string, yaml: string) => `${yaml}engine: { holdMs: 20000 }\n`;

describe.each([{ outer: 4 as const }, { outer: 6 as const }])('with IPv$outer outside', ({ outer }) => {
  let net: Topology;
  let wire: Capture;

  beforeAll(async () => {
    net = await Topology.create({ outer, edit: unhurried });
    wire = await net.capture('wire');
    await net.start();
  });
  afterAll(() => net?.close());

  it('carries the first packet from host 1, IPv4 inside', async () => {
    const before = await net.a.numbers();
    const result = await ping(net.host1.namespace, net.host2.v4, { marker });
    expect(result.received).toBe(1);
    const after = await net.a.numbers();
    expect(grew(before, after, 'missEvents')).toBe(1);
    expect(grew(before, after, 'resubmitted')).toBe(1);
    expect(newDrops(before, after)).toEqual({});
  });

  it('carries the first packet from host 2, IPv6 inside', async () => {
    const before = await net.b.numbers();
    const result = await ping(net.host2.namespace, net.host1.v6, { marker });
    expect(result.received).toBe(1);
    const after = await net.b.numbers();
    expect(grew(before, after, 'missEvents')).toBe(1);
    expect(grew(before, after, 'resubmitted')).toBe(1);
    expect(newDrops(before, after)).toEqual({});
  });

  it('has requested each tunnel once, from the side that sent first', async () => {
    const [a, b] = await Promise.all([net.a.numbers(), net.b.numbers()]);
    expect([a.peers.b?.answered, b.peers.a?.answered]).toEqual([1, 1]);
    expect([a.values.keyed, b.values.keyed]).toEqual([2, 2]);
  });

  it('shows at both ends when each step of the exchange happened', async () => {
    const traced = async (gateway: Gateway, ...pair: string[]) => {
      const shown = JSON.parse((await gateway.psp('flows', 'trace', ...pair, '--json')).stdout);
      expectSchema('flows_trace', shown);
      return shown as { requestedBy: string; steps: { step: string }[] };
    };
    const own = await traced(net.a, net.host1.v4, net.host2.v4);
    expect(own.requestedBy).toBe('us');
    expect(own.steps.map(({ step }) => step)).toEqual([
      ...['missed', 'offerRequested', 'offerMade', 'wantPublished', 'wantReceived', 'requestSent'],
      ...['responseReceived', 'installSent', 'installReceived', 'keyInstalled', 'installAnswered'],
    ]);
    const theirs = await traced(net.b, net.host2.v4, net.host1.v4);
    expect(theirs.requestedBy).toBe('peer');
    expect(theirs.steps.map(({ step }) => step)).toEqual([
      ...['requestReceived', 'acceptSent', 'acceptReceived', 'returnOfferMade', 'acceptDone'],
      ...['acceptAnswered', 'responseSent'],
    ]);
    const unknown = await net.a.psp('flows', 'trace', net.host2.v4, net.host1.v4);
    expect(unknown.stderr).toMatch(/^psp: EXCHANGE_UNKNOWN: /);
  });

  it('carries TCP both ways at once with equal content', async () => {
    const bytes = 16 << 20;
    const carried = await Promise.all([
      transfer(net.host1.namespace, net.host2.namespace, net.host2.v4, { bytes, marker, port: 5001 }),
      transfer(net.host2.namespace, net.host1.namespace, net.host1.v6, { bytes, marker, port: 5002 }),
    ]);
    expect(carried.map(({ equal }) => equal)).toEqual([true, true]);
  });

  it('sent only PSP, ARP and neighbour discovery over the wire, and no marker', async () => {
    await wire.stop();
    const summary = wire.summary([marker]);
    expect(summary).toMatchObject({ others: [], marked: 0, lost: 0 });
    expect(summary.psp).toBeGreaterThan(20_000);
  });
});

describe('many tunnels', () => {
  const pairs = 50;
  const port = 7000;
  const address = (side: 1 | 2, i: number) => `10.${side}.0.${100 + i}`;
  let net: Topology;

  beforeAll(async () => {
    net = await Topology.create({ edit: patient });
    net.addAddresses(2 * pairs);
    await net.start();
    // From now on host 1 has resolved its gateway: before, its kernel would queue no more than about 250 packets.
    expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
  });
  afterAll(() => net?.close());

  /** One row per pair, from one side; datagrams contain "source destination number". */
  const plan = (side: 1 | 2, first: number, count: number, from = 0) =>
    Array.from({ length: pairs }, (_, i) => ({
      source: address(side, first + i),
      destination: address(side === 1 ? 2 : 1, first + i),
      port,
      count,
      from,
    }));

  /** Receives on one host until the test ends, with any result. */
  const listen = async (host: Host): Promise<Listener> => {
    const listener = await Listener.start(host.namespace, port);
    onTestFinished(() => listener.stop());
    return listener;
  };

  it('opens 50 that miss in the same millisecond, and keeps the order of each', async () => {
    const before = await net.a.numbers();
    // Released at once, they are more than a socket buffers; therefore a capture counts them where they arrive.
    await listen(net.host2);
    const arrived = await net.capture('arrived', {
      filter: `udp dst port ${port}`,
      at: [net.host2.namespace, hostInterface],
    });
    expect(await send(net.host1.namespace, plan(1, 0, 20))).toEqual({ sent: pairs * 20, failed: 0 });
    await arrived.seen(pairs * 20);
    await arrived.stop();
    const after = await net.a.numbers();
    expect(grew(before, after, 'missEvents')).toBe(pairs);
    expect(newDrops(before, after)).toEqual({});
    const texts = arrived.frames().map(({ octets }) => octets.subarray(payloadAt).toString().split(' '));
    for (const { source } of plan(1, 0, 1)) {
      const numbers = texts.filter(([from]) => from === source).map(([, , number]) => Number(number));
      expect(numbers).toEqual(Array.from({ length: 20 }, (_, i) => i));
    }
  });

  it('opens 50 from both sides at once, and all carry traffic in both directions, now and after 10 idle seconds', async () => {
    const left = await listen(net.host1);
    const right = await listen(net.host2);
    const both = (from: number) =>
      Promise.all([
        send(net.host1.namespace, plan(1, pairs, 1, from)),
        send(net.host2.namespace, plan(2, pairs, 1, from)),
      ]);
    await both(0);
    await until(
      'the first have arrived',
      () => left.received.length >= pairs && right.received.length >= pairs,
    );
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    await both(1);
    await until(
      'the second have arrived',
      () => left.received.length >= 2 * pairs && right.received.length >= 2 * pairs,
    );
    for (const received of [left.received, right.received]) {
      expect(received.length).toBe(2 * pairs);
      expect(new Set(received.map(({ text }) => text)).size).toBe(2 * pairs);
    }
    const [a, b] = await Promise.all([net.a.numbers(), net.b.numbers()]);
    expect(newDrops({ ...a, drops: {} }, a)).toEqual({});
    expect(newDrops({ ...b, drops: {} }, b)).toEqual({});
  });
});
