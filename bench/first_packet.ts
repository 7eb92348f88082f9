// SPDX-License-Identifier: Apache-2.0
// The cost of the first packet of a tunnel. Two nodes run in namespaces. In each round it measures the round trip of the packet
// that misses, for many address pairs that have no tunnel, and that of a later packet, which takes the fast path. The first is
// compared with the sum of the bare hops of a key exchange, measured in the same round between processes that do nothing else:
// two gRPC messages over mutual TLS and four messages through a nats-server. One round that is not measured precedes, so that
// all code is compiled.
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { fromPackageRoot } from '../services/shared/process/package_root.js';
import { unhurried } from '../test/e2e/gateway.js';
import { type Namespace, until } from '../test/e2e/namespace.js';
import { Topology } from '../test/e2e/topology.js';
import { linesOf } from '../test/e2e/traffic.js';
import { figure, median, row } from './shared/figure.js';
import { optionsOf, report } from './shared/result.js';

const rounds = 5;
/** Addresses of each host; every pair of them is a tunnel. */
const addresses = 20;
const port = 7000;
const busAt = '127.0.0.1:4999';
const grpcAt = '198.51.100.2:4999';

const agent = (name: string): string => fromPackageRoot(`dist/bench/agents/${name}.js`);
const children: ChildProcess[] = [];

/** A process that runs to the end, and says `ready` first. */
async function start(namespace: Namespace, name: string, ...args: string[]): Promise<void> {
  const child = namespace.spawn(process.execPath, [agent(name), ...args]);
  children.push(child);
  const lines = linesOf(child);
  await until(`${name} ${args[0]} is ready`, () => lines.includes('ready'));
}

/** What a process prints. */
async function printed<T>(namespace: Namespace, name: string, ...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await namespace.try(process.execPath, [agent(name), ...args]);
  if (code !== 0) throw new Error(`${name} failed: ${stderr}`);
  return JSON.parse(stdout) as T;
}

const { json } = optionsOf({});
const net = await Topology.create({ outer: 4, edit: unhurried });
try {
  await net.start();
  net.addAddresses(addresses);
  const host = (n: 1 | 2) => Array.from({ length: addresses }, (_, i) => `10.${n}.0.${100 + i}`);
  const pairs = host(1).flatMap((source) => host(2).map((destination) => [source, destination]));
  const tls = (node: 'a' | 'b') => join(net[node].files, 'tls');
  const [address, busPort] = busAt.split(':') as [string, string];
  children.push(net.a.namespace.spawn('nats-server', ['-a', address, '-p', busPort]));
  await start(net.host2.namespace, 'round_trips', 'answer', `${port}`, ...host(2));
  await start(net.a.namespace, 'bare_hops', 'answerBus', busAt);
  await start(net.b.namespace, 'bare_hops', 'answerGrpc', grpcAt, tls('b'));

  const ask = async (): Promise<number> => {
    const asked = printed<(number | null)[]>(
      net.host1.namespace,
      'round_trips',
      'ask',
      `${port}`,
      JSON.stringify(pairs),
    );
    const times = await asked;
    const answered = times.filter((ms) => ms !== null);
    const lost = times.length - answered.length;
    if (lost > 0) throw new Error(`${lost} of ${times.length} first packets were lost`);
    return median(answered);
  };
  const times = { first: [] as number[], later: [] as number[], hops: [] as number[] };
  for (let round = 0; round <= rounds; round++) {
    const [first, later] = [await ask(), await ask()];
    const hops = await printed<{ bus: number[]; grpc: number[] }>(
      net.a.namespace,
      'bare_hops',
      'ask',
      busAt,
      grpcAt,
      tls('a'),
    );
    if (round > 0) {
      times.first.push(first);
      times.later.push(later);
      // A round trip on the bus is two messages, a call is two gRPC messages.
      times.hops.push(2 * median(hops.bus) + median(hops.grpc));
    }
    for (const gateway of [net.a, net.b]) await gateway.psp('flows', 'remove', '--all');
  }
  const [first, later, hops] = [figure(times.first), figure(times.later), figure(times.hops)];
  report(
    {
      bench: 'first_packet',
      unit: 'milliseconds, medians of round trips',
      against: 'what the row names',
      rows: [
        row({ what: 'first packet, against the bare hops of its exchange' }, first, hops, {
          costs: true,
          reach: 0.667,
        }),
        row({ what: 'first packet, against a later one' }, first, later, { costs: true }),
      ],
    },
    json,
  );
} finally {
  for (const child of children) child.kill();
  await net.close();
}
