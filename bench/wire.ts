// SPDX-License-Identifier: Apache-2.0
// What hosts get through two gateways: TCP of one and of eight streams, UDP, ping, requests and responses, and the
// processor time that a GiB takes; beside it wireguard-go and nebula of Debian in the gateways' place, and as limits the
// kernel that forwards in the clear and one bare veth pair. A peer that cannot be installed is skipped with the reason.
// All are up at once and take turns, round by round, so that a busy moment is nobody's own. `--rounds` and `--seconds`
// set how often and how long.
import { parseArgs } from 'node:util';
import { figure, install, type Row, report } from './shared/bench.js';
import { bare, type Carrier, forwarding, nebula, ours, wireguard } from './wire/carriers.js';
import { type Latency, pingLatency, requestResponse, type Throughput, throughput } from './wire/measures.js';

const pings = 500;
const requests = 5000;
/** Datagrams of 1300 octets, as fast as the sender can. */
const udp = ['-u', '-b', '0', '-l', '1300'];

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '5' } },
  strict: false,
});
const [rounds, seconds] = [Number(options.rounds), Number(options.seconds)];

interface Round {
  tcp1: Throughput;
  tcp8: Throughput;
  udp: Throughput;
  ping: Latency;
  requests: Latency;
}

interface Measure {
  name: string;
  of: (round: Round) => number;
  /** Less is better. */
  costs?: boolean;
  /** The ratio to reach against a carrier. */
  reach?: Record<string, number>;
}

const measures: Measure[] = [
  {
    name: 'TCP, 1 stream, Gb/s',
    of: ({ tcp1 }) => tcp1.gbitPerS,
    reach: { nebula: 2, 'wireguard-go': 3, 'bare veth': 0.5 },
  },
  { name: 'TCP, 8 streams, Gb/s', of: ({ tcp8 }) => tcp8.gbitPerS },
  { name: 'UDP received, Gb/s', of: (round) => round.udp.gbitPerS },
  {
    name: 'own CPU, s/GiB',
    of: ({ tcp1 }) => tcp1.ownCpu,
    costs: true,
    reach: { 'wireguard-go': 2 },
  },
  { name: 'machine CPU, s/GiB', of: ({ tcp1 }) => tcp1.machineCpu, costs: true },
  { name: 'ping p50, us', of: ({ ping }) => ping.p50, costs: true },
  {
    name: 'request p50, us',
    of: (round) => round.requests.p50,
    costs: true,
    reach: { nebula: 1, 'wireguard-go': 1 },
  },
  { name: 'request p99, us', of: (round) => round.requests.p99, costs: true },
];

const carriers: Carrier[] = [];
const notes: string[] = [];

async function add(name: string, packages: Record<string, string>, make: () => Promise<Carrier>) {
  const missing = Object.entries(packages).find(([one, file]) => !install(one, file));
  if (missing !== undefined) {
    notes.push(`${name}: skipped, Debian’s ${missing[0]} is not to be had`);
    return;
  }
  try {
    const carrier = await make();
    carriers.push(carrier);
    notes.push(`${name}: ${carrier.label}`);
  } catch (error) {
    notes.push(`${name}: skipped, ${(error as Error).message}`);
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

/** Rows of one measure: ours beside each other carrier that has it. */
function rowsOf(
  { name, of, costs = false, reach = {} }: Measure,
  own: Round[],
  others: [Carrier, Round[]][],
): Row[] {
  return others.flatMap(([carrier, all]): Row[] => {
    const [ourFigure, against] = [figure(own.map(of)), figure(all.map(of))];
    // The kernel has no processes of its own.
    if (against.median === 0) return [];
    const ratio = costs ? against.median / ourFigure.median : ourFigure.median / against.median;
    const what = { measure: name, against: carrier.name };
    const toReach = reach[carrier.name];
    return [{ what, ours: ourFigure, against, ratio, ...(toReach === undefined ? {} : { reach: toReach }) }];
  });
}

try {
  await add('psp', {}, ours);
  await add('bare veth', {}, bare);
  await add('forwarding', {}, forwarding);
  await add('nebula', { nebula: '/usr/bin/nebula' }, nebula);
  const tools = { 'wireguard-go': '/usr/bin/wireguard-go', 'wireguard-tools': '/usr/bin/wg' };
  await add('wireguard-go', tools, wireguard);
  const measured = new Map<Carrier, Round[]>(carriers.map((carrier) => [carrier, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [carrier, all] of measured) all.push(await measure(carrier));
  }
  const [first, ...others] = measured;
  if (first?.[0].name !== 'psp') throw new Error(notes.join('\n'));
  report({
    bench: 'wire',
    unit: 'as each measure says',
    against: 'the carrier that is named',
    rows: measures.flatMap((one) => rowsOf(one, first[1], others)),
    notes: [...notes, `${rounds} rounds of ${seconds} s; TCP's own CPU is that of the carrier's processes`],
  });
} finally {
  for (const carrier of carriers) await carrier.close();
}
