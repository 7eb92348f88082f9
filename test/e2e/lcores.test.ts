// SPDX-License-Identifier: Apache-2.0
// Two lcores at both gateways, from the view of hosts and wire: all packets arrive in the order of each flow, while
// keys are installed and while they change, whichever lcore processes it; both lcores process packets; and no IV is
// used twice under one SPI, though both lcores seal for it.
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Capture, Frame } from './capture.js';
import { pollingThreadOf, withThreadHeld } from './frozen_thread.js';
import { signal, stopped, until } from './namespace.js';
import { dropped, grew, type Numbers, newDrops, unaccounted } from './numbers.js';
import { series } from './pages.js';
import { pspFrames } from './psp_frames.js';
import { hostInterface, Topology } from './topology.js';
import { Listener, send, startTransfer, transfer } from './traffic.js';

const lcores = 2;
const marker = 'PSP-E2E-LCORES-1';
const port = 7000;
/** Distributed by a hash: the probability that one of two lcores gets none of this many is 2^-63. */
const pairs = 64;
/** Offset in a datagram: after the headers of Ethernet, IPv4 and UDP. */
const payloadAt = 14 + 20 + 8;

describe.skipIf(availableParallelism() < lcores)('two lcores', () => {
  let net: Topology;
  let wire: Capture;
  const listeners: Listener[] = [];

  beforeAll(async () => {
    const engine = `engine: { lcores: ${lcores}, holdMs: 20000, drainMs: 100 }\n`;
    // The exchange has a long deadline, because a second attempt cannot pass an lcore that is stopped either.
    const patient = (yaml: string) =>
      yaml.replace(/^keyExchange: {/m, '$& exchangeMs: 20000, callMs: 20000,');
    net = await Topology.create({ edit: (_, yaml) => `${patient(yaml)}${engine}` });
    net.addAddresses(2 * pairs);
    wire = await net.capture('wire');
    await net.start();
    for (const { namespace } of [net.host1, net.host2])
      for (const at of [port, port + 1]) listeners.push(await Listener.start(namespace, at));
  });
  afterAll(async () => {
    for (const listener of listeners) await listener.stop();
    await net?.close();
  });

  /** One row per pair, from one side; datagrams contain "source destination number". */
  const plan = (side: 1 | 2, first: number, count: number) =>
    Array.from({ length: pairs }, (_, i) => ({
      source: `10.${side}.0.${100 + first + i}`,
      destination: `10.${3 - side}.0.${100 + first + i}`,
      port,
      count,
    }));

  /** Captures the packets that arrive at a host, where no socket loses any of them. */
  const arrivals = (at: 1 | 2, name: string, ports = `${port}`) =>
    net.capture(`${name}-${at}`, {
      filter: `udp dst portrange ${ports} and src net 10.${3 - at}.0.0/16`,
      at: [(at === 1 ? net.host1 : net.host2).namespace, hostInterface],
    });

  const both = (): Promise<[Numbers, Numbers]> => Promise.all([net.a.numbers(), net.b.numbers()]);

  it('carry TCP both ways at once, IPv4 and IPv6, with equal content', async () => {
    const { host1, host2 } = net;
    const bytes = 4 << 20;
    const connections = [
      [host1, host2, host2.v4],
      [host1, host2, host2.v6],
      [host2, host1, host1.v4],
      [host2, host1, host1.v6],
    ] as const;
    const carried = await Promise.all(
      connections.map(([from, to, address], i) =>
        transfer(from.namespace, to.namespace, address, { bytes, marker, port: 5001 + i }),
      ),
    );
    expect(carried.map(({ equal }) => equal)).toEqual([true, true, true, true]);
  });

  it('hold packets that arrive before the keys, and keep the order of each flow while keys are installed', async () => {
    const before = await both();
    // No more than a handoff queue holds, even if all of it came to the worker lcore.
    const count = 512 / pairs;
    const arrived = await arrivals(2, 'held');
    expect((await send(net.host1.namespace, plan(1, 0, count), 5)).sent).toBe(pairs * count);
    await arrived.seen(pairs * count);
    await arrived.stop();
    const [a, b] = await both();
    expect(grew(before[0], a, 'missEvents')).toBe(pairs);
    expect([newDrops(before[0], a), newDrops(before[1], b)]).toEqual([{}, {}]);
    expect(numbersByFlow(arrived.frames())).toEqual(inOrder(plan(1, 0, count)));
  });

  it('keep the order of each flow though keys are installed while the main lcore is behind', async () => {
    const before = await both();
    const count = 600;
    const arrived = await arrivals(2, 'behind', `${port}-${port + 1}`);
    const peer = net.b.pidOf('keyexchange') as number;
    let sending: Promise<unknown> | undefined;
    await stopped(peer, async () => {
      // From separate ports, which hash differently.
      await send(
        net.host1.namespace,
        plan(1, pairs, 1).map((row) => ({ ...row, port: port + 1 })),
      );
      await until('the keys are asked for', async () => {
        return grew(before[0], await net.a.numbers(), 'missEvents') === pairs;
      });
      await withThreadHeld(pollingThreadOf(net.a.pidOf('dataplane') as number), async () => {
        signal(peer, 'SIGCONT');
        await until('they came, and lie in its ring of commands', async () => {
          const answered = (await net.a.numbers()).peers.b?.answered ?? 0;
          return answered > (before[0].peers.b?.answered ?? 0);
        });
        sending = send(net.host1.namespace, plan(1, pairs, count), 1);
        const isFull = async () => dropped(before[0], await net.a.numbers(), 'egress/handoff_full') > 0;
        await until('the other lcore can leave no more to it', isFull, 60_000, 5);
      });
    });
    await sending;
    /**
     * Datagrams that were dropped, and frames that arrived while no thread read them, including a host's own
     * requests.
     */
    const lost = async () => {
      const grown = (await both()).map((now, i) => {
        const then = before[i] as Numbers;
        const drops = Object.values(newDrops(then, now)).reduce((all, one) => all + one, 0);
        return { drops, missed: grew(then, now, 'framesMissed') };
      });
      return { drops: total(grown, 'drops'), missed: total(grown, 'missed') };
    };
    const sent = pairs * (count + 1);
    await until('all have arrived or were dropped', async () => {
      const { drops, missed } = await lost();
      return arrived.frames().length + drops + missed >= sent;
    });
    await arrived.stop();
    const { drops, missed } = await lost();
    // Each packet that was read has exactly one fate.
    const after = await both();
    expect(after.map((now, i) => unaccounted(before[i] as Numbers, now))).toEqual([0, 0]);
    expect(grew(before[1], after[1], 'forwardedIngress')).toBe(arrived.frames().length);
    const flows = numbersByFlow(arrived.frames());
    expect(Object.keys(flows).filter((flow) => flow.endsWith(` ${port}`)).length).toBe(pairs);
    const absent = sent - Object.values(flows).flat().length;
    expect(absent).toBeGreaterThanOrEqual(drops);
    expect(absent).toBeLessThanOrEqual(drops + missed);
    for (const numbers of Object.values(flows)) expect(numbers).toEqual([...numbers].sort((x, y) => x - y));
  });

  it('both carry traffic, at both gateways, and no packet is lost or reported wrongly', async () => {
    const before = await both();
    const count = 40;
    const [left, right] = [await arrivals(1, 'both'), await arrivals(2, 'both')];
    await Promise.all([
      send(net.host1.namespace, plan(1, 0, count), 5),
      send(net.host2.namespace, plan(2, 0, count), 5),
    ]);
    for (const side of [left, right]) await side.seen(pairs * count);
    await Promise.all([left.stop(), right.stop()]);
    expect(numbersByFlow(left.frames())).toEqual(inOrder(plan(2, 0, count)));
    expect(numbersByFlow(right.frames())).toEqual(inOrder(plan(1, 0, count)));
    for (const [i, after] of (await both()).entries()) {
      const then = before[i] as Numbers;
      expect(newDrops(then, after)).toEqual({});
      expect(unaccounted(then, after)).toBe(0);
      for (const name of ['forwardedEgress', 'forwardedIngress'])
        expect([name, grew(then, after, name)]).toEqual([name, pairs * count]);
      expect(after.lcores.length).toBe(lcores);
      for (const [lcore, { rxPackets, txPackets }] of after.lcores.entries()) {
        // At least one flow, which appears and disappears.
        expect(rxPackets - (then.lcores[lcore]?.rxPackets ?? 0)).toBeGreaterThanOrEqual(count);
        expect(txPackets - (then.lcores[lcore]?.txPackets ?? 0)).toBeGreaterThanOrEqual(count);
      }
      for (const way of ['rxPackets', 'txPackets'] as const)
        expect(total(after.lcores, way)).toBe(total(Object.values(after.ports), way));
    }
  });

  it('lose nothing while both gateways rotate repeatedly', async () => {
    const settled = () =>
      until('the rotation is over', async () =>
        (await both()).every(({ unansweredFlows, drainLeftMs }) => unansweredFlows + drainLeftMs === 0),
      );
    await settled();
    const before = await both();
    const count = 200;
    const arrived = await arrivals(2, 'rotated');
    const running = await startTransfer(net.host1.namespace, net.host2.namespace, net.host2.v4, {
      bytes: 16 << 20,
      rate: 2 << 20,
      marker,
    });
    const sending = send(net.host1.namespace, plan(1, 0, count), 10);
    for (let round = 1; round <= 2; round++) {
      await Promise.all([net.a.rotate(), net.b.rotate()]);
      await settled();
    }
    running.release();
    expect(await sending).toEqual({ sent: pairs * count, failed: 0 });
    expect((await running.done).equal).toBe(true);
    await arrived.seen(pairs * count);
    await arrived.stop();
    expect(numbersByFlow(arrived.frames())).toEqual(inOrder(plan(1, 0, count)));
    for (const [i, after] of (await both()).entries()) {
      expect(after.generation).toBe((before[i]?.generation ?? 0) + 2);
      expect(newDrops(before[i] as Numbers, after)).toEqual({});
    }
  });

  it('are shown by psp status and by the metrics', async () => {
    const { stdout } = await net.a.ask('status');
    expect(stdout).toMatch(/^LCORE +RX PACKETS +TX PACKETS\n +0 +\d+ +\d+\n +1 +\d+ +\d+$/m);
    await until('the metrics say what the status says', async () => {
      const [told, shown] = [await net.a.numbers(), await series(net.a)];
      return told.lcores.every(
        ({ rxPackets, txPackets }, lcore) =>
          shown[`psp_lcore_packets_total{lcore="${lcore}",direction="rx"}`] === rxPackets &&
          shown[`psp_lcore_packets_total{lcore="${lcore}",direction="tx"}`] === txPackets,
      );
    });
  });

  it('sent only PSP, ARP and neighbour discovery over the wire, no marker, and no IV twice', async () => {
    await wire.stop();
    expect(wire.summary([marker, '10.1.0.'])).toMatchObject({ others: [], marked: 0, lost: 0 });
    const sealed = pspFrames(wire.frames()).map(({ source, spi, iv }) => `${source} ${spi} ${iv}`);
    expect(new Set(sealed).size).toBe(sealed.length);
    expect(sealed.length).toBeGreaterThan(20_000);
  });
});

/** The numbers in datagrams, in the order in which they arrived, by "source destination port". */
function numbersByFlow(frames: readonly Frame[]): Record<string, number[]> {
  const flows: Record<string, number[]> = {};
  for (const { octets } of frames) {
    const [source, destination, number] = octets.subarray(payloadAt).toString().split(' ');
    const flow = `${source} ${destination} ${octets.readUInt16BE(payloadAt - 6)}`;
    flows[flow] ??= [];
    flows[flow].push(Number(number));
  }
  return flows;
}

/** The result of `numbersByFlow` if no packet is lost, duplicated or reordered. */
const inOrder = (rows: { source: string; destination: string; port: number; count: number }[]) =>
  Object.fromEntries(
    rows.map(({ source, destination, port, count }) => [
      `${source} ${destination} ${port}`,
      Array.from({ length: count }, (_, i) => i),
    ]),
  );

const total = <K extends string>(rows: readonly Record<K, number>[], of: K): number =>
  rows.reduce((all, row) => all + row[of], 0);
