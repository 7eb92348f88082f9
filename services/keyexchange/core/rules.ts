// SPDX-License-Identifier: Apache-2.0
// What the configuration allows: the peers, the owners of addresses, and the terms of key exchange. A reload replaces them,
// so nobody keeps a part of them beyond the request in progress.
import type { Mode } from '../../../proto/gen/bus.js';
import type { Prefix } from '../../shared/address.js';
import type { VipTable } from '../../shared/vip_table.js';

/** A gateway that we exchange keys with. */
export interface Peer {
  name: string;
  /** host:port of its key exchange. */
  endpoint: string;
  /** The URI that its certificate must contain. */
  identity: string;
  /** Prefixes of its secured address. */
  underlay: readonly Prefix[];
  /** PSP versions allowed with it, in order of preference. */
  versions: readonly number[];
  /** Its software has no TLS: keys are exchanged in plaintext, and its source address is all that identifies it. */
  insecure: boolean;
  /** It may request a rotation of our master key. */
  mayRotate: boolean;
  /** How packets between the gateways are encapsulated; offers of the peer must have the same mode. */
  mode: Mode;
}

/** What each identity may do on each replica (`keyExchange.limits` of the node file). */
export interface IdentityLimits {
  requestsPerSecond: number;
  tunnelsPerSecond: number;
  tunnelsPerRequest: number;
  /** Open connections. */
  connections: number;
}

export interface Rules {
  node: string;
  /** Address family of our secured address, and so of every outer header. */
  outerFamily: 4 | 6;
  /** Our secured address; no peer may have it. */
  outerAddress: string;
  vips: VipTable;
  peers: ReadonlyMap<string, Peer>;
  /** Timeout of an exchange from the publication of its want, for wants without one. */
  exchangeMs: number;
  /** Timeout of a call to a peer within an exchange of exchangeMs; longer exchanges have a proportionally longer one. */
  callMs: number;
  limits: IdentityLimits;
}

/**
 * IdentityLimits of the timeout of a command to the dataplane, which otherwise lasts as long as the answer is useful. A late answer
 * may still be informative, and a peer may set no deadline.
 */
export const shortestCommandMs = 300;
export const longestCommandMs = 10_000;

/** A peer that has not answered for idleMs is probed, and has probeMs to answer. */
export const idleMs = 20_000;
export const probeMs = 5000;

/** The client renews its connection at this age, and 10 % earlier or later at random. */
export const clientAgeMs = 400_000;
/** The server sends GOAWAY at this age, and 10 % earlier or later; calls in progress may end within the grace. */
export const serverAgeMs = 500_000;
export const serverGraceMs = 30_000;
/** The client ends a connection at this age, also if it could not establish a new one. */
export const longestAgeMs = 600_000;
/** A connection is renewed so long before the peer's certificate expires. */
export const expiryMarginMs = 60_000;
/** After a change of our files, all clients renew their connections within this time. */
export const renewalSpreadMs = 4000;
/** Timeout of a renewal, and pause after one that failed. */
export const renewalRetryMs = 10_000;
/** How long a connection may last whose peer's certificate is no longer trusted, so that its client can renew it first. */
export const untrustedMs = 10_000;

/** Exchanges, and likewise requests, of one peer that are in progress at once; more of them wait. */
export const atOnce = 64;

/** Tunnels of those in progress and those that wait: as many as the dataplane keeps wants for one peer. */
export const maxTunnelsInFlight = 4096;

/** From the headers of a request to its end, and of a TLS handshake. */
export const arrivalMs = 10_000;
export const handshakeMs = 10_000;

/**
 * Connections without a complete TLS handshake, of one address and of all. An honest client needs a few round trips, so
 * the oldest one is the least likely to be honest.
 */
export const handshakesPerAddress = 32;
export const handshakesAtOnce = 1024;
