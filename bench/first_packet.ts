// SPDX-License-Identifier: Apache-2.0
// What the first packet of a tunnel costs: two nodes in namespaces, fresh pairs of hosts' addresses, and for each
// the round trip of the packet that misses, beside that of the packet after it, which takes the fast path. The
// measure beside them is the bare hop: a ping between the gateways' out-of-band interfaces. Prints medians and
// ratios of one run; `--json FILE` writes them.
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { Topology } from '../test/e2e/topology.js';
import { ping } from '../test/e2e/traffic.js';

const pairs = 24;

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] as number;

const { values: options } = parseArgs({ options: { json: { type: 'string' } } });
const net = await Topology.create({ outer: 4 });
try {
  await net.start();
  net.addAddresses(pairs);
  const first: number[] = [];
  const later: number[] = [];
  for (let i = 0; i < pairs; i++) {
    const { times, received } = await ping(net.host1.namespace, `10.2.0.${100 + i}`, {
      count: 2,
      source: `10.1.0.${100 + i}`,
    });
    if (received !== 2)
      throw new Error(`pair ${i}: ${received} of 2 replies; the first packet must not be lost`);
    first.push(times.get(1) as number);
    later.push(times.get(2) as number);
  }
  const bare = [...(await ping(net.a.namespace, '198.51.100.2', { count: 20 })).times.values()];
  const rows = Object.entries({ 'first packet': first, 'later packet': later, 'bare hop': bare }).map(
    ([what, times]) => ({
      what,
      p50Ms: quantile(times, 0.5),
      p90Ms: quantile(times, 0.9),
      ratioToLater: Number((quantile(times, 0.5) / quantile(later, 0.5)).toFixed(2)),
    }),
  );
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, kernel: release(), node: process.version };
  console.log(`${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}`);
  console.table(rows);
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ machine, pairs, rows }, null, 2)}\n`);
  }
} finally {
  await net.close();
}
