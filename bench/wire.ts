// SPDX-License-Identifier: Apache-2.0
// Measures the traffic of hosts through two gateways: TCP with one and eight streams, UDP, ping, requests and
// responses, and the processor time per GiB. It is compared with wireguard-go and nebula of Debian 13 in place of the
// gateways, and with two limits: a kernel that forwards in plaintext, and one bare veth pair. A program that is not
// available is skipped with the reason. All of them run at once and are measured in alternation, round by round, so
// that other load affects all alike. `--rounds` and `--seconds` set how often and how long. With `--profile` it shows
// instead where the time goes while one TCP stream runs through our gateways.
import { setTimeout as delay } from 'node:timers/promises';
import { ended } from '../test/e2e/namespace.js';
import { figure, type Row, row } from './shared/figure.js';
import { type Profile, perfMissing, profile } from './shared/profile.js';
import { install, type Unpacked, unpackFrom } from './shared/programs.js';
import { countOf, optionsOf, report } from './shared/result.js';
import { bare, type Carrier, forwarding, nebula, ours, wireguard } from './wire/carriers.js';
import { type Latency, pingLatency, requestResponse, type Throughput, throughput } from './wire/measures.js';

const pings = 500;
const requests = 5000;
/** Datagrams of 1300 octets at the sender's full rate. */
const udp = ['-u', '-b', '0', '-l', '1300'];

const options = optionsOf({
  rounds: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '4' },
  profile: { type: 'boolean' },
});
const rounds = countOf('rounds', options.rounds);
const seconds = countOf('seconds', options.seconds);

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
  /** The ratio to reach against a carrier, if any. */
  reach?: Record<string, number>;
}

const measures: Measure[] = [
  {
    name: 'TCP, 1 stream, Gb/s',
    of: ({ tcp1 }) => tcp1.gbitPerS,
    reach: { nebula: 10, 'wireguard-go': 3, 'bare veth': 0.5 },
  },
  { name: 'TCP, 8 streams, Gb/s', of: ({ tcp8 }) => tcp8.gbitPerS, reach: { 'wireguard-go': 3 } },
  { name: 'UDP received, Gb/s', of: (round) => round.udp.gbitPerS, reach: { 'wireguard-go': 2 } },
  {
    name: 'own CPU, s/GiB',
    of: ({ tcp1 }) => tcp1.ownCpu,
    costs: true,
    reach: { 'wireguard-go': 3 },
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

/** The Debian release whose packages of the other programs are measured. */
const peersFrom = 'trixie';

const carriers: Carrier[] = [];
const notes: string[] = [];
const versions: Record<string, string> = {};

/** Adds another program from Debian. */
async function addPeer(name: string, make: (peer: Unpacked) => Promise<Carrier>): Promise<void> {
  const peer = unpackFrom(peersFrom, name);
  versions[name] = peer?.version ?? 'unknown';
  if (peer === undefined)
    notes.push(`${name}: skipped, the package of Debian ${peersFrom} could not be downloaded`);
  else await add(name, () => make(peer));
}

async function add(name: string, make: () => Promise<Carrier>): Promise<void> {
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

/** Rows of one measure: ours compared with each other carrier that has it. */
function rowsOf(
  { name, of, costs = false, reach = {} }: Measure,
  own: Round[],
  others: [Carrier, Round[]][],
): Row[] {
  return others.flatMap(([carrier, all]): Row[] => {
    const [ourFigure, against] = [figure(own.map(of)), figure(all.map(of))];
    // The kernel has no processes of its own.
    if (against.median === 0) return [];
    const what = { measure: name, beside: carrier.name };
    return [row(what, ourFigure, against, { costs, reach: reach[carrier.name] })];
  });
}

async function measureAll(): Promise<Row[]> {
  await add('bare veth', bare);
  await add('forwarding', forwarding);
  await addPeer('nebula', nebula);
  if (install('wireguard-tools', '/usr/bin/wg')) await addPeer('wireguard-go', wireguard);
  else notes.push('wireguard-go: skipped, the package wireguard-tools could not be installed');
  const measured = new Map<Carrier, Round[]>(carriers.map((carrier) => [carrier, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [carrier, all] of measured) all.push(await measure(carrier));
  }
  const [[, own], ...others] = [...measured] as [[Carrier, Round[]], ...[Carrier, Round[]][]];
  notes.push(`${rounds} rounds of ${seconds} s; TCP's own CPU is that of the carrier's processes`);
  return measures.flatMap((one) => rowsOf(one, own, others));
}

/** Profiles our gateways and the whole machine while one stream runs. */
async function profileOurs(carrier: Carrier): Promise<Profile[]> {
  const stream = [
    carrier.to.spawn('iperf3', ['-s', '--one-off'], 'ignore'),
    await delay(1000).then(() =>
      carrier.from.spawn('iperf3', ['-c', carrier.address, '-t', `${4 * seconds}`], 'ignore'),
    ),
  ];
  await delay(1000);
  const gateways = profile('both gateways', carrier.processes(), seconds);
  const machine = profile('the whole machine, by program', 'all', seconds);
  for (const one of stream) {
    one.kill('SIGTERM');
    await ended(one);
  }
  return [gateways, machine];
}

const result = { bench: 'wire', unit: 'as each measure says', against: 'the carrier that is named' };
try {
  const skipped = options.profile === true ? perfMissing() : undefined;
  if (skipped !== undefined) report({ ...result, rows: [], skipped }, options.json);
  else {
    if (!install('perl', '/usr/bin/cpan')) throw new Error('Debian’s perl is not to be had');
    await add('psp', ours);
    const [own] = carriers;
    if (own === undefined) throw new Error(notes.join('\n'));
    if (options.profile === true) {
      report({ ...result, rows: [], profiles: await profileOurs(own) }, options.json);
    } else {
      const rows = await measureAll();
      report({ ...result, rows, notes, versions }, options.json);
    }
  }
} finally {
  for (const carrier of carriers) await carrier.close();
}
