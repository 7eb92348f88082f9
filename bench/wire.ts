// SPDX-License-Identifier: Apache-2.0
// What hosts get through two gateways: TCP of one and of eight streams, UDP, ping, requests and responses, and the
// processor time that a GiB takes; beside it wireguard-go and nebula of Debian in the gateways' place, and as limits the
// kernel that forwards in the clear and one bare veth pair. Peers are installed by apt; one that cannot be is skipped
// with the reason. All carriers are up at once and take turns, round by round; figures are medians of the rounds, the
// noise is how far the rounds of one figure lie apart. `--json FILE` writes what is printed, `--rounds` and `--seconds`
// set how often and how long.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { fromPackageRoot } from '../services/shared/package_root.js';
import { bare, type Carrier, forwarding, nebula, ours, wireguard } from './wire/carriers.js';
import { type Latency, pingLatency, requestResponse, type Throughput, throughput } from './wire/measures.js';

const pings = 500;
const requests = 5000;
/** Datagrams of 1300 octets, as fast as the sender can. */
const udp = ['-u', '-b', '0', '-l', '1300'];

const { values: options } = parseArgs({
  options: {
    json: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '5' },
  },
});
const [rounds, seconds] = [Number(options.rounds), Number(options.seconds)];

interface Round {
  tcp1: Throughput;
  tcp8: Throughput;
  udp: Throughput;
  ping: Latency;
  requests: Latency;
}

const carriers: Carrier[] = [];
const skipped: { name: string; reason: string }[] = [];

async function add(name: string, packages: string[], make: () => Promise<Carrier>): Promise<void> {
  const setup = ['scripts/setup.sh', ...packages];
  const { status } = spawnSync('bash', setup, { cwd: fromPackageRoot('.'), stdio: 'inherit' });
  try {
    if (status !== 0) throw new Error(`${packages.join(', ')} could not be installed`);
    carriers.push(await make());
  } catch (error) {
    skipped.push({ name, reason: (error as Error).message });
  }
}

async function measure(carrier: Carrier): Promise<Round> {
  return {
    tcp1: await throughput(carrier, seconds, []),
    tcp8: await throughput(carrier, seconds, ['-P', '8']),
    udp: await throughput(carrier, seconds, udp),
    ping: await pingLatency(carrier, pings),
    requests: await requestResponse(carrier, requests),
  };
}

const median = (values: number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)] as number;

/** What is told of one round, with the digits that are worth telling. */
const figures: Record<string, [(round: Round) => number, number]> = {
  tcp1GbitPerS: [({ tcp1 }) => tcp1.gbitPerS, 2],
  tcp8GbitPerS: [({ tcp8 }) => tcp8.gbitPerS, 2],
  udpGbitPerS: [({ udp }) => udp.gbitPerS, 2],
  ownCpuSPerGiB: [({ tcp1 }) => tcp1.ownCpu, 2],
  machineCpuSPerGiB: [({ tcp1 }) => tcp1.machineCpu, 2],
  pingP50Us: [({ ping }) => ping.p50, 0],
  requestP50Us: [({ requests }) => requests.p50, 0],
  requestP99Us: [({ requests }) => requests.p99, 0],
};

try {
  await add('bare veth', [], bare);
  await add('forwarding', [], forwarding);
  await add('psp', [], ours);
  await add('nebula', ['nebula'], nebula);
  await add('wireguard-go', ['wireguard-go', 'wireguard-tools'], wireguard);
  const measured = new Map<Carrier, Round[]>(carriers.map((carrier) => [carrier, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [carrier, all] of measured) all.push(await measure(carrier));
  }
  const rows = [...measured].map(([{ name, label }, all]) => {
    const told = Object.entries(figures).map(([figure, [of, digits]]) => {
      const values = all.map(of);
      const noise = (Math.max(...values) - Math.min(...values)) / median(values);
      return [figure, { median: Number(median(values).toFixed(digits)), noise: Number(noise.toFixed(2)) }];
    });
    return {
      name,
      label,
      figures: Object.fromEntries(told) as Record<string, { median: number; noise: number }>,
    };
  });
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, kernel: release(), node: process.version };
  console.log(`${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}`);
  for (const { name, label } of rows) console.log(`${name}: ${label}`);
  for (const { name, reason } of skipped) console.log(`${name}: skipped, ${reason}`);
  console.log(`medians of ${rounds} rounds of ${seconds} s, with the spread of the rounds in percent`);
  console.table(
    rows.map(({ name, figures: told }) => ({
      name,
      ...Object.fromEntries(
        Object.entries(told).map(([figure, one]) => [
          figure,
          `${one.median} ±${Math.round(50 * one.noise)}%`,
        ]),
      ),
    })),
  );
  const psp = rows.find(({ name }) => name === 'psp');
  const ratios = rows
    .filter((row) => row !== psp && psp !== undefined)
    .map(({ name, figures: other }) => ({
      'psp to': name,
      ...Object.fromEntries(
        Object.entries(other).map(([figure, one]) => [
          figure,
          one.median === 0 ? null : Number(((psp?.figures[figure]?.median ?? 0) / one.median).toFixed(2)),
        ]),
      ),
    }));
  console.table(ratios);
  if (options.json !== undefined) {
    writeFileSync(
      options.json,
      `${JSON.stringify({ machine, rounds, seconds, rows, ratios, skipped }, null, 2)}\n`,
    );
  }
} finally {
  for (const carrier of carriers) await carrier.close();
}
