// SPDX-License-Identifier: Apache-2.0
// Two namespaces, a gateway's and the outside, joined by a wire and a host link; and ways to run the fence inside
// the gateway's, to send frames of any kind from there, and to see what comes out.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Capture } from '../../e2e/capture.js';
import { Namespace, type Result, until } from '../../e2e/namespace.js';
import { compile } from './compiled.js';

export class FenceRig {
  readonly gateway: Namespace;
  readonly outside: Namespace;
  readonly folder = compile('services/dataplane/adapters/fence.ts');

  constructor() {
    const id = `psp-fence-${process.pid}`;
    this.gateway = new Namespace(`${id}-g`);
    this.outside = new Namespace(`${id}-o`);
    this.link('wire', 'veth-wire');
    this.link('host', 'veth-host');
  }

  /** A pair from the gateway's port to `outer`; the gateway's end is down. */
  link(outer: string, port: string): void {
    this.gateway.ip('link', 'add', port, 'type', 'veth', 'peer', 'name', outer, 'netns', this.outside.name);
    this.outside.ip('link', 'set', outer, 'up');
  }

  async remove(): Promise<void> {
    await this.gateway.delete();
    await this.outside.delete();
    rmSync(this.folder, { recursive: true });
  }

  /**
   * Runs a function of adapters/fence.ts in the gateway's namespace. @returns what it resolved to, or its code.
   * @param user to become first; the sources may lie where only root can read them.
   */
  async fence(call: string, { user, path }: { user?: number; path?: string } = {}): Promise<unknown> {
    const module = join(this.folder, 'services/dataplane/adapters/fence.js');
    const script = `
      const fence = await import(${JSON.stringify(module)});
      ${user === undefined ? '' : `process.setuid(${user});`}
      ${path === undefined ? '' : `process.env.PATH = ${JSON.stringify(path)};`}
      const answer = await fence.${call}.catch(({ code, data, message }) => ({ code, data, message }));
      console.log(JSON.stringify(answer));`;
    const args = ['--input-type=module', '-e', script];
    const { stdout, stderr } = await this.gateway.try(process.execPath, args);
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout);
  }

  /**
   * Sends whole frames out of a port, of the gateway unless said otherwise, through a packet socket, or through the ring
   * of one, or as GSO packets, each with a virtio_net_hdr in front.
   */
  send(port: string, frames: Buffer[], way: keyof typeof perlWays = 'socket', from = this.gateway): void {
    const index = JSON.parse(from.ip('-json', 'link', 'show', 'dev', port))[0].ifindex as number;
    const hex = frames.map((frame) => frame.toString('hex'));
    from.run('perl', '-e', perlWays[way], `${index}`, ...hex);
  }

  /** @returns those of the markers that reached the outside while `work` ran, in their own order. */
  async seenOutside(work: () => void | Promise<void>, markers: readonly string[]): Promise<string[]> {
    const frames = await this.framesOutside(work);
    return markers.filter((marker) => frames.some((octets) => octets.includes(marker)));
  }

  /** @returns what was seen on the wire from outside while `work` ran. */
  async framesOutside(work: () => void | Promise<void>): Promise<Buffer[]> {
    const file = join(this.folder, 'wire.pcap');
    const capture = new Capture(this.outside, 'wire', file, {});
    await capture.start();
    await work();
    const last = Buffer.from('last frame of the test');
    this.outside.run('perl', '-e', perlSend(this.outside, 'wire', last));
    await until('the capture is whole', () => capture.frames().some(({ octets }) => octets.includes(last)));
    await capture.stop();
    return capture.frames().map(({ octets }) => octets);
  }

  ping(from: Namespace, address: string): Promise<Result> {
    return from.try('ping', ['-c', '1', '-W', '1', address]);
  }
}

/** `options`: what to set on the socket. */
const perlSocket = (options = '') => `
  my $index = shift;
  socket(my $s, 17, 3, 0) or die "socket: $!";
  ${options}
  bind($s, pack("S n i S C C a8", 17, 3, $index, 0, 0, 6, "")) or die "bind: $!";
  for (@ARGV) { send($s, pack("H*", $_), 0) or warn "send: $!"; }`;

/**
 * TPACKET_V2, as DPDK's af_packet driver sends: the kernel takes frames from shared memory without copying more
 * than their Ethernet header. They are put there one by one, with read() from a file. A frame that the fence drops
 * stays at the head of the ring (ENOBUFS) and the kernel tries it again and again, so the next one takes its slot.
 */
const perlRing = `
  use Config;
  my ($read, $mmap) = $Config{archname} =~ /aarch64/ ? (63, 222) : (0, 9);
  my $index = shift;
  my ($slots, $slotLength) = (128, 2048);
  socket(my $s, 17, 3, 0) or die "socket: $!";
  setsockopt($s, 263, 10, pack("i", 1)) or die "version: $!";
  setsockopt($s, 263, 13, pack("I4", 65536, 4, $slotLength, $slots)) or die "ring: $!";
  bind($s, pack("S n i S C C a8", 17, 3, $index, 0, 0, 6, "")) or die "bind: $!";
  my $ring = syscall($mmap, 0, 262144, 3, 1, fileno($s), 0);
  die "mmap: $!" if $ring == -1;
  open(my $file, "+>", undef) or die "file: $!";
  my $slot = 0;
  for (@ARGV) {
    my $frame = pack("H*", $_);
    my $octets = pack("L3 x20", 1, length $frame, length $frame) . $frame;
    truncate($file, 0);
    sysseek($file, 0, 0);
    syswrite($file, $octets) == length $octets or die "file: $!";
    sysseek($file, 0, 0);
    my $got = syscall($read, fileno($file), $ring + $slotLength * $slot, length $octets);
    die "read: $!" unless $got == length $octets;
    if (defined send($s, "", 0)) { $slot = ($slot + 1) % $slots }
    elsif (!$!{ENOBUFS}) { die "send: $!" }
  }`;

const perlWays = {
  socket: perlSocket(),
  ring: perlRing,
  gsoPackets: perlSocket('setsockopt($s, 263, 15, pack("i", 1)) or die "PACKET_VNET_HDR: $!";'),
};

/** A frame of an unassigned type that carries `payload`. */
function perlSend(namespace: Namespace, port: string, payload: Buffer): string {
  const index = JSON.parse(namespace.ip('-json', 'link', 'show', 'dev', port))[0].ifindex as number;
  const frame = Buffer.concat([Buffer.alloc(12, 2), Buffer.from('88b5', 'hex'), payload]).toString('hex');
  return `socket(my $s, 17, 3, 0); bind($s, pack("S n i S C C a8", 17, 3, ${index}, 0, 0, 6, ""));
    send($s, pack("H*", "${frame}"), 0) or die "send: $!";`;
}

/** A frame with this EtherType; its marker stands at the end. */
export const frame = (type: number, payload: Buffer, marker: string): Buffer =>
  Buffer.concat([
    Buffer.from('020000000002', 'hex'),
    Buffer.from('020000000001', 'hex'),
    Buffer.from([type >> 8, type & 255]),
    payload,
    Buffer.from(marker),
  ]);

/** An IPv4 header before `length` octets; `fragment` is the whole word of flags and offset. */
export function ipv4(source: string, protocol: number, length: number, fragment = 0): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(0x4500);
  header.writeUInt16BE(20 + length, 2);
  header.writeUInt16BE(fragment, 6);
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  header.set(source.split('.').map(Number), 12);
  header.set([192, 0, 2, 2], 16);
  return header;
}

/** An IPv6 header before `length` octets, from fd00::<host> to fd00::2. */
export function ipv6(host: number, next: number, length: number): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt8(0x60);
  header.writeUInt16BE(length, 4);
  header.writeUInt8(next, 6);
  header.writeUInt8(255, 7);
  header.set([0xfd], 8);
  header.writeUInt8(host, 23);
  header.set([0xfd], 24);
  header.writeUInt8(2, 39);
  return header;
}

export function udp(port: number, length: number): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(40_000);
  header.writeUInt16BE(port, 2);
  header.writeUInt16BE(8 + length, 4);
  return header;
}
