// SPDX-License-Identifier: Apache-2.0
// What the configuration allows: the peers, whose addresses are whose, and the terms on which keys are
// exchanged. Fixed for the life of the process.
import type { Mode } from '../../../proto/gen/bus.js';
import type { Prefix } from '../../shared/address.js';
import type { VipTable } from './vip_table.js';

/** A gateway that we exchange keys with. */
export interface Peer {
  name: string;
  /** host:port of its key exchange. */
  endpoint: string;
  /** The URI that its certificate must hold. */
  identity: string;
  /** Where its secured address may lie. */
  underlay: readonly Prefix[];
  /** PSP versions that we speak with it, in order of preference. */
  versions: readonly number[];
  /** How packets between us are wrapped: its offers must say the same as ours. */
  mode: Mode;
}

export interface Rules {
  node: string;
  /** Family of our secured address, and so of every outer header. */
  outerFamily: 4 | 6;
  vips: VipTable;
  peers: ReadonlyMap<string, Peer>;
  /** How long one exchange may take, from the publication of its want, where the want does not say. */
  exchangeMs: number;
  /** How long one call to a peer may take; of a longer exchange the same part. */
  callMs: number;
}

/**
 * How long the dataplane may take to answer a command on the bus: as long as the answer is of use, within these. An
 * answer that comes too late to be of use may still prove something, and a peer may set no deadline at all.
 */
export const shortestCommandMs = 300;
export const longestCommandMs = 10_000;

/** A peer that was not heard for so long is asked for a sign of life, and has so long to give one. */
export const idleMs = 20_000;
export const probeMs = 5000;

/** Tunnels in one request; what a peer asks beyond is refused whole. */
export const maxBatch = 1024;

/** Exchanges, and likewise requests, of one peer that are worked on at once; more wait their turn. */
export const atOnce = 64;

/** Tunnels of those that are worked on and those that wait: as many as the dataplane keeps wants for one peer. */
export const maxTunnelsInFlight = 4096;
