// SPDX-License-Identifier: Apache-2.0
// The measurements of the wire bench for one carrier: octets per second over TCP and UDP by iperf3 with the processor
// time used, round trips of ping, and of requests and responses of one octet over one TCP connection.
import { readdirSync, readFileSync } from 'node:fs';
import { ended, until } from '../../test/e2e/namespace.js';
import { linesOf, ping } from '../../test/e2e/traffic.js';
import type { Carrier } from './carriers.js';

const gibibyte = 2 ** 30;

export interface Throughput {
  gbitPerS: number;
  /** Processor seconds per GiB: of the carrier's own processes, and of the whole machine including the hosts. */
  ownCpu: number;
  machineCpu: number;
}

export interface Latency {
  /** Microseconds. */
  p50: number;
  p99: number;
}

interface Report {
  error?: string;
  end: {
    sum_received?: { bytes: number; seconds: number };
    sum?: { bytes: number; seconds: number; lost_percent: number };
  };
}

/** An iperf3 run against its own server. `options` select protocol and streams. */
export async function throughput(carrier: Carrier, seconds: number, options: string[]): Promise<Throughput> {
  const server = carrier.to.spawn('iperf3', ['-s', '--one-off', '--forceflush']);
  const lines = linesOf(server);
  await until('iperf3 listens', () => lines.some((line) => line.includes('listening')));
  const [own, machine] = [ownCpuS(carrier), machineCpuS()];
  const args = ['-c', carrier.address, '-t', `${seconds}`, '-J', ...options];
  const { stdout, stderr } = await carrier.from.try('iperf3', args, (seconds + 30) * 1000);
  const [ownAfter, machineAfter] = [ownCpuS(carrier), machineCpuS()];
  if (server.exitCode === null) server.kill('SIGTERM');
  await ended(server);
  const report = JSON.parse(stdout === '' ? '{"error":"no report"}' : stdout) as Report;
  if (report.error !== undefined) throw new Error(`iperf3 over ${carrier.name}: ${report.error} ${stderr}`);
  const { sum_received: received } = report.end;
  if (received === undefined) throw new Error(`iperf3 over ${carrier.name}: nothing received`);
  const gib = received.bytes / gibibyte;
  return {
    gbitPerS: (received.bytes * 8) / received.seconds / 1e9,
    ownCpu: (ownAfter - own) / gib,
    machineCpu: (machineAfter - machine) / gib,
  };
}

/** Processor time of the carrier's processes so far, in seconds, from the scheduler's statistics. */
function ownCpuS(carrier: Carrier): number {
  const ofTask = (pid: number, task: string): number => {
    try {
      return Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1e9;
    } catch {
      return 0;
    }
  };
  return carrier
    .processes()
    .flatMap((pid) => readdirSync(`/proc/${pid}/task`).map((task) => ofTask(pid, task)))
    .reduce((sum, s) => sum + s, 0);
}

/** Time in seconds during which the machine's processors were not idle. */
function machineCpuS(): number {
  const [all = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const [, user, nice, system, , , irq, softirq] = all.split(/\s+/);
  return [user, nice, system, irq, softirq].reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] as number;

const latencyOf = (us: number[]): Latency => {
  const sorted = us.sort((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
};

/** Pings one after another, 2 ms apart. */
export async function pingLatency(carrier: Carrier, count: number): Promise<Latency> {
  const { times } = await ping(carrier.from, carrier.address, { count, intervalMs: 2, waitS: 2 });
  return latencyOf([...times.values()].map((ms) => ms * 1000));
}

const responder = `
  use Socket qw(:all);
  $| = 1;
  socket(my $l, AF_INET, SOCK_STREAM, 6) or die;
  setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1);
  bind($l, pack_sockaddr_in(5500, INADDR_ANY)) or die "bind: $!";
  listen($l, 1);
  print "listening\\n";
  accept(my $s, $l) or die;
  setsockopt($s, 6, 1, 1);
  syswrite($s, $_) while sysread($s, $_, 64);`;

const requester = `
  use Socket qw(:all);
  use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);
  my ($address, $count) = @ARGV;
  socket(my $s, AF_INET, SOCK_STREAM, 6) or die;
  connect($s, pack_sockaddr_in(5500, inet_aton($address))) or die "connect: $!";
  setsockopt($s, 6, 1, 1);
  my @us;
  for (1 .. $count) {
    my $start = clock_gettime(CLOCK_MONOTONIC);
    syswrite($s, "x");
    sysread($s, my $answer, 1) or die "closed";
    push @us, (clock_gettime(CLOCK_MONOTONIC) - $start) * 1e6;
  }
  print join(" ", map { sprintf "%.1f", $_ } @us), "\\n";`;

/** Requests and responses of one octet, one after another. */
export async function requestResponse(carrier: Carrier, count: number): Promise<Latency> {
  const server = carrier.to.spawn('perl', ['-e', responder]);
  const lines = linesOf(server);
  await until('the responder listens', () => lines.includes('listening'));
  const { code, stdout, stderr } = await carrier.from.try('perl', [
    '-e',
    requester,
    carrier.address,
    `${count}`,
  ]);
  server.kill('SIGTERM');
  await ended(server);
  if (code !== 0) throw new Error(`requests over ${carrier.name}: ${stderr}`);
  return latencyOf(stdout.trim().split(' ').map(Number));
}
