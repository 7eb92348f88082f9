// SPDX-License-Identifier: Apache-2.0
// The border to C++, part three: tracing the frames of a capture file through the pipes of a software engine.
import type { EngineSettings } from './engine.js';

/** What running the frames of a capture file through the engine's pipes needs. */
export interface TraceOptions {
  /** An open descriptor, read from where it stands; the caller closes it. */
  input: number;
  /** Frames to trace at most. */
  limit: number;
  /** Its ports are not opened. */
  engine: EngineSettings;
  /** Where the frames arrive. */
  port: 'unsecured' | 'secured';
  unsecuredMtu: number;
  securedMtu: number;
  /** Of the port where the frames arrive; absent: frames for any single address are for it. */
  mac?: Uint8Array;
  /** By peer number: PSP versions that are spoken with it, the first is that of `key`. */
  versions: number[][];
  /** Master keys 0 and 1, 64 octets; copied into locked memory and wiped here. Absent: no SPI is ours. */
  masterKeys?: Uint8Array;
  /** What every egress flow is keyed with, under the master keys; absent: none is. */
  key?: { spi: number; iv: bigint; cookie?: bigint; outerDestination: Uint8Array };
}

export interface CaptureTrace {
  format: 'pcap' | 'pcapng';
  frames: TracedFrame[];
  /** The file has frames beyond the limit. */
  more: boolean;
  /** Packets and fragments that wait in the gateway behind the last frame. */
  held: number;
  fragmentsWaiting: number;
}

/** One frame, and what moved in the gateway while it alone was under way. */
export interface TracedFrame {
  /** From 1. */
  number: number;
  /** Nanoseconds since 1970; absent where the file does not say. */
  atNs?: bigint;
  /** On the wire. */
  length: number;
  /** Why it was not run. */
  skipped?: string;
  dissection: FrameDissection;
  /** What it carries, as far as it opens under the master keys (secured port). */
  inner?: TracedPacket;
  /** Moved by timers, on the way to this frame's time. */
  before: MovedCounters;
  moved: MovedCounters;
  /** Whose the destination is (unsecured port), to whom the SPI was offered (secured). */
  peer?: number;
  /** How its flow is keyed (unsecured port), what its SPI was offered for (secured). */
  flow?: {
    source: Uint8Array;
    destination: Uint8Array;
    spi: number;
    version: number;
    /** Mode of proto/bus.proto. */
    mode: number;
    cookie: boolean;
    /** 0 at the secured port. */
    pathMtu: number;
  };
  /** Neighbours whose MAC addresses were asked for; they are taken to have answered. */
  resolved: Uint8Array[];
  /** What came out of the ports, in order by port. */
  left: { port: 'unsecured' | 'secured'; length: number; dissection: FrameDissection }[];
  /** SamplePoint of proto/bus.proto of the copies that were taken. */
  samples: number[];
}

export interface TracedPacket {
  version: 4 | 6;
  source: Uint8Array;
  destination: Uint8Array;
  protocol: number;
  /** 0 where there is none. */
  sourcePort: number;
  destinationPort: number;
  length: number;
  fragment: boolean;
  /** Not the first. */
  laterFragment: boolean;
}

/** What a frame shows without a key. */
export interface FrameDissection {
  etherType: number;
  ip?: TracedPacket;
  psp?: {
    spi: number;
    iv: bigint;
    version: number;
    cryptOffset: number;
    cookie: boolean;
    sample: boolean;
    drop: boolean;
  };
  /** Told by ICMP. */
  tooBigMtu?: number;
}

/** Rows that are not zero, under the names of EngineCounters. Gauges among the values may fall. */
export interface MovedCounters {
  pipes: { name: string; hit: number; miss: number }[];
  drops: { reason: string; direction: 'egress' | 'ingress'; packets: number }[];
  values: Record<string, number>;
  /** Rules of the bypass, by their place. */
  bypassed: number[];
}
