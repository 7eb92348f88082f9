// SPDX-License-Identifier: Apache-2.0
// The interface to C++, part three: tracing the frames of a capture file through the pipes of a software engine.
import type { EngineSettings } from './engine.js';

/** Options for running the frames of a capture file through the engine's pipes. */
export interface TraceOptions {
  /** An open descriptor, read from its current position; the caller closes it. */
  input: number;
  /** Maximum number of frames to trace. */
  limit: number;
  /** The ports in it are not opened. */
  engine: EngineSettings;
  /** Where the frames arrive. */
  port: 'unsecured' | 'secured';
  unsecuredMtu: number;
  securedMtu: number;
  /** MAC address of the port where the frames arrive; if absent, it accepts every unicast address. */
  mac?: Uint8Array;
  /** By peer index: the PSP versions that are allowed with the peer; `key` has the first one. */
  versions: number[][];
  /** Master keys 0 and 1, 64 octets; copied into locked memory and then wiped in this array. If absent, no SPI is known. */
  masterKeys?: Uint8Array;
  /** SPI and parameters of the key of every egress flow, derived from the master keys; if absent, no flow has a key. */
  key?: { spi: number; iv: bigint; cookie?: bigint; outerDestination: Uint8Array };
}

export interface CaptureTrace {
  format: 'pcap' | 'pcapng';
  frames: TracedFrame[];
  /** The file has frames beyond the limit. */
  more: boolean;
  /** Packets and fragments that wait in the gateway after the last frame. */
  held: number;
  fragmentsWaiting: number;
}

/** One frame, and the counters that changed while it was the only frame in progress. */
export interface TracedFrame {
  /** Counted from 1. */
  number: number;
  /** Nanoseconds since 1970; absent if the file has no time. */
  atNs?: bigint;
  /** Octets on the wire. */
  length: number;
  /** Why the frame was not run. */
  skipped?: string;
  dissection: FrameDissection;
  /** The inner packet, if the frame opens with the master keys (secured port). */
  inner?: TracedPacket;
  /** Changed by timers, before this frame's time. */
  before: MovedCounters;
  moved: MovedCounters;
  /** Peer that owns the destination (unsecured port) or to which the SPI was offered (secured port). */
  peer?: number;
  /** How the flow is sealed (unsecured port), or the flow that the SPI was offered for (secured port). */
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
  /** Neighbours whose MAC addresses the gateway requested; the trace answers for them. */
  resolved: Uint8Array[];
  /** Frames that left the gateway, in order by port. */
  left: { port: 'unsecured' | 'secured'; length: number; dissection: FrameDissection }[];
  /** SamplePoint of proto/bus.proto of the copies that were taken. */
  samples: number[];
}

export interface TracedPacket {
  version: 4 | 6;
  source: Uint8Array;
  destination: Uint8Array;
  protocol: number;
  /** 0 if there is none. */
  sourcePort: number;
  destinationPort: number;
  length: number;
  fragment: boolean;
  /** A fragment other than the first. */
  laterFragment: boolean;
}

/** The fields of a frame that are readable without a key. */
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
  /** From an ICMP error. */
  tooBigMtu?: number;
}

/** Counters that changed, with the names of EngineCounters. Gauges may decrease. */
export interface MovedCounters {
  pipes: { name: string; hit: number; miss: number }[];
  drops: { reason: string; direction: 'egress' | 'ingress'; packets: number }[];
  values: Record<string, number>;
  /** Indices of the bypass rules that matched. */
  bypassed: number[];
}
