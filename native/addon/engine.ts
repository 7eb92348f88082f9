// SPDX-License-Identifier: Apache-2.0
// The border to C++, part one: the engine of a gateway, its options, commands, events and counters. C++ checks
// arguments again as far as memory safety needs. An address is 16 octets, IPv4 mapped; a flow is 32 octets, source
// then destination; a list of them is one buffer. No JavaScript value ever contains a key byte: keys cross sealed,
// or stay behind an opaque handle.
import type { ModeName } from '../../services/shared/modes.js';

/** What opening an engine needs. */
export interface EngineOptions {
  /** One of `Addon.engines`. */
  kind: string;
  node: string;
  /** Random, other than that of any earlier start. */
  epoch: bigint;
  /** The node's bus secret, 32 octets; copied into locked memory and wiped here. */
  busSecret: Uint8Array;
  unsecured: PortOptions & {
    /** Gateway addresses that hosts may ask for: 17 octets each, address then its prefix length (as of 128). */
    gateways: Uint8Array;
  };
  secured: PortOptions & {
    /** Outer source address; its family is that of every outer header. */
    address: Uint8Array;
    /** Length of the connected prefix in the IPv4-mapped form: IPv4 /24 is 120. */
    prefixLength: number;
    /** Next hop for addresses outside the connected prefix. */
    gateway?: Uint8Array;
    /** Hop limit of the outer header in tunnel mode. */
    hopLimit: number;
    /** DSCP of the outer header in tunnel mode, 0 to 63; absent: that of the inner one. */
    dscp?: number;
    /** Fill in the outer UDP checksum; otherwise the field is zero. */
    udpChecksum: boolean;
    /** Source ports: a hash of the inner flow, or a table of at least 16 that this hash indexes. */
    sourcePorts: 'hash' | 'symmetricHash' | Uint16Array;
  };
  /** Prefixes behind us: 17 octets each. */
  vips: Uint8Array;
  /** The index in this list is the peer's number everywhere below. */
  peers: PeerOptions[];
  /** As many peers as there may ever be, those that `reconfigure` adds included; at most 65520. */
  maxPeers: number;
  /** false: packets that authenticate are admitted without checking the flow that their SPI was offered for. */
  ingressAcl: boolean;
  /** Traffic that passes unencrypted, in both directions; at most 64 entries. */
  bypass: BypassOptions[];
  /** Copies of packets that could not be sealed or opened, at most so many a second in total. */
  capture: { ingress: boolean; egress: boolean; perSecond: number };
  polling: 'adaptive' | 'busy';
  /** Threads that move packets, 1 to 64. */
  lcores: number;
  crypto: 'auto' | 'ipsec-mb' | 'libcrypto';
  maxFlows: number;
  retireMs: number;
  limits: {
    /** How long a flow waits for its first key; then its held packets are dropped, and it is in hold-down. */
    holdMs: number;
    unansweredMs: number;
    heldPerFlow: number;
    heldPerSource: number;
    heldTotal: number;
    wantsPerPeer: number;
    spisPerFlow: number;
  };
  sampling: {
    /** One of 2^egressLog2 packets that leave is sampled, 0 to 16; absent: none. */
    egressLog2?: number;
    /** Octets of each sampled packet that are copied. */
    snapBytes: number;
    /** Copy selected packets after they are sealed. */
    sealed: boolean;
    /** Copy selected packets before they are sealed. */
    plain: boolean;
  };
  /** Called on the JavaScript thread with the events since the last call, oldest first. */
  onEvents: (events: EngineEvent[]) => void;
  /** Called on the JavaScript thread with samples taken since the last call, oldest first; a few hundred at most. */
  onSamples: (samples: SampleColumns) => void;
}

/** The options that come from the node file. */
export type EngineSettings = Omit<EngineOptions, 'epoch' | 'busSecret' | 'onEvents' | 'onSamples'>;

export interface PortOptions {
  /** An interface name, a PCI address or a DPDK device string. */
  device: string;
}

export interface PeerOptions {
  name: string;
  /** 17 octets each. */
  vips: Uint8Array;
  /** Mode of our offers; the peer's offers must have the same. */
  mode: ModeName;
  /** Our offers carry a random virtualization cookie. */
  cookie: boolean;
  /** Crypt offset under versions 0 and 1, in 4-octet units from the end of the IV, 0 to 63. */
  cryptOffset: number;
  /** MTU of the path to the peer; absent: that of the secured port. */
  mtu?: number;
  /** Its own rate in place of sampling.egressLog2. */
  sampling?: number | 'off';
}

export interface BypassOptions {
  /** Of the far end, 17 octets. */
  prefix: Uint8Array;
  /** IP protocol number; 0: any. */
  protocol: number;
  /** Port of the far end; 0: any. */
  port: number;
}

export interface EngineInfo {
  /** "ipsec-mb" or "libcrypto", with version and instruction set. */
  crypto: string;
  unsecured: PortInfo;
  secured: PortInfo;
  /** MTU of the secured port at which every packet of a host fits once it is sealed. */
  wantedMtu: number;
}

/** What an engine can do; a node file that asks for more is refused. */
export interface EngineCapabilities {
  /** Of PSP. */
  versions: number[];
  /** `modes`. */
  modes: number[];
  /** IP versions of the packets of hosts. */
  inner: number[];
  /** IP versions of what leaves the secured port. */
  outer: number[];
  /** `samplePoints`. */
  samplePoints: number[];
  /** The highest, in 4-octet units. */
  cryptOffset: number;
  lcores: number;
  maxFlows: number;
  spisPerFlow: number;
}

export interface PortInfo {
  mac: Uint8Array;
  mtu: number;
  /** The link is administratively up and has a carrier. */
  up: boolean;
}

/** An event that an engine reports without a command. */
export type EngineEvent =
  /** A packet of a flow without a key was held; reported once until the flow is installed, refused or removed. */
  | { type: 'missed'; flow: Uint8Array; peer: number }
  /** The first packet that opened under an SPI and passed the ACL. The flow is the inbound one. */
  | { type: 'seen'; flow: Uint8Array; spi: number }
  /**
   * Packets from this outer source (16 octets) have an SPI that is not valid here. A random choice is reported: at most 64
   * SPIs of one source in a second, and of a bounded number of sources.
   */
  | { type: 'unknownSpi'; source: Uint8Array; spi: number }
  /**
   * An egress key has sealed half of what one key may seal, and must be replaced; `stopped`: it is not used any more, and
   * packets of the flow are dropped until a newer one is installed.
   */
  | { type: 'worn'; flow: Uint8Array; peer: number; stopped: boolean }
  /** A port's link as it is after a change. */
  | ({ type: 'link' } & LinkChange);

export interface LinkChange extends PortInfo {
  port: 'unsecured' | 'secured';
  /** false: the interface is gone; the engine stopped, and nothing moves any more. */
  present: boolean;
  /** At most the MTU of the start, which packet memory is made for. */
  usedMtu: number;
}

/** Samples as columns, one row for each; the copies lie one after another in `octets`. */
export interface SampleColumns {
  count: number;
  /** SamplePoint of proto/bus.proto. */
  points: Uint8Array;
  /** CLOCK_MONOTONIC in nanoseconds. */
  atNs: BigUint64Array;
  /** 32 octets each: the inner packet's source and destination. */
  flows: Uint8Array;
  peers: Uint16Array;
  spis: Uint32Array;
  protocols: Uint8Array;
  /** 0 where the inner packet has none. */
  sourcePorts: Uint16Array;
  destinationPorts: Uint16Array;
  /** log2 of the rate at which the packet was selected; 255 at ingress. */
  rates: Uint8Array;
  /** Index in `Addon.dropReasons` for captured packets; 255 for samples. */
  reasons: Uint8Array;
  /** Octets of the packet before the copy was truncated. */
  originalLengths: Uint32Array;
  /** Octets of the copy. */
  copied: Uint16Array;
  octets: Uint8Array;
}

/** Offers as columns, one row for each flow of the same message. */
export interface OfferColumns {
  spis: Uint32Array;
  versions: Uint8Array;
  numbers: BigUint64Array;
  /** 1 where numbers[i] counts; peers that number nothing leave 0. */
  numbered: Uint8Array;
  cookies: BigUint64Array;
  /** Mode of proto/bus.proto. */
  modes: Uint8Array;
  /** Outer destinations, 16 octets each. */
  addresses: Uint8Array;
  /** 6 octets each. */
  macs: Uint8Array;
}

export interface SealFields {
  start: Uint8Array;
  counter: bigint;
  box: Uint8Array;
}

/** What a seal binds beside flows and offers: services/shared/bus/seal.ts. */
export interface SealBinding {
  contract: string;
  epoch: bigint;
  peer: string;
  exchange: bigint;
  peerEpoch?: bigint;
  /** In answers: the request's. */
  request?: { start: Uint8Array; counter: bigint };
}

/** Keys that were opened and wait to be installed. Wiped when released or collected. */
export interface OpenedKeys {
  readonly count: number;
  release(): void;
}

/** Why held packets are dropped and further ones are for a while. */
export const refusals = { refused: 0, removed: 1 } as const;

export interface EngineCounters {
  /** By pipe name, in the order of native/engine/pipe_names.h. */
  pipes: { name: string; hit: bigint; miss: bigint }[];
  /** By reason and direction, in the order of native/engine/drop_reasons.h; zero rows too. */
  drops: { reason: string; direction: 'egress' | 'ingress'; packets: bigint }[];
  ports: {
    role: 'unsecured' | 'secured';
    rxPackets: bigint;
    rxBytes: bigint;
    txPackets: bigint;
    txBytes: bigint;
  }[];
  /** By peer number, of all that there ever were. Times are CLOCK_MONOTONIC milliseconds, 0n: never. */
  peers: {
    egressPackets: bigint;
    egressBytes: bigint;
    ingressPackets: bigint;
    ingressBytes: bigint;
    lastEgressMs: bigint;
    lastIngressMs: bigint;
    keyedFlows: number;
    inboundFlows: number;
  }[];
  /** In the order of the bypass; each counts what passed by its place in that list. */
  bypass: { egressPackets: bigint; ingressPackets: bigint }[];
  /** What the queues of each received and sent, both ports together. */
  lcores: { rxPackets: bigint; txPackets: bigint }[];
  /** Gauges and counters by name, in the order of native/engine/values.h. */
  values: Record<string, bigint>;
}

/** Rows of flows as columns. */
export interface FlowPage {
  /** 32 octets each. */
  flows: Uint8Array;
  /** 0 egress wanted, 1 egress keyed, 2 egress refused, 3 ingress offered, 4 ingress seen. */
  states: Uint8Array;
  peers: Uint16Array;
  spis: Uint32Array;
  versions: Uint8Array;
  /** Mode of proto/bus.proto. */
  modes: Uint8Array;
  /** Of the wire towards the peer, egress, as far as it is known; 0: not. */
  pathMtus: Uint16Array;
  packets: BigUint64Array;
  bytes: BigUint64Array;
  held: Uint32Array;
  liveSpis: Uint8Array;
  /** 0: no more. */
  nextCursor: number;
}

/**
 * The engine of one gateway. Methods that return promises reach the polling core through a bounded ring and
 * reject with `code` ENGINE_BUSY when it is full, except `remove`, which waits, while commands behind it reject. After stop nothing but stop may be called; commands that stop
 * overtakes reject with ENGINE_FAILED. From start to stop it keeps the process alive, as a listening socket does.
 */
export interface NativeEngine {
  /** What this engine can do on the devices that it was opened for. Before start. */
  capabilities(): EngineCapabilities;
  /** Opens ports, starts polling. Rejects with a `code` of services/shared/errors.ts and its `data`. */
  start(): Promise<EngineInfo>;
  stop(): Promise<void>;
  /** Seals with this bus secret of 32 octets from now on, opens seals of earlier ones too, and wipes `secret`. */
  addBusSecret(secret: Uint8Array): void;
  /** Opens no more seals that were made with the oldest of several bus secrets. */
  retireBusSecret(): void;
  /**
   * Makes an offer of the active generation for the reverse of each flow: a fresh SPI, admitted before the
   * promise resolves. `spisLeft`: SPIs of that generation's master key that are left. Rejects with SPI_EXHAUSTED or TABLE_FULL, then none is made.
   * Binding and role are those of the message that will carry them.
   */
  offer(
    flows: Uint8Array,
    peer: number,
    version: number,
    binding: SealBinding,
  ): Promise<{ offers: OfferColumns; seal: SealFields; generation: number; spisLeft: number }>;
  /** Opens keyexchange's seal over egress keys. Throws with `code` SEAL_INVALID or REPLAY. */
  open(flows: Uint8Array, offers: OfferColumns, binding: SealBinding, seal: SealFields): OpenedKeys;
  /**
   * Installs the egress keys of the rows named by `rows` and releases the flows' held packets, in order. A key
   * already in place keeps its IV. Resolves to one InstallResult of proto/bus.proto for each row. The handle is used up,
   * unless this rejects with ENGINE_BUSY.
   */
  install(keys: OpenedKeys, rows: Uint32Array, peer: number): Promise<Uint8Array>;
  /** Takes offers back: the inbound flows (32 octets each) and their SPIs. */
  withdraw(inbound: Uint8Array, spis: Uint32Array): Promise<void>;
  /** Drops held packets of flows without a key; further ones are dropped for holdDownMs. Keyed flows stay. */
  refuse(flows: Uint8Array, refusal: number, holdDownMs: number): Promise<void>;
  /** Removes both directions of flows, their keys and receive SPIs; held packets are dropped. */
  remove(flows: Uint8Array): Promise<void>;
  /** Rotates the master key. Resolves to the new generation. */
  rotate(): Promise<{ generation: number }>;
  /** Samples one of 2^egressLog2 packets that leave, from 0 to 16, towards one peer or all; undefined: none. */
  sampling(egressLog2: number | undefined, peer?: number): Promise<void>;
  /**
   * Replaces VIPs, peers and bypass; resolves once no packet is looked up in the old ones. A peer keeps its number and
   * its mode. A number without a peer is an entry without VIPs. Flows, keys and sampling rates stay. Rejects with
   * ENGINE_FAILED without memory for it; then nothing changes.
   */
  reconfigure(topology: Pick<EngineOptions, 'vips' | 'peers' | 'bypass'>): Promise<void>;
  /** A page of flows, egress first; cursor 0 begins. */
  flows(cursor: number, limit: number): Promise<FlowPage>;
  counters(): EngineCounters;
}
