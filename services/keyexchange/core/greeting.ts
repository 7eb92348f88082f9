// SPDX-License-Identifier: Apache-2.0
// Greetings between gateways (proto/psp_peer.proto): deadlines, and what a peer may send. The dataplane repeats a greeting
// every second until the peer has answered, so nothing is repeated here.
import type { PeerGreet } from '../../../proto/gen/bus.js';
import type { GreetRequest } from '../../../proto/gen/psp_peer.js';
import { PspError } from '../../shared/errors.js';

/** A greeting that waited longer on the bus is not sent, because the dataplane is about to repeat it. */
const freshMs = 500;
/** Timeout of the call to the peer, which waits for a connection; shorter than the dataplane's repetition. */
export const greetMs = 900;
const mostSpis = 64;

/** @param nowNs CLOCK_MONOTONIC. */
export const isFreshGreeting = ({ publishedNs }: PeerGreet, nowNs: bigint): boolean =>
  Number(nowNs - publishedNs) / 1e6 <= freshMs;

/** @throws PspError REQUEST_INVALID */
export function checkGreeting({ epoch, unknownSpis }: GreetRequest): void {
  if (epoch === 0n) throw new PspError('REQUEST_INVALID', { detail: 'a greeting without an epoch' });
  if (unknownSpis.length > mostSpis) {
    const detail = `${unknownSpis.length} SPIs in a greeting; ${mostSpis} are possible`;
    throw new PspError('REQUEST_INVALID', { detail });
  }
}
