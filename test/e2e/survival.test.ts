// SPDX-License-Identifier: Apache-2.0
// Processes that are killed, and traffic that continues: the key exchange and the bus may die during a transfer
// without the loss of a single frame. A dead dataplane means silence, and a new one carries traffic again when its
// own side sends.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './namespace.js';
import { grew, type Numbers, newDrops, unaccounted } from './numbers.js';
import { type Host, hostInterface, Topology } from './topology.js';
import { ping, startTransfer, transfer } from './traffic.js';

const bytes = 12 << 20;
let net: Topology;

beforeAll(async () => {
  net = await Topology.create();
  net.addAddresses(8);
  // The kernel segments GSO packets in front of each link, so that both its ends count the same frames.
  for (const [{ namespace }, gateway] of [
    [net.host1, net.a],
    [net.host2, net.b],
  ] as const) {
    namespace.run('ethtool', '-K', hostInterface, 'tso', 'off');
    gateway.namespace.run('ethtool', '-K', 'veth-host', 'tso', 'off');
  }
  await net.start();
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
});
afterAll(() => net?.close());

interface Counts {
  a: Numbers;
  b: Numbers;
  /** Frames that the hosts' kernels sent and received. */
  host1: { tx: number; rx: number };
  host2: { tx: number; rx: number };
}

async function counts(): Promise<Counts> {
  const read = ({ namespace }: Host, way: 'tx' | 'rx') =>
    Number(namespace.run('cat', `/sys/class/net/${hostInterface}/statistics/${way}_packets`));
  const host = (at: Host) => ({ tx: read(at, 'tx'), rx: read(at, 'rx') });
  const [a, b] = await Promise.all([net.a.numbers(), net.b.numbers()]);
  return { a, b, host1: host(net.host1), host2: host(net.host2) };
}

/** Frames sent into each link at one end, and read from it at the other. */
const ends = ({ a, b, host1, host2 }: Counts): Record<string, (number | undefined)[]> => ({
  'host 1 to a': [host1.tx, a.ports.unsecured?.rxPackets],
  'a to host 1': [a.ports.unsecured?.txPackets, host1.rx],
  'a to b': [a.ports.secured?.txPackets, b.ports.secured?.rxPackets],
  'b to a': [b.ports.secured?.txPackets, a.ports.secured?.rxPackets],
  'b to host 2': [b.ports.unsecured?.txPackets, host2.rx],
  'host 2 to b': [host2.tx, b.ports.unsecured?.rxPackets],
});

/** Counts between which no frame was in flight, not even the chatter of idle hosts. */
const countsAtRest = () =>
  until('nothing moves', async () => {
    const [first, second] = [await counts(), await counts()];
    return JSON.stringify(ends(first)) === JSON.stringify(ends(second)) && second;
  });

/**
 * Lost frames by place. Empty if every frame that one end of a link sent was read at its other end, and each gateway
 * forwarded or answered every frame that it read, except the chatter of idle hosts.
 */
function losses(before: Counts, after: Counts): Record<string, unknown> {
  const old = ends(before);
  const lost = Object.entries(ends(after)).map(([link, [sent = 0, read = 0]]): [string, unknown] => {
    const [sentBefore = 0, readBefore = 0] = old[link] ?? [];
    return [link, sent - sentBefore - (read - readBefore)];
  });
  for (const gateway of ['a', 'b'] as const) {
    const drops = newDrops(before[gateway], after[gateway]);
    if (Object.keys(drops).length > 0) lost.push([`dropped by ${gateway}`, drops]);
    lost.push([`unaccounted in ${gateway}`, unaccounted(before[gateway], after[gateway])]);
  }
  return Object.fromEntries(lost.filter(([, count]) => count !== 0));
}

/** New tunnels, each between its own addresses. */
const opens = async (i: number) => {
  const source = `10.1.0.${100 + i}`;
  return (await ping(net.host1.namespace, `10.2.0.${100 + i}`, { source, waitS: 2 })).received === 1;
};

describe.each([
  { child: 'keyexchange' as const, gateway: 'a' as const, pair: 0 },
  { child: 'keyexchange' as const, gateway: 'b' as const, pair: 1 },
  { child: 'nats-server' as const, gateway: 'a' as const, pair: 2 },
  { child: 'nats-server' as const, gateway: 'b' as const, pair: 3 },
])('SIGKILL of $child at gateway $gateway', ({ child, gateway, pair }) => {
  it('does not cost a running transfer a single frame, and new tunnels form again without intervention', async () => {
    const before = await countsAtRest();
    // Paced to its end: a burst beyond a port's ring would be caused by TCP itself.
    const running = await startTransfer(net.host1.namespace, net.host2.namespace, net.host2.v4, {
      bytes,
      rate: 3 << 20,
    });
    await sleep(700);
    const dead = net[gateway].kill(child);
    await until(`${child} is back`, () => {
      const pid = net[gateway].pidOf(child);
      return pid !== undefined && pid !== dead;
    });
    expect((await running.done).equal).toBe(true);
    let after = before;
    let lost: Record<string, unknown> = {};
    // Chatter between two readings looks like a loss; the next reading is correct.
    await until(
      'every frame has arrived',
      async () => {
        const now = await counts().catch(() => undefined);
        if (now === undefined) return false;
        after = now;
        lost = losses(before, now);
        return Object.keys(lost).length === 0;
      },
      20_000,
      200,
    ).catch(() => undefined);
    expect(lost).toEqual({});
    for (const [gateway, name] of [
      ['a', 'forwardedEgress'],
      ['b', 'forwardedIngress'],
    ] as const) {
      expect(grew(before[gateway], after[gateway], name)).toBeGreaterThan(bytes / 1460);
    }
    await until('a new tunnel forms', () => opens(pair));
  });
});

describe('SIGKILL of the dataplane', () => {
  it('leaves only silence on the wire; the new one carries traffic again when its own side sends', async () => {
    const epoch = (await net.a.numbers()).epoch;
    const wire = await net.capture('silence');
    const dead = net.a.kill('dataplane');
    await ping(net.host1.namespace, net.host2.v4, {
      count: 3,
      intervalMs: 50,
      marker: 'PSP-SILENCE-MARK',
      waitS: 1,
    });
    await until('the dataplane is back', async () => {
      const pid = net.a.pidOf('dataplane');
      if (pid === undefined || pid === dead) return false;
      return (await net.a.numbers().catch(() => undefined))?.epoch;
    });
    await until(
      'its side reaches the other',
      async () => (await ping(net.host1.namespace, net.host2.v4, { waitS: 2 })).received === 1,
    );
    await wire.stop();
    expect(wire.summary(['PSP-SILENCE-MARK'])).toMatchObject({ others: [], marked: 0, lost: 0 });
    expect((await net.a.numbers()).epoch).not.toBe(epoch);
    const carried = await transfer(net.host1.namespace, net.host2.namespace, net.host2.v4, {
      bytes: 4 << 20,
    });
    expect(carried.equal).toBe(true);
  });
});
