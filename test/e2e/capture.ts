// SPDX-License-Identifier: Apache-2.0
// What a stranger on the wire sees: tcpdump into a file, and what each frame is. A proof made from a capture
// holds only if the kernel dropped none of it, so that count is part of the result.
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ended, type Namespace, until } from './namespace.js';

/** What a frame on the wire may be. Everything but psp, arp and nd is a leak or a stranger. */
export type FrameKind = 'psp' | 'arp' | 'nd' | 'other';

export interface Frame {
  /** Seconds. */
  time: number;
  octets: Buffer;
  kind: FrameKind;
}

export interface Sight {
  frames: number;
  psp: number;
  arp: number;
  nd: number;
  /** Hex of the first octets of up to four frames that are none of these. */
  others: string[];
  /** Frames in which a marker was seen. */
  marked: number;
  /** Frames that the kernel did not hand to tcpdump. */
  lost: number;
}

/** A little more than the longest that the kernel keeps a block of frames to itself. */
const blockMs = 1100;

export interface CaptureOptions {
  /** A filter in tcpdump's language. */
  filter?: string;
  /** Octets kept of each frame; all by default. */
  snap?: number;
  /** Room for what tcpdump has not read yet, in MiB. */
  bufferMib?: number;
}

export class Capture {
  #child: ChildProcess | undefined;
  #stderr = '';

  constructor(
    private readonly namespace: Namespace,
    private readonly port: string,
    readonly file: string,
    private readonly options: CaptureOptions,
  ) {}

  /** Resolves once tcpdump listens. */
  async start(): Promise<void> {
    const { snap = 0, bufferMib = 64 } = this.options;
    const room = ['-s', `${snap}`, '-B', `${bufferMib * 1024}`];
    const args = ['-i', this.port, '-n', '-U', ...room, '-Z', 'root', '-w', this.file];
    this.#child = this.namespace.spawn('tcpdump', [
      ...args,
      ...(this.options.filter ? [this.options.filter] : []),
    ]);
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    await until('tcpdump listens', () => this.#stderr.includes('listening on'));
  }

  /**
   * Resolves once `count` frames were seen.
   * @throws Error that tells how many were.
   */
  async seen(count: number): Promise<void> {
    await until(
      () => `${count} frames are in ${basename(this.file)}, which has ${this.frames().length}`,
      () => this.frames().length >= count,
    );
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    if (child.exitCode === null && child.signalCode === null) {
      // What lies in a block that the kernel has not handed over yet would be lost.
      await sleep(blockMs);
      child.kill('SIGINT');
    }
    await ended(child);
  }

  /** Frames so far; all of them after stop. */
  frames(): Frame[] {
    return [...readPcap(readFileSync(this.file))];
  }

  /** Counts frames by what they are, and those that contain one of the markers. */
  sight(markers: readonly string[]): Sight {
    const needles = markers.map((marker) => Buffer.from(marker, 'latin1'));
    const said = (what: string): number =>
      Number(new RegExp(`(\\d+) packets? ${what}`).exec(this.#stderr)?.[1]);
    const lost = said('dropped by kernel') + said('received by filter') - said('captured');
    const sight: Sight = { frames: 0, psp: 0, arp: 0, nd: 0, others: [], marked: 0, lost };
    for (const { octets, kind } of readPcap(readFileSync(this.file))) {
      sight.frames++;
      if (kind !== 'other') sight[kind]++;
      else if (sight.others.length < 4) sight.others.push(octets.subarray(0, 64).toString('hex'));
      if (needles.some((needle) => octets.includes(needle))) sight.marked++;
    }
    return sight;
  }
}

const etherIpv4 = 0x0800;
const etherArp = 0x0806;
const etherIpv6 = 0x86dd;
const protocolUdp = 17;
const protocolIcmpv6 = 58;
const pspPort = 1000;

/** A frame by its headers alone. */
export function kindOf(frame: Buffer): FrameKind {
  if (frame.length < 14) return 'other';
  const type = frame.readUInt16BE(12);
  if (type === etherArp) return 'arp';
  if (type === etherIpv4 && frame.length >= 34) {
    const transport = 14 + ((frame[14] ?? 0) & 15) * 4;
    const isUdp = frame[23] === protocolUdp && frame.length >= transport + 8;
    return isUdp && frame.readUInt16BE(transport + 2) === pspPort ? 'psp' : 'other';
  }
  if (type === etherIpv6 && frame.length >= 62) {
    if (frame[20] === protocolUdp) return frame.readUInt16BE(56) === pspPort ? 'psp' : 'other';
    if (frame[20] === protocolIcmpv6 && (frame[54] === 135 || frame[54] === 136)) return 'nd';
  }
  return 'other';
}

/** Frames of a classic pcap file in the byte order of this machine; a record cut off at the end is left out. */
function* readPcap(file: Buffer): Generator<Frame> {
  const headerLength = 24;
  const recordLength = 16;
  if (file.length >= 4 && file.readUInt32LE(0) !== 0xa1b2c3d4)
    throw new Error('no pcap file of this machine');
  for (let at = headerLength; at + recordLength <= file.length; ) {
    const length = file.readUInt32LE(at + 8);
    const octets = file.subarray(at + recordLength, at + recordLength + length);
    if (octets.length < length) return;
    yield { time: file.readUInt32LE(at) + file.readUInt32LE(at + 4) / 1e6, octets, kind: kindOf(octets) };
    at += recordLength + length;
  }
}
