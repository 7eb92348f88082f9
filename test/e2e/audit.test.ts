// SPDX-License-Identifier: Apache-2.0
// 100 tunnels, three rotations and five refusals between two gateways, while both nats-servers of each are killed 10
// times (20 in the long form). Afterwards every event is in the audit of its node, once and in order.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectSchema } from '../json_schema.js';
import { long } from '../long.js';
import type { Gateway } from './gateway.js';
import { until } from './namespace.js';
import { hostInterface, Topology } from './topology.js';
import { ping } from './traffic.js';

interface Event {
  id: string;
  source: string;
  type: string;
  incarnation: string;
  sequence: string;
  data: Record<string, unknown>;
}

const addresses = 10;
/** Per node. */
const kills = long ? 20 : 10;
const refusedHosts = [1, 2, 3, 4, 5].map((i) => `10.1.0.20${i}`);
const ends = Array.from({ length: addresses }, (_, i) => i);
const pairs = ends.flatMap((i) => ends.map((j) => [`10.1.0.${100 + i}`, `10.2.0.${100 + j}`] as const));

let net: Topology;
beforeAll(async () => {
  // b's node file has only half of a's prefix, so that b refuses requests from the other half.
  net = await Topology.create({
    edit: (node, yaml) => (node === 'b' ? yaml.replace('10.1.0.0/24', '10.1.0.0/25') : yaml),
  });
  net.addAddresses(addresses);
  for (const address of refusedHosts) {
    net.host1.namespace.ip('address', 'add', `${address}/32`, 'dev', hostInterface);
  }
  await net.start();
});
afterAll(() => net?.close());

async function eventsOf(gateway: Gateway): Promise<Event[]> {
  const { code, stdout } = await gateway.ask('audit', '--json');
  if (code !== 0) return [];
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Event);
}
const ofType = (events: Event[], type: string) => events.filter((event) => event.type === `psp.${type}`);
const tunnelsIn = (events: Event[]) =>
  ofType(events, 'tunnel.up').map(({ data: { local, remote } }) => `${local} ${remote}`);

/** Repeats it until it succeeds, whatever fails meanwhile. */
/**
 * An exchange that fails while a bus is down is repeated: a re-offer to a peer that failed often waits up to 30 s.
 */
const insist = (what: string, work: () => Promise<boolean>) => until(what, work, 300_000, 200);

async function connect(): Promise<void> {
  for (const [from, to] of pairs) {
    await insist(`${from} reaches ${to}`, async () => {
      return (await ping(net.host1.namespace, to, { source: from, waitS: 2 })).received === 1;
    });
  }
}

async function rotate(gateway: Gateway, times: number): Promise<void> {
  for (let done = 0; done < times; done++) {
    let said = '';
    await insist('a rotation is taken', async () => {
      const { code, stderr } = await gateway.ask('rotate');
      said = stderr;
      return code === 0;
    }).catch((error) => {
      throw new Error(`${error.message}; at last: ${said}`, { cause: error });
    });
    await sleep(2000);
  }
}

const refusalsIn = (events: Event[]) =>
  ofType(events, 'tunnel.refused').filter(({ data }) => data.by === 'peer');

async function beRefused(): Promise<void> {
  for (const source of refusedHosts) {
    await insist(`${source} is refused`, async () => {
      await ping(net.host1.namespace, net.host2.v4, { source, waitS: 1 });
      return refusalsIn(await eventsOf(net.a)).some(({ data }) => data.local === source);
    });
  }
}

/** With growing intervals, because `psp up` restarts a process that keeps ending at growing intervals. */
async function killNats(gateway: Gateway, server: 'nats-server' | 'nats-audit'): Promise<void> {
  let dead: number | undefined;
  for (let kill = 0; kill < kills; kill++) {
    await until(
      `${server} runs again`,
      () => {
        const pid = gateway.pidOf(server);
        return pid !== undefined && pid !== dead;
      },
      30_000,
    );
    await sleep(200 + 50 * kill);
    dead = gateway.kill(server);
  }
}

it(`has every event once and in order, though each nats-server dies ${kills} times`, async () => {
  const story = [connect(), beRefused(), rotate(net.a, 1), rotate(net.b, 2)];
  const servers = (['nats-server', 'nats-audit'] as const).flatMap((server) =>
    [net.a, net.b].map((gateway) => killNats(gateway, server)),
  );
  await Promise.all([...story, ...servers]);

  // A rotation whose answer was lost is requested again, so there may be more than were requested.
  const told = async (gateway: Gateway, tunnels: readonly string[], rotations: number) => {
    const events = await eventsOf(gateway);
    const made = (await gateway.numbers()).generation - 1;
    const up = new Set(tunnelsIn(events));
    return (
      tunnels.every((tunnel) => up.has(tunnel)) &&
      made >= rotations &&
      ofType(events, 'keys.rotated').length === made &&
      events
    );
  };
  const forth = pairs.map(([from, to]) => `${from} ${to}`);
  const back = pairs.map(([from, to]) => `${to} ${from}`);
  const a = await until('the audit of a has all events', () => told(net.a, forth, 1), 120_000, 500);
  const b = await until('the audit of b has all events', () => told(net.b, back, 2), 120_000, 500);

  for (const [events, tunnels] of [
    [a, forth],
    [b, back],
  ] as const) {
    expect(tunnelsIn(events).sort()).toEqual([...tunnels].sort());
    for (const event of events) expectSchema('audit', event);
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    const producers = new Map<string, number[]>();
    for (const { source, incarnation, sequence } of events) {
      const numbers = producers.get(`${source} ${incarnation}`) ?? [];
      producers.set(`${source} ${incarnation}`, [...numbers, Number(sequence)]);
    }
    // No service ended together with the bus: each has one start.
    expect(producers.size).toBe(4);
    for (const numbers of producers.values()) expect(numbers).toEqual(numbers.map((_, i) => i + 1));
  }
  const refusals = refusalsIn(a);
  expect(refusals.map(({ data }) => data.local).sort()).toEqual([...refusedHosts].sort());
  const given = ofType(b, 'peer.unauthorized').reduce((sum, { data }) => sum + Number(data.count), 0);
  expect(given).toBeGreaterThanOrEqual(refusedHosts.length);

  for (const gateway of [net.a, net.b]) {
    const { code, stdout } = await gateway.psp('audit', 'verify', '--json');
    const verdict = JSON.parse(stdout);
    expectSchema('audit_verify', verdict);
    expect([code, verdict.whole]).toEqual([0, true]);
  }
}, 600_000);

it('continues after the whole node was restarted, and has the end of each service', async () => {
  const before = await eventsOf(net.a);
  await net.a.stop();
  await net.a.start();
  const after = await until(
    'the audit has the new start',
    async () => {
      const events = await eventsOf(net.a);
      return ofType(events, 'service.started').length === 8 && events;
    },
    60_000,
    500,
  );
  expect(after.slice(0, before.length)).toEqual(before);
  expect(new Set(ofType(after, 'service.stopped').map(({ source }) => source)).size).toBe(4);
  expect((await net.a.psp('audit', 'verify')).code).toBe(0);
}, 600_000);
