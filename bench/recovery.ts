// SPDX-License-Identifier: Apache-2.0
// How soon tunnels carry again after a failure. Two nodes run in namespaces, with 1000 live tunnels, each of which
// sends ten datagrams a second. A dataplane, a whole node, or both nodes at once are killed (SIGKILL), while hosts on
// both sides send, or only those behind the gateway that was not killed. Times count from the moment at which the engine
// runs again, of both gateways where both were killed. The bus server is kept away for a minute as well: established
// flows must lose nothing, and flows that missed meanwhile must carry soon after its return. `--rounds` sets how often,
// `--tunnels` how many.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Gateway } from '../test/e2e/gateway.js';
import { signal, until } from '../test/e2e/namespace.js';
import { Topology } from '../test/e2e/topology.js';
import { type Pair, periodMs, Traffic, type Way } from './recovery/traffic.js';
import { exact, figure, type Row, row } from './shared/figure.js';
import { countOf, optionsOf, report } from './shared/result.js';

const options = optionsOf({
  rounds: { type: 'string', default: '3' },
  tunnels: { type: 'string', default: '1000' },
  away: { type: 'string', default: '60' },
});
const rounds = countOf('rounds', options.rounds);
const tunnels = countOf('tunnels', options.tunnels);
const awayMs = 1000 * countOf('away', options.away);

/** How long arrivals are noted after a gateway is back. */
const watchedMs = 12_000;
const port = 7000;
/** Flows that miss while the bus server is away. */
const missing = 32;

/** Addresses of each host that have tunnels with all those of the other. */
const width = Math.ceil(Math.sqrt(tunnels));
const pairs: Pair[] = Array.from({ length: tunnels }, (_, i) => [
  `10.1.0.${100 + (i % width)}`,
  `10.2.0.${100 + Math.floor(i / width)}`,
]);
/** Other pairs in each round. */
const missingPairs = (round: number): Pair[] =>
  Array.from({ length: missing }, (_, i) => [
    `10.1.0.${100 + width + i}`,
    `10.2.0.${100 + width + ((i + round) % missing)}`,
  ]);

const net = await Topology.create({ log: 'info' });

/** When the engine of a gateway began to run, by its log; undefined if it did not since then. */
function runsAt(gateway: Gateway, sinceMs: number): number | undefined {
  const lines = gateway
    .log()
    .split('\n')
    .filter((line) => line.includes('"engine runs"'));
  const { time } = JSON.parse(lines.at(-1) ?? '{"time":0}') as { time: number | string };
  const atMs = new Date(time).getTime();
  return atMs > sinceMs ? atMs : undefined;
}

const killDataplane = async (gateway: Gateway): Promise<void> => {
  gateway.kill('dataplane');
};
async function killNode(gateway: Gateway): Promise<void> {
  for (const pid of gateway.namespace.processes()) signal(pid, 'SIGKILL');
  await until('the node is gone', () => gateway.namespace.processes().length === 0, 10_000, 5);
  await gateway.stop();
  gateway.launch();
}

interface Failure {
  what: string;
  traffic: 'both sides' | 'far side only';
  killed: readonly ('a' | 'b')[];
  kill: (gateway: Gateway) => Promise<void>;
}
const failures: Failure[] = (['both sides', 'far side only'] as const).flatMap((traffic) => [
  { what: 'dataplane', traffic, killed: ['a'] as const, kill: killDataplane },
  { what: 'node', traffic, killed: ['a'] as const, kill: killNode },
  { what: 'both nodes', traffic, killed: ['a', 'b'] as const, kill: killNode },
]);

interface Recovery {
  /** From being back until the first flow carried, until the last one did, and the longest silence of any flow. */
  firstMs: number;
  allMs: number;
  silenceMs: number;
}

const ways = (traffic: Failure['traffic']): Way[] =>
  traffic === 'both sides' ? ['to host 1', 'to host 2'] : ['to host 1'];

const allCarry = (flows: readonly number[][], sinceMs: number): boolean =>
  flows.length === tunnels && flows.every((times) => (times.at(-1) ?? 0) > sinceMs);

/** Makes every tunnel carry. */
async function warm(): Promise<void> {
  await until(
    'every tunnel carries',
    async () => {
      const running = await Promise.all(
        ways('both sides').map((way) => Traffic.start(net, pairs, way, port)),
      );
      await sleep(5000);
      const since = Date.now() - 1000;
      const arrived = await Promise.all(running.map((traffic) => traffic.stop()));
      return arrived.every(({ times }) => allCarry(times, since));
    },
    120_000,
  );
}

function recoveryOf(flows: readonly number[][], backMs: number, endMs: number): Recovery {
  const later = flows.map((times) => times.filter((time) => time > backMs));
  const firsts = later.map(([first = endMs]) => first - backMs);
  const gaps = later.flatMap((times) => {
    const marks = [backMs, ...times, endMs];
    return marks.slice(1).map((time, i) => time - (marks[i] as number));
  });
  return {
    firstMs: firsts.reduce((least, ms) => Math.min(least, ms)),
    allMs: firsts.reduce((most, ms) => Math.max(most, ms)),
    silenceMs: gaps.reduce((most, ms) => Math.max(most, ms)),
  };
}

async function fail({ traffic, killed, kill }: Failure): Promise<Recovery> {
  const running = await Promise.all(ways(traffic).map((way) => Traffic.start(net, pairs, way, port)));
  await sleep(3000);
  const sinceMs = Date.now();
  const gateways = killed.map((name) => net[name]);
  await Promise.all(gateways.map(kill));
  const back = await until('the engine runs again', () => {
    const times = gateways.map((gateway) => runsAt(gateway, sinceMs));
    return times.every((time) => time !== undefined) && Math.max(...(times as number[]));
  });
  await sleep(watchedMs);
  const endMs = Date.now();
  const arrived = await Promise.all(running.map((each) => each.stop()));
  const flows = arrived.flatMap(({ times }) => Array.from({ length: tunnels }, (_, i) => times[i] ?? []));
  await Promise.all(gateways.map((gateway) => gateway.ready()));
  return recoveryOf(flows, back, endMs);
}

interface Outage {
  /** Datagrams of established flows, in percent. */
  arrivedPercent: number;
  /** From the return of the bus server until every flow that missed carried. */
  resumedMs: number;
}

/** Keeps the bus server of gateway a away; `psp up` starts it again and again, and each one is killed at once. */
async function busAway(round: number): Promise<Outage> {
  const fresh = missingPairs(round);
  const established = await Promise.all(
    ways('both sides').map((way) => Traffic.start(net, pairs, way, port)),
  );
  await sleep(2000);
  const endMs = Date.now() + awayMs;
  let missed: Traffic | undefined;
  while (Date.now() < endMs) {
    const pid = net.a.pidOf('nats-server');
    if (pid !== undefined) signal(pid, 'SIGKILL');
    missed ??= await Traffic.start(net, fresh, 'to host 2', port + 1);
    await sleep(20);
  }
  const backMs = await until(
    'the bus server is back',
    () => net.a.pidOf('nats-server') !== undefined && Date.now(),
  );
  await sleep(5000);
  const stoppedMs = Date.now();
  const { times = [] } = (await missed?.stop()) ?? {};
  const flows = fresh.map((_, i) => times[i] ?? []);
  const ended = await Promise.all(established.map((each) => each.stop()));
  const sent = ended.reduce((sum, each) => sum + each.sent, 0);
  const arrived = ended.reduce(
    (sum, each) => sum + each.times.reduce((all, { length }) => all + length, 0),
    0,
  );
  return { arrivedPercent: (100 * arrived) / sent, resumedMs: recoveryOf(flows, backMs, stoppedMs).allMs };
}

try {
  net.addAddresses(width + missing);
  await net.start();
  await warm();
  const measured = new Map<Failure, Recovery[]>(failures.map((failure) => [failure, []]));
  const outages: Outage[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [failure, all] of measured) {
      const recovery = await fail(failure);
      all.push(recovery);
      console.log(`${failure.what}, ${failure.traffic}: ${JSON.stringify(recovery)}`);
      await warm();
    }
    outages.push(await busAway(round));
    console.log(`bus server: ${JSON.stringify(outages.at(-1))}`);
  }
  const limits: [keyof Recovery, string, number][] = [
    ['firstMs', 'first tunnel carries', 3000],
    ['allMs', 'all tunnels carry', 10_000],
    ['silenceMs', 'longest silence of a tunnel', 3000],
  ];
  const rows: Row[] = [...measured].flatMap(([{ what, traffic }, all]) =>
    limits.map(([name, measure, limit]) => {
      const ours = figure(all.map((recovery) => recovery[name]));
      return row({ killed: what, traffic, measure }, ours, exact(limit), { costs: true, reach: 1 });
    }),
  );
  const bus = { killed: 'bus server, kept away', traffic: 'both sides' };
  rows.push(
    row(
      { ...bus, measure: 'all missed flows carry' },
      figure(outages.map(({ resumedMs }) => resumedMs)),
      exact(2000),
      {
        costs: true,
        reach: 1,
      },
    ),
    row(
      { ...bus, measure: 'datagrams of established flows that arrive, %' },
      figure(outages.map(({ arrivedPercent }) => arrivedPercent)),
      exact(100),
      { reach: 1 },
    ),
  );
  const notes = [
    `${tunnels} tunnels, ${1000 / periodMs} datagrams a second in each direction that sends; ${rounds} rounds`,
    `the bus server of one gateway is away for ${awayMs / 1000} s; ${missing} flows miss meanwhile`,
  ];
  report(
    {
      bench: 'recovery',
      unit: 'milliseconds, unless the measure says otherwise',
      against: 'the limit',
      rows,
      notes,
    },
    options.json,
  );
} finally {
  await net.close();
}
