// SPDX-License-Identifier: Apache-2.0
// Sends frames of any kind from an interface, and generates the garbage that the gateway must survive: truncated,
// random, with wrong lengths, fragments, VLAN tags. The random numbers have a seed, so that a failure can be
// reproduced.
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { Namespace, Result } from './namespace.js';
import { macOf } from './packet_octets.js';

/**
 * Each frame as two octets of length and its octets; then the same again until the time is over or SIGTERM. It pauses
 * in slices: a signal that comes just before a pause does not shorten it.
 */
const sender = `
  my ($file, $index, $seconds, $pause) = @ARGV;
  local $/;
  open(my $in, "<:raw", $file) or die "$file: $!";
  my $all = <$in>;
  my @frames = unpack("(n/a)*", $all);
  socket(my $s, 17, 3, 0) or die "socket: $!";
  bind($s, pack("S n i S C C a8", 17, 3, $index, 0, 0, 6, "")) or die "bind: $!";
  my ($sent, $end) = (0, time + $seconds);
  $SIG{TERM} = sub { $end = 0 };
  while (time < $end) {
    for (@frames) { $sent++ if send($s, $_, 0); }
    for (my $left = $pause // 0.002; $left > 0 && $end; $left -= 0.1) {
      select(undef, undef, undef, $left < 0.1 ? $left : 0.1);
    }
  }
  print $sent;`;

/** Sends frames from an interface repeatedly for some seconds; the result's stdout is the number sent. */
export function sendFrames(
  namespace: Namespace,
  port: string,
  frames: readonly Buffer[],
  file: string,
  seconds: number,
): Promise<Result> {
  const args = written(namespace, port, frames, file);
  return namespace.try('perl', ['-e', sender, ...args, `${seconds}`], (seconds + 20) * 1000);
}

/** A running repeated transmission. */
export interface RunningFrames {
  /**
   * @returns the number of frames sent.
   */
  stop: () => Promise<number>;
}

/** Sends frames from an interface repeatedly until stopped, with a pause after each round. */
export function startFrames(
  namespace: Namespace,
  port: string,
  frames: readonly Buffer[],
  file: string,
  pauseMs: number,
): RunningFrames {
  const args = written(namespace, port, frames, file);
  const child = namespace.spawn('perl', ['-e', sender, ...args, '3600', `${pauseMs / 1000}`]);
  let told = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      told += chunk.toString();
    });
  }
  const closed = once(child, 'close');
  return {
    stop: async () => {
      child.kill('SIGTERM');
      await closed;
      if (!/^\d+$/.test(told)) throw new Error(`the sender of frames: ${told}`);
      return Number(told);
    },
  };
}

/** MAC address of an interface. */
export const macIn = (namespace: Namespace, port: string): Buffer => macOf(linkOf(namespace, port).address);

/** Frames that an interface has sent. */
export const sentBy = (namespace: Namespace, port: string): number =>
  Number(namespace.run('cat', `/sys/class/net/${port}/statistics/tx_packets`));

const linkOf = (namespace: Namespace, port: string): { ifindex: number; address: string } => {
  const [link] = JSON.parse(namespace.ip('-json', 'link', 'show', 'dev', port));
  return link;
};

/** Writes the file that the sender reads. @returns the sender's first arguments. */
function written(namespace: Namespace, port: string, frames: readonly Buffer[], file: string): string[] {
  const records = frames.flatMap((frame) => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(frame.length);
    return [length, frame];
  });
  writeFileSync(file, Buffer.concat(records));
  return [file, `${linkOf(namespace, port).ifindex}`];
}

/** xorshift32. @returns a function that returns a random integer below its argument. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** `count` frames to a MAC address, made by damaging the given valid ones. */
export function garbage(good: readonly Buffer[], count: number, seed: number): Buffer[] {
  const draw = seeded(seed);
  const octets = (length: number) => Buffer.from(Array.from({ length }, () => draw(256)));
  const longest = 1514;
  return Array.from({ length: count }, () => {
    const frame = Buffer.from(good[draw(good.length)] as Buffer);
    const header = frame.subarray(0, 14);
    switch (draw(7)) {
      case 0: // cut off anywhere
        return frame.subarray(0, 14 + draw(frame.length - 14));
      case 1: // right addresses and type, random behind
        return Buffer.concat([header, octets(draw(longest - 14))]);
      case 2: // random altogether, but for us
        return Buffer.concat([frame.subarray(0, 6), octets(8 + draw(longest - 14))]);
      case 3: // a length that lies
        frame.writeUInt16BE(draw(65_536), frame.readUInt16BE(12) === 0x0800 ? 16 : 18);
        return frame;
      case 4: // a fragment, of any place
        if (frame.readUInt16BE(12) === 0x0800) frame.writeUInt16BE(draw(65_536), 20);
        else frame.writeUInt8(44, 20);
        return frame;
      case 5: // tags, one to three
        return Buffer.concat([
          frame.subarray(0, 12),
          Buffer.concat(
            Array.from({ length: 1 + draw(3) }, () => Buffer.from([0x81, 0, draw(256), draw(256)])),
          ),
          frame.subarray(12),
        ]);
      default: {
        // one to eight octets changed
        for (let i = draw(8); i >= 0; i--) frame[6 + draw(frame.length - 6)] = draw(256);
        return frame;
      }
    }
  });
}
