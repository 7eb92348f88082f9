// SPDX-License-Identifier: Apache-2.0
// The client's side of an exchange: a want of the dataplane becomes a request, and the peer's answer becomes egress keys. A
// want older than half of its timeout is not started, because the dataplane is about to repeat it. The dataplane measures
// the duration of exchanges and gives each a timeout; all deadlines follow from it and count from the publication.
import type { FlowWanted, Offer } from '../../../proto/gen/bus.js';
import type { MultiTunnelRequest, MultiTunnelResponse } from '../../../proto/gen/psp_gateway.js';
import { familyOf, formatAddress } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { modeMismatch, pairUp, parametersOf, readOffer, repeatsSpi } from './parameters.js';
import { type Peer, type Rules, shortestCommandMs } from './rules.js';

/** When a want was published, and how long an answer to it is useful. */
export type Timed = Pick<FlowWanted, 'publishedNs' | 'timeoutMs'>;
type Times = Pick<Rules, 'exchangeMs' | 'callMs'>;

const ageMs = (want: Timed, nowNs: bigint): number => Math.max(0, Number(nowNs - want.publishedNs) / 1e6);

/** How long after its publication an answer to a want is useful. */
const timeoutMs = (want: Timed, rules: Times): number => want.timeoutMs ?? rules.exchangeMs;

/** @param nowNs CLOCK_MONOTONIC. */
export const isFresh = (want: Timed, rules: Times, nowNs: bigint): boolean =>
  ageMs(want, nowNs) <= timeoutMs(want, rules) / 2;

/** Timeout of the call to the peer: what is left of the exchange, but no larger part of it than callMs of exchangeMs. */
export function callTimeoutMs(want: Timed, rules: Times, nowNs: bigint): number {
  const wholeMs = timeoutMs(want, rules);
  return Math.max(1, Math.min((wholeMs * rules.callMs) / rules.exchangeMs, wholeMs - ageMs(want, nowNs)));
}

/** Timeout of the dataplane's answer: what is left of the exchange. */
export const commandTimeoutMs = (want: Timed, rules: Times, nowNs: bigint): number =>
  Math.max(shortestCommandMs, timeoutMs(want, rules) - ageMs(want, nowNs));

/**
 * The peer of a want.
 * @throws PspError PAYLOAD_INVALID for an unknown peer, or flows and offers that do not match.
 */
export function peerOf(want: FlowWanted, rules: Rules, subject: string): Peer {
  const peer = rules.peers.get(want.peer);
  if (peer === undefined) {
    throw new PspError('PAYLOAD_INVALID', { subject, detail: `peer ${want.peer} is not configured` });
  }
  if (want.flows.length === 0 || !pairUp(want.flows, want.offers)) {
    throw new PspError('PAYLOAD_INVALID', {
      subject,
      detail: `${want.flows.length} flows do not pair with ${want.offers.length} offers`,
    });
  }
  return peer;
}

/** The request for a want. @param keys those of want.offers; they are not copied. */
export function requestOf(
  want: FlowWanted,
  keys: readonly Buffer[],
  peer: Peer,
  requestId: bigint,
): MultiTunnelRequest {
  return {
    requestId,
    pspVersionsAccepted: [...peer.versions],
    epoch: want.epoch,
    tunnels: want.flows.map((flow, i) => ({
      virtSrcIp: formatAddress(flow.source),
      virtDstIp: formatAddress(flow.destination),
      innerType: familyOf(flow.source),
      reverseParams: parametersOf(want.offers[i] as Offer, keys[i] as Buffer),
    })),
  };
}

/** Egress keys for the flows of a want, in their order. */
export interface Egress {
  peerEpoch: bigint | undefined;
  offers: Offer[];
  keys: Buffer[];
}

/** @throws PspError RESPONSE_INVALID or MODE_MISMATCH if any part of the answer cannot be used; then none of it is. */
export function egressOf(response: MultiTunnelResponse, want: FlowWanted, peer: Peer, rules: Rules): Egress {
  const given = response.tunnelsParams;
  const invalid = (detail: string) => new PspError('RESPONSE_INVALID', { peer: peer.name, detail });
  if (given.length !== want.flows.length) {
    throw invalid(`parameters for ${given.length} tunnels instead of ${want.flows.length}`);
  }
  const offers = given.map((parameters) => {
    const read = readOffer(parameters, peer, rules);
    if ('offer' in read) return read.offer;
    const { kind, detail } = read.flaw;
    if (kind === 'mode') throw modeMismatch(peer, read.flaw.mode);
    throw invalid(kind === 'underlay' ? `address ${detail} outside its underlay prefixes` : detail);
  });
  if (repeatsSpi(offers)) throw invalid('one SPI for two tunnels');
  return {
    peerEpoch: response.epoch,
    offers,
    keys: given.map((parameters) => parameters.encryptionKey),
  };
}
