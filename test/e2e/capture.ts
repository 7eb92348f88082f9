// SPDX-License-Identifier: Apache-2.0
// Captures of the wire with tcpdump, as an observer would see it, and the kind of each frame. A conclusion from a
// capture holds only if tcpdump read every frame up to its end; therefore the number of frames that it did not read
// is part of the result.
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ended, type Namespace, until } from './namespace.js';

/** The kinds of frames on the wire. Every kind except psp, arp and nd is a leak or comes from another device. */
export type FrameKind = 'psp' | 'arp' | 'nd' | 'other';

export interface Frame {
  /** Seconds. */
  time: number;
  octets: Buffer;
  kind: FrameKind;
}

export interface Dissection {
  frames: number;
  psp: number;
  arp: number;
  nd: number;
  /** Hex of the first octets of up to four frames of other kinds. */
  others: string[];
  /** Frames that contain a marker. */
  marked: number;
  /** Frames before the end of the capture that the kernel did not deliver to tcpdump. */
  lost: number;
}

/** How long frames in flight have to arrive before a capture ends. */
const lateMs = 1100;

/** The statistics of its capture that tcpdump prints on SIGUSR1 and at its end. */
const statistics =
  /(\d+) packets? captured,?\s+(\d+) packets? received by filter,?\s+(\d+) packets? dropped by kernel/g;

interface Statistics {
  /** Frames that tcpdump has read. */
  captured: number;
  /** Frames that the kernel has received for tcpdump, with those that it dropped. */
  received: number;
  dropped: number;
}

export interface CaptureOptions {
  /** A filter in tcpdump's language. */
  filter?: string;
  /** Octets kept of each frame; all by default. */
  snap?: number;
  /** Buffer for frames that tcpdump has not read yet, in MiB. */
  bufferMib?: number;
}

export class Capture {
  #child: ChildProcess | undefined;
  #stderr = '';
  /** Frames that the kernel had received when the capture ended. */
  #receivedAtEnd: number | undefined;

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
   * Resolves once `count` frames were captured.
   * @throws Error with the number of frames.
   */
  async seen(count: number): Promise<void> {
    await until(
      () => `${count} frames are in ${basename(this.file)}, which has ${this.frames().length}`,
      () => this.frames().length >= count,
    );
  }

  /** Ends the capture: resolves once tcpdump has read every frame that arrived before the end, and has exited. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    if (!hasEnded(child)) {
      await sleep(lateMs);
      // The kernel keeps a block of frames for up to a second, and a tcpdump that ends does not read that block.
      // Frames are read in their order, so once this many were read, all frames before this moment were read. With a
      // filter by direction, the kernel also counts frames that tcpdump leaves out. Then all were read once the count
      // does not change for longer than the kernel keeps a block.
      const { received, dropped, captured } = await this.#ask(child);
      this.#receivedAtEnd = received;
      let last = { captured, at: performance.now() };
      try {
        await until('tcpdump has read what the kernel received', async () => {
          const now = await this.#ask(child);
          if (now.captured >= received - dropped || hasEnded(child)) return true;
          if (now.captured !== last.captured) last = { captured: now.captured, at: performance.now() };
          const stands = performance.now() - last.at > 2 * lateMs;
          if (stands && this.options.filter?.includes('inbound')) this.#receivedAtEnd = now.captured;
          return stands;
        });
      } finally {
        child.kill('SIGINT');
      }
    }
    await ended(child);
  }

  /** The current statistics of tcpdump, or the last ones of a tcpdump that has ended. */
  async #ask(child: ChildProcess): Promise<Statistics> {
    const printed = () => [...this.#stderr.matchAll(statistics)].length;
    const before = printed();
    child.kill('SIGUSR1');
    await until('tcpdump prints its statistics', () => printed() > before || hasEnded(child));
    return this.#statistics();
  }

  #statistics(): Statistics {
    const last = [...this.#stderr.matchAll(statistics)].at(-1);
    return { captured: Number(last?.[1]), received: Number(last?.[2]), dropped: Number(last?.[3]) };
  }

  /** Frames so far; all of them after stop. */
  frames(): Frame[] {
    return [...readPcap(readFileSync(this.file))];
  }

  /** Counts frames by kind, and frames that contain one of the markers. */
  summary(markers: readonly string[]): Dissection {
    const needles = markers.map((marker) => Buffer.from(marker, 'latin1'));
    const { captured, received, dropped } = this.#statistics();
    const lost = dropped + Math.max(0, (this.#receivedAtEnd ?? received) - captured);
    const summary: Dissection = { frames: 0, psp: 0, arp: 0, nd: 0, others: [], marked: 0, lost };
    for (const { octets, kind } of readPcap(readFileSync(this.file))) {
      summary.frames++;
      if (kind !== 'other') summary[kind]++;
      else if (summary.others.length < 4) summary.others.push(octets.subarray(0, 64).toString('hex'));
      if (needles.some((needle) => octets.includes(needle))) summary.marked++;
    }
    return summary;
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

const etherIpv4 = 0x0800;
const etherArp = 0x0806;
const etherIpv6 = 0x86dd;
const protocolUdp = 17;
const protocolIcmpv6 = 58;
const pspPort = 1000;

/** Classifies a frame by its headers alone. */
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

/** Frames of a classic pcap file in the byte order of this machine. An incomplete last record is left out. */
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
