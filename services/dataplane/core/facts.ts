// SPDX-License-Identifier: Apache-2.0
// The inputs of the arbiter (facts) and its outputs (actions). Flows are egress flows unless a name says inbound; an
// inbound flow is the reverse of an egress flow towards the same peer. A peer is identified by its index in the node
// file. No key byte appears here, only what identifies and orders keys.
//
// A request from the bus has a number, which its adapter assigns. Every request ends with exactly one action `reply`
// or `fail`. Every action that gives the engine a command for a request or an exchange is followed by one fact with
// its result, except `withdraw` and `refuse`, which the adapter repeats until the engine accepts them.
import type { InstallResult } from '../../../proto/gen/bus.js';
import type { FlowKey, Prefix } from '../../shared/address.js';
import type { UnknownSpi } from './greetings.js';
import type { PeerNetworks } from './peer_addresses.js';
import type { RotationCause, RotationTimes, RotationWait } from './rotation.js';

/** The inbound flow of an egress flow, and the egress flow of an inbound flow. */
export const reversed = (flow: FlowKey): FlowKey => flow.slice(32) + flow.slice(0, 32);

export interface Miss {
  flow: FlowKey;
  peer: number;
}

/** A receive SPI of ours and the inbound flow for which it was allocated. */
export interface MadeOffer {
  inbound: FlowKey;
  spi: number;
}

/** Orders the egress keys that a peer offered: the epoch of the peer and the key's number within that epoch. */
export interface KeyOrder {
  /** Absent from peers that number nothing; then the key that was received last is the newest. */
  epoch: bigint | undefined;
  number: bigint | undefined;
}

/** Identifies an egress key in the audit trail. */
export interface KeyId {
  spi: number;
  version: number;
}

/** An egress key that a peer offered, without its bytes. */
export type EgressKey = KeyOrder &
  KeyId & {
    /** The peer's secured address, 32 hex digits. */
    address: string;
  };

/** cmd.flow.accept: a peer requests offers of ours, and offers its own. */
export interface AcceptReceived {
  type: 'acceptReceived';
  peer: number;
  flows: readonly FlowKey[];
  /** One for each flow, or none when the peer offered no keys. */
  keys: readonly EgressKey[];
}

/** cmd.flow.install: a peer answered an exchange of ours. */
export interface InstallReceived {
  type: 'installReceived';
  exchange: bigint;
  peer: number;
  flows: readonly FlowKey[];
  /** One for each flow. */
  keys: readonly EgressKey[];
}

/** cmd.keys.rotate and cmd.keys.rotate_for_peer: an operator or a peer requests a new master key. */
export interface RotateReceived {
  type: 'rotateReceived';
  cause: Extract<RotationCause, { why: 'command' | 'request' }>;
  /** How many flows the operator agreed to cut, so that the rotation need not wait for them; undefined: it waits. */
  cutsAtMost?: number | undefined;
}

/** Which tunnels are meant; those that fulfil all conditions. */
export interface FlowSelection {
  /** Only those with this peer. */
  peer?: number | undefined;
  /** Only those between these two networks, in either direction. */
  between?: readonly [Prefix, Prefix] | undefined;
}

/** cmd.flow.remove: an operator removes tunnels. */
export interface RemoveReceived {
  type: 'removeReceived';
  selection: FlowSelection;
}

export type RequestFact = AcceptReceived | InstallReceived | RotateReceived | RemoveReceived;

/** The node file was changed while the dataplane runs, and the engine looks packets up by it. */
export interface Reconfigured {
  type: 'reconfigured';
  /** The peers whose numbers are new. Nothing of an earlier peer with such a number is left. */
  added: ReadonlySet<number>;
  /** The outer sources of every peer, by its number. */
  peers: ReadonlyMap<number, PeerNetworks>;
  maxTunnels: ReadonlyMap<number, number>;
  /** Flows that are wanted at once; those that were wanted so before and are no more are only wanted for their packets. */
  configured: readonly Miss[];
  times: RotationTimes;
  /** Whether a flow may still have a tunnel with a peer; all others are removed. */
  isAllowed: (flow: FlowKey, peer: number) => boolean;
}

export type Fact =
  | Reconfigured
  /** The bus was connected or lost. Without it no exchange begins, because no message would be delivered. */
  | { type: 'bus'; connected: boolean }
  /** Time passed. */
  | { type: 'tick' }
  /** The engine holds packets of flows without a key. */
  | { type: 'missed'; misses: readonly Miss[] }
  /** The first packet under a receive SPI was received. */
  | { type: 'seen'; inbound: FlowKey; spi: number }
  /** Packets arrived under SPIs that are not valid here: a random choice of them, at most some hundreds a second. */
  | { type: 'unknownSpis'; packets: readonly UnknownSpi[] }
  /** A peer greeted us: its epoch, and SPIs that packets from our address have and that are not valid there. */
  | { type: 'greeted'; peer: number; epoch: bigint; spis: readonly number[] }
  /** A peer answered a greeting of ours. The epoch is undefined if its application does not know greetings. */
  | { type: 'greetingAnswered'; peer: number; epoch: bigint | undefined }
  /** The egress key of a flow has sealed so much that it must be replaced; `stopped`: it is not used any more. */
  | { type: 'worn'; flow: FlowKey; peer: number; stopped: boolean }
  | (RequestFact & { request: number })
  /** cmd.flow.refuse: a peer refused flows of an exchange of ours. The code is one of errors.ts. */
  | { type: 'refuseReceived'; exchange: bigint; peer: number; flows: readonly FlowKey[]; code: string }
  /** Result of `offer`: one SPI for each flow of the exchange, of this key generation, and how many SPIs are left. */
  | { type: 'offered'; exchange: bigint; generation: number; spis: readonly number[]; spisLeft: number }
  | { type: 'offerFailed'; exchange: bigint; code: string }
  /** Result of `offerInReturn`: one SPI for each flow of the accept. */
  | {
      type: 'offeredInReturn';
      request: number;
      generation: number;
      spis: readonly number[];
      spisLeft: number;
    }
  | { type: 'offerInReturnFailed'; request: number; error: Error }
  /** Result of `install`: one for each of its rows. */
  | { type: 'installed'; request: number; results: readonly InstallResult[] }
  | { type: 'installFailed'; request: number; error: Error }
  /** Result of `retryLater`: the time has passed. */
  | { type: 'retryDue'; request: number }
  /** Result of `rotate`: the new key generation. */
  | { type: 'rotated'; request: number | undefined; generation: number }
  | { type: 'rotateFailed'; request: number | undefined; error: Error }
  /** Result of `remove`. */
  | { type: 'removed'; request: number | undefined }
  | { type: 'removeFailed'; request: number | undefined; error: Error };

/**
 * Why an exchange is wanted, the strongest reason first: a packet is held, the node file names the flow, the egress key
 * must be replaced while it stays in use, a rotation made the peer's offer stale.
 */
export type Reason = 'miss' | 'configured' | 'renew' | 'stale';

/** Replies to requests, by the type of the request's fact. */
export interface Replies {
  acceptReceived: KeysReply;
  installReceived: KeysReply;
  rotateReceived: RotationReply;
  removeReceived: RemovalReply;
}

/** What became of each key of an accept or an install. */
export interface KeysReply {
  results: readonly InstallResult[];
}

export interface RotationReply {
  /** The key generation after the request. */
  generation: number;
  /** Why the rotation has to wait; undefined when it was done. */
  wait: RotationWait | undefined;
  /** Inbound flows that the rotation cut, or would cut now if it did not wait. */
  cut: number;
  /** Inbound flows that still needed the proof which the previous rotation required. */
  unanswered: number;
  /** Inbound flows that need a new offer. */
  reoffered: number;
}

export interface RemovalReply {
  /** How many tunnels were removed, each with both of its flows. */
  removed: number;
}

export type Action =
  /** Make an offer for each flow of an exchange. */
  | { type: 'offer'; exchange: bigint; peer: number; reason: Reason; flows: readonly FlowKey[] }
  /** Publish an exchange whose offers were just made to keyexchange; its answer is of use for timeoutMs. */
  | { type: 'publish'; exchange: bigint; timeoutMs: number }
  /** Make the offers that answer an accept, one for each of its flows. */
  | { type: 'offerInReturn'; request: number }
  /** Install these keys of a request; a row is an index into the flows and keys of the request. */
  | { type: 'install'; request: number; peer: number; rows: readonly number[] }
  | { type: 'retryLater'; request: number; afterMs: number }
  /** Withdraw offers that their peer refused or never received. */
  | { type: 'withdraw'; offers: readonly MadeOffer[] }
  /** Drop the held packets of these flows, and further packets for a while. */
  | { type: 'refuse'; flows: readonly FlowKey[]; holdDownMs: number }
  /** Remove both directions of these flows and drop their held packets. */
  | { type: 'remove'; request: number | undefined; flows: readonly FlowKey[] }
  /** Greet a peer: send it our epoch, and these SPIs, which are not valid here. */
  | { type: 'greet'; peer: number; spis: readonly number[] }
  /** Make a new master key; without a request it is the schedule, or few SPIs are left. */
  | { type: 'rotate'; request: number | undefined }
  /** Answer a request. */
  | { type: 'reply'; request: number; reply: Replies[RequestFact['type']] }
  /** Answer a request with an error. */
  | { type: 'fail'; request: number; error: Error }
  /** Record an event in the audit trail. */
  | { type: 'audit'; event: AuditFact };

/**
 * Why a flow has no key any more: the engine had no space for it, a forced rotation wiped it, it sealed as many packets
 * as a key may, or the flow was removed.
 */
export type DownCause = 'tableFull' | 'rotationForced' | 'keyWorn' | 'removed';

/** The audit events of flows and keys. */
export type AuditFact =
  /** The first egress key of a flow was installed; `asked` says whose request it came with. */
  | ({ type: 'tunnelUp'; flow: FlowKey; peer: number; asked: 'us' | 'peer' } & KeyId)
  /** A flow has no egress key any more, or an inbound flow lost the key under which its peer sends. */
  | { type: 'tunnelDown'; flow: FlowKey; peer: number; why: DownCause }
  | { type: 'tunnelRefused'; flow: FlowKey; peer: number; code: string }
  /** A peer uses an epoch other than before; the keys of so many flows with it are renewed. */
  | { type: 'peerRestarted'; peer: number; epoch: bigint; flows: number }
  | { type: 'keysRotated'; generation: number; cause: RotationCause; reoffered: number; cut: number };

export const audit = (event: AuditFact): Action => ({ type: 'audit', event });

export const withdraw = (offers: readonly MadeOffer[]): Action[] =>
  offers.length === 0 ? [] : [{ type: 'withdraw', offers }];
