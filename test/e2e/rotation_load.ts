// SPDX-License-Identifier: Apache-2.0
// Rotations under traffic, for the test and for the benchmark: datagrams in both directions over many flows while the
// gateways rotate. What the gateways did is taken from their counters.
import { setTimeout as sleep } from 'node:timers/promises';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, type Namespace, until } from './namespace.js';
import { grew, type Numbers, newDrops } from './numbers.js';
import type { Topology } from './topology.js';
import { linesOf } from './traffic.js';

const port = 6100;

export interface Load {
  /** Datagrams that hosts sent, and that arrived at the hosts behind the other gateway. */
  sent: number;
  received: number;
  /** Packets that the gateways dropped, by reason. */
  drops: Record<string, number>;
  /** Rotations of both gateways. */
  rotations: number;
}

/** Counts datagrams that arrive at a host. */
class Sink {
  readonly #child: ReturnType<Namespace['spawn']>;
  readonly #lines: string[];

  private constructor(namespace: Namespace) {
    const agent = fromPackageRoot('dist/test/e2e/agents/udp_count.js');
    this.#child = namespace.spawn(process.execPath, [agent, `${port}`]);
    this.#lines = linesOf(this.#child);
  }

  static async start(namespace: Namespace): Promise<Sink> {
    const sink = new Sink(namespace);
    await until('the sink listens', () => sink.#lines[0] === 'listening');
    return sink;
  }

  async stop(): Promise<number> {
    this.#child.kill('SIGTERM');
    await ended(this.#child);
    return until('the sink has printed its count', () =>
      this.#lines[1] ? Number(this.#lines[1]) : undefined,
    );
  }
}

const numbersOf = (net: Topology): Promise<[Numbers, Numbers]> =>
  Promise.all([net.a.numbers(), net.b.numbers()]);

interface Sending {
  /** Addresses of each host. */
  perHost: number;
  /** The first of them. */
  first?: number;
  turns: number;
  everyMs: number;
}

const firstAddress = 100;

/** Sends datagrams from a range of the addresses of one host to all of the other's. @returns how many. */
async function sendFrom(
  net: Topology,
  host: 1 | 2,
  { perHost, first = firstAddress, turns, everyMs }: Sending,
  sources: [number, number] = [first, perHost],
): Promise<number> {
  const grid = { host, sources, destinations: [first, perHost], turns, everyMs, port };
  const agent = fromPackageRoot('dist/test/e2e/agents/udp_grid.js');
  const { namespace } = host === 1 ? net.host1 : net.host2;
  // A busy machine needs longer than the pauses between the turns.
  const timeoutMs = 120_000 + 4 * turns * everyMs;
  const { code, stdout, stderr } = await namespace.try(
    process.execPath,
    [agent, JSON.stringify(grid)],
    timeoutMs,
  );
  if (code !== 0) throw new Error(`sending datagrams failed: ${stderr.trim()}`);
  const { sent, failed } = JSON.parse(stdout) as { sent: number; failed: number };
  if (failed > 0) throw new Error(`${failed} datagrams were not sent`);
  return sent;
}

/** Sends one datagram over each flow in both directions, a part of the flows at a time, until all have keys. */
export async function keyAll(net: Topology, perHost: number, first = firstAddress): Promise<void> {
  const atOnce = Math.max(1, Math.floor(1000 / perHost));
  for (let from = 0; from < perHost; from += atOnce) {
    const range: [number, number] = [first + from, Math.min(atOnce, perHost - from)];
    for (const host of [1, 2] as const)
      await sendFrom(net, host, { perHost, first, turns: 1, everyMs: 0 }, range);
    await until('all flows have keys', async () => {
      const numbers = await numbersOf(net);
      return numbers.every(({ values }) => values.wanted === 0 && values.held === 0 && values.wants === 0);
    });
  }
}

/** The last rotation of both gateways is complete. */
export const settled = (net: Topology): Promise<unknown> =>
  until('the rotations are complete', async () => {
    const numbers = await numbersOf(net);
    return numbers.every(({ unansweredFlows, drainLeftMs }) => unansweredFlows === 0 && drainLeftMs === 0);
  });

/** Sends datagrams over all flows in both directions, while `rotate` is called again and again until they were sent. */
export async function underLoad(
  net: Topology,
  sending: Sending,
  rotate: () => Promise<unknown>,
): Promise<Load> {
  const sinks = [await Sink.start(net.host1.namespace), await Sink.start(net.host2.namespace)];
  const before = await numbersOf(net);
  let isSending = true;
  const both = Promise.all([sendFrom(net, 1, sending), sendFrom(net, 2, sending)]).finally(() => {
    isSending = false;
  });
  both.catch(() => undefined);
  await sleep(500);
  while (isSending) await rotate();
  const sent = (await both).reduce((sum, one) => sum + one, 0);
  await sleep(500);
  const after = await numbersOf(net);
  const counts = await Promise.all(sinks.map((sink) => sink.stop()));
  const drops: Record<string, number> = {};
  for (const [i, numbers] of after.entries()) {
    for (const [reason, count] of Object.entries(newDrops(before[i] as Numbers, numbers)))
      drops[reason] = (drops[reason] ?? 0) + count;
    for (const name of ['framesMissed', 'framesRefused']) {
      const count = grew(before[i] as Numbers, numbers, name);
      if (count > 0) drops[name] = (drops[name] ?? 0) + count;
    }
  }
  const rotations = after.reduce((sum, one, i) => sum + one.generation - (before[i]?.generation ?? 0), 0);
  return { sent, received: counts.reduce((sum, count) => sum + count, 0), drops, rotations };
}

/** Both gateways rotate; an attempt that is refused for now is repeated by the next call. Takes a second. */
export async function rotateBoth(net: Topology, everyMs = 1000): Promise<void> {
  const start = performance.now();
  const answers = await Promise.all([net.a.ask('rotate'), net.b.ask('rotate')]);
  const failed = answers.find(({ code }) => code !== 0 && code !== 3);
  if (failed) throw new Error(`psp rotate ended with ${failed.code}: ${failed.stderr.trim()}`);
  await sleep(Math.max(0, everyMs - (performance.now() - start)));
}

/** Sends one datagram over a flow between addresses of their own. @returns whether it arrived. */
export async function idleFlowWorks(net: Topology, address: number): Promise<boolean> {
  const sink = await Sink.start(net.host2.namespace);
  const sent = await sendFrom(net, 1, { perHost: 1, first: address, turns: 1, everyMs: 0 });
  await sleep(500);
  return (await sink.stop()) === sent;
}
