// SPDX-License-Identifier: Apache-2.0
// What the arbiter hears and what it wants done. Flows are egress flows unless a name says inbound; an
// inbound flow is the reverse of ours towards the same peer. Peers are numbers: their position in the node
// file. No key is ever seen here, only the numbers that order them.
import type { FlowKey } from '../../shared/address.js';

/** The inbound flow of an egress flow, and back. */
export const reversed = (flow: FlowKey): FlowKey => flow.slice(32) + flow.slice(0, 32);

export interface Miss {
  flow: FlowKey;
  peer: number;
}

/** A receive SPI of ours and the inbound flow that it was made for. */
export interface MadeOffer {
  inbound: FlowKey;
  spi: number;
}

/** What orders the egress keys that a peer gave: its epoch and its number within. */
export interface KeyOrder {
  /** Absent from peers that have none; then no number counts and the last key given is the newest. */
  epoch: bigint | undefined;
  number: bigint | undefined;
}

/** What may be told of a key. */
export interface PlacedKey {
  spi: number;
  version: number;
}

export type Fact =
  /** The bus came or went: without it nothing is asked for, because nobody would hear. */
  | { type: 'bus'; connected: boolean }
  /** Time passed. */
  | { type: 'tick' }
  /** Packets of flows without a key are held. */
  | { type: 'missed'; misses: readonly Miss[] }
  /** The offers of an exchange were made, one for each of its flows, and wait to be published. */
  | { type: 'offered'; exchange: bigint; generation: number; spis: readonly number[] }
  | { type: 'offerFailed'; exchange: bigint; code: string }
  /** Offers were made for the answer to an accept. */
  | {
      type: 'acceptOffered';
      peer: number;
      flows: readonly FlowKey[];
      generation: number;
      spis: readonly number[];
    }
  /** The offers of an accept that was not carried out: its peer gets none of them. */
  | { type: 'acceptFailed'; flows: readonly FlowKey[]; spis: readonly number[] }
  /** The engine put the keys of these flows in place. */
  | {
      type: 'keyed';
      peer: number;
      /** We asked for the keys, or their peer gave them unasked. */
      asked: 'us' | 'peer';
      flows: readonly FlowKey[];
      /** One for each flow. */
      keys: readonly PlacedKey[];
    }
  /**
   * The engine could not put the keys of these flows in place; an older one stays, except where the engine has
   * no room for the flow at all.
   */
  | { type: 'notKeyed'; peer: number; flows: readonly FlowKey[]; noRoom: boolean }
  /** The first packet under a receive SPI. */
  | { type: 'seen'; inbound: FlowKey; spi: number }
  | { type: 'rotated'; generation: number }
  | { type: 'rotateFailed' };

/** Why an exchange is wanted, strongest first: a packet waits, the node file says so, a rotation. */
export type Reason = 'miss' | 'configured' | 'stale';

export type Action =
  /** Make a fresh offer for each flow, then say `offered` or `offerFailed`. */
  | { type: 'offer'; exchange: bigint; peer: number; reason: Reason; flows: readonly FlowKey[] }
  /** Tell keyexchange of the exchange whose offers were just made, and how long its answer is of use. */
  | { type: 'publish'; exchange: bigint; timeoutMs: number }
  /** Take offers back that their peer refused or never got. */
  | { type: 'withdraw'; offers: readonly MadeOffer[] }
  /** Drop what is held, and further packets for a while. */
  | { type: 'refuse'; flows: readonly FlowKey[]; holdDownMs: number }
  /** Tell the auditors. */
  | { type: 'audit'; event: AuditFact };

/** What auditors are told of flows and keys. */
export type AuditFact =
  /** Its first egress key. */
  | ({ type: 'tunnelUp'; flow: FlowKey; peer: number; asked: 'us' | 'peer' } & PlacedKey)
  /** We have no key for it any more (egress), or the peer's key does not open any more (ingress). */
  | { type: 'tunnelDown'; flow: FlowKey; peer: number; why: 'tableFull' | 'rotationForced' }
  | { type: 'tunnelRefused'; flow: FlowKey; peer: number; code: string }
  | { type: 'keysRotated'; generation: number; reoffered: number; cut: number };

/** cmd.flow.install without its keys: a peer answered an exchange of ours. */
export interface Install {
  exchange: bigint;
  peer: number;
  /** order[i] is that of the key for flows[i]. */
  flows: readonly FlowKey[];
  order: readonly KeyOrder[];
}

/** cmd.flow.accept without its keys: a peer asked. */
export interface Accept {
  peer: number;
  flows: readonly FlowKey[];
  /** One for each flow, or none when the peer gave no keys. */
  order: readonly KeyOrder[];
}

/** cmd.flow.refuse: a peer said no to flows of an exchange of ours. */
export interface Refuse {
  exchange: bigint;
  peer: number;
  flows: readonly FlowKey[];
  /** A code of errors.ts. */
  code: string;
}

export type InstallOutcome = 'installed' | 'notInFlight' | 'superseded';

/** Which keys are to be put in place, and what else is to be done. */
export interface Decision {
  /** Positions in the message's flows. */
  rows: number[];
  /** One for each of rows: the take of its key (EgressKeys). */
  takes: number[];
  /** One for each of the message's flows. */
  outcomes: InstallOutcome[];
  actions: Action[];
}
