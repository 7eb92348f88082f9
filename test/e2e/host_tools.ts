// SPDX-License-Identifier: Apache-2.0
// Standard tools, as hosts use them: ping at any size, traceroute, iperf3, a copy over TCP whose packets have IPv6
// extension headers, many datagrams in one call, and the path MTU that the host's kernel has learned. Results are
// returned as values.
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, type Namespace, until } from './namespace.js';
import { linesOf } from './traffic.js';

/** Timeout in seconds that suffices on a slow machine. */
const answerS = 10;

export interface Echo {
  answered: boolean;
  /** MTU that a gateway reported in ICMP; undefined if none did. */
  told: number | undefined;
  /** MTU that the host's own kernel reported when it did not send at all. */
  refused: number | undefined;
}

export interface EchoOptions {
  /** Octets after the ICMP header. */
  size?: number;
  /** do: never fragment; want: this host fragments once it knows the path; dont: any node may fragment (IPv4). */
  discovery?: 'do' | 'want' | 'dont';
  /** DSCP and ECN. */
  trafficClass?: number;
  /** At most 16 octets; repeated to fill the packet. */
  marker?: string;
  /** Seconds; fewer if no answer is expected. */
  waitS?: number;
}

/** One echo request and its result. */
export async function echo(from: Namespace, to: string, options: EchoOptions = {}): Promise<Echo> {
  const { size = 56, discovery = 'want', trafficClass = 0, marker = '', waitS = answerS } = options;
  const pattern = marker === '' ? [] : ['-p', Buffer.from(marker, 'latin1').toString('hex')];
  const kind = ['-s', `${size}`, '-M', discovery, '-Q', `${trafficClass}`, ...pattern];
  // The interval is how long ping waits after a packet that it could not send.
  const { stdout, stderr } = await from.try('ping', ['-n', '-c1', '-i0.01', '-W', `${waitS}`, ...kind, to]);
  const received = /1 packets transmitted, (\d) received/.exec(stdout)?.[1];
  if (received === undefined) throw new Error(`ping ${to}: ${stderr.trim() || stdout.trim()}`);
  const mtuIn = (pattern: RegExp): number | undefined => {
    const found = pattern.exec(`${stdout}${stderr}`)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  return {
    answered: received === '1',
    told: mtuIn(/^From .*(?:Frag needed and DF set|Packet too big).*mtu ?[=:] ?(\d+)/m),
    refused: mtuIn(/message too long, mtu ?[=:] ?(\d+)/),
  };
}

/** The path MTU that a host has learned for an address; undefined: it has only the MTU of its link. */
export function learnedMtu(host: Namespace, address: string): number | undefined {
  const [route] = JSON.parse(host.ip('-json', 'route', 'get', address)) as [{ metrics?: { mtu?: number }[] }];
  return route.metrics?.find(({ mtu }) => mtu !== undefined)?.mtu;
}

/** Makes a host forget learned path MTUs. */
export function forgetPaths(host: Namespace): void {
  for (const family of ['-4', '-6']) host.ip(family, 'route', 'flush', 'cache');
}

/** The nodes on the path, by UDP or ICMP: one address per hop limit, `*` if there was no answer. */
export async function traceroute(from: Namespace, to: string, by: 'udp' | 'icmp'): Promise<string[]> {
  const probes = [
    '-n',
    '-q',
    '1',
    '-N',
    '1',
    '-m',
    '4',
    '-w',
    `${answerS}`,
    ...(by === 'icmp' ? ['-I'] : []),
  ];
  const { stdout, stderr } = await from.try('traceroute', [...probes, to]);
  const hops = [...stdout.matchAll(/^\s*\d+\s+(\S+)/gm)].map(([, address]) => address as string);
  if (hops.length === 0) throw new Error(`traceroute ${to}: ${stderr.trim()}`);
  return hops;
}

export interface Stream {
  /** Octets. */
  sent: number;
  received: number;
}

/** The port on which iperf3 listens. */
export const iperfPort = 5201;

interface IperfReport {
  error?: string;
  end: { sum_sent: { bytes: number }; sum_received: { bytes: number } };
}

/** An iperf3 server on every address of a host. */
export class Iperf {
  private constructor(private readonly stopServer: () => Promise<void>) {}

  static async start(host: Namespace): Promise<Iperf> {
    const server = host.spawn('iperf3', ['-s', '--forceflush']);
    const lines = linesOf(server);
    await until('iperf3 listens', () => lines.some((line) => line.includes('listening')));
    return new Iperf(async () => {
      server.kill('SIGTERM');
      await ended(server);
    });
  }

  /**
   * `bytes` octets over TCP, or over UDP in datagrams of 1000 octets that fit any path, slowly enough for any
   * machine.
   */
  async carry(from: Namespace, to: string, by: 'tcp' | 'udp', bytes: number): Promise<Stream> {
    const datagrams = by === 'udp' ? ['-u', '-l', '1000', '-b', '50M'] : [];
    const { stdout, stderr } = await from.try('iperf3', ['-c', to, '-J', '-n', `${bytes}`, ...datagrams]);
    const report = stdout === '' ? { error: stderr.trim() } : (JSON.parse(stdout) as IperfReport);
    if (!('end' in report) || report.error !== undefined) throw new Error(`iperf3 ${to}: ${report.error}`);
    return { sent: report.end.sum_sent.bytes, received: report.end.sum_received.bytes };
  }

  stop(): Promise<void> {
    return this.stopServer();
  }
}

/**
 * Sends a file over TCP and IPv6. All packets of the socket have hop-by-hop and destination options with six octets
 * of padding each: IPV6_HOPOPTS and IPV6_DSTOPTS of RFC 3542.
 */
const sender = `
  use Socket qw(AF_INET6 SOCK_STREAM inet_pton pack_sockaddr_in6);
  my ($address, $port, $file) = @ARGV;
  my ($hop_by_hop, $destination) = (54, 59);
  socket(my $s, AF_INET6, SOCK_STREAM, 6) or die "socket: $!";
  setsockopt($s, 41, $_, pack("C8", 0, 0, 1, 4, 0, 0, 0, 0)) or die "option $_: $!" for $hop_by_hop, $destination;
  connect($s, pack_sockaddr_in6($port, inet_pton(AF_INET6, $address))) or die "connect: $!";
  open(my $in, "<:raw", $file) or die "$file: $!";
  my ($octets, $read);
  while ($read = sysread($in, $octets, 65536)) {
    for (my $at = 0; $at < $read;) { $at += syswrite($s, $octets, $read - $at, $at) || die "send: $!"; }
  }
  shutdown($s, 1);
  sysread($s, $octets, 1);`;

/** Copies a file of random octets with extension headers in each packet. @returns SHA-256 at both ends. */
export async function copyWithExtensions(
  from: Namespace,
  to: Namespace,
  address: string,
  { file, bytes, port = 5300 }: { file: string; bytes: number; port?: number },
): Promise<{ sent: string; received: string; bytes: number }> {
  const content = randomBytes(bytes);
  writeFileSync(file, content);
  const agent = fromPackageRoot('dist/test/e2e/agents/tcp_receive.js');
  const receiver = to.spawn(process.execPath, [agent, address, `${port}`]);
  const lines = linesOf(receiver);
  await until('the receiver listens', () => lines.includes('listening'));
  const { code, stderr } = await from.try('perl', ['-e', sender, address, `${port}`, file]);
  if (code !== 0) {
    receiver.kill('SIGKILL');
    throw new Error(`the copy to ${address} failed: ${stderr.trim()}`);
  }
  await ended(receiver);
  const got = JSON.parse(await until('the receiver has spoken', () => lines[1])) as {
    sha256: string;
    bytes: number;
  };
  return { sent: createHash('sha256').update(content).digest('hex'), received: got.sha256, bytes: got.bytes };
}

/** Sends many datagrams at once, several times, each time by one call: UDP_SEGMENT of Linux (udp(7)). */
const joinedSender = `
  use Socket qw(AF_INET AF_INET6 SOCK_DGRAM inet_pton pack_sockaddr_in pack_sockaddr_in6);
  my ($address, $port, $size, $length, $sends) = @ARGV;
  my $six = $address =~ /:/;
  my $octets = inet_pton($six ? AF_INET6 : AF_INET, $address);
  socket(my $s, $six ? AF_INET6 : AF_INET, SOCK_DGRAM, 17) or die "socket: $!";
  setsockopt($s, 17, 103, pack("i", $size)) or die "UDP_SEGMENT: $!";
  connect($s, $six ? pack_sockaddr_in6($port, $octets) : pack_sockaddr_in($port, $octets)) or die "connect: $!";
  for my $n (1 .. $sends) {
    send($s, pack("C*", map { ($_ * 7 + $n) % 256 } 1 .. $length), 0) or die "send: $!";
    select(undef, undef, undef, 0.02);
  }`;

/**
 * Receives this many datagrams, or those that arrive within ten seconds. Prints their lengths, then all octets as
 * hex.
 */
const datagramReceiver = `
  use Socket qw(AF_INET6 SOCK_DGRAM pack_sockaddr_in6);
  $| = 1;
  my ($port, $count) = @ARGV;
  socket(my $s, AF_INET6, SOCK_DGRAM, 17) or die "socket: $!";
  setsockopt($s, 1, 8, pack("i", 1 << 20));
  bind($s, pack_sockaddr_in6($port, "\\0" x 16)) or die "bind: $!";
  print "listening\\n";
  my ($bits, $all, @lengths) = ("", "");
  vec($bits, fileno($s), 1) = 1;
  while (@lengths < $count and select(my $ready = $bits, undef, undef, 10)) {
    recv($s, my $octets, 65536, 0);
    push @lengths, length $octets;
    $all .= $octets;
  }
  print join(" ", @lengths), "\\n", unpack("H*", $all), "\\n";`;

/** Sends `length` octets as datagrams of `size` octets in one call, `sends` times. */
export async function datagramsOfOneSend(
  from: Namespace,
  to: Namespace,
  address: string,
  { size, length, sends, port = 5400 }: { size: number; length: number; sends: number; port?: number },
): Promise<{ lengths: number[]; equal: boolean }> {
  const receiver = to.spawn('perl', [
    '-e',
    datagramReceiver,
    `${port}`,
    `${Math.ceil(length / size) * sends}`,
  ]);
  const lines = linesOf(receiver);
  await until('the receiver listens', () => lines.includes('listening'));
  const numbers = [port, size, length, sends].map(String);
  const { code, stderr } = await from.try('perl', ['-e', joinedSender, address, ...numbers]);
  if (code !== 0) throw new Error(`sending datagrams to ${address} failed: ${stderr.trim()}`);
  await ended(receiver);
  const hex = await until('the receiver has spoken', () => lines[2]);
  const sent = Array.from({ length: sends }, (_, n) =>
    Uint8Array.from({ length }, (_, i) => (i + 1) * 7 + n + 1),
  );
  return {
    lengths: (lines[1] ?? '').split(' ').map(Number),
    equal: hex === Buffer.concat(sent).toString('hex'),
  };
}
