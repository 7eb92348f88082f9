// SPDX-License-Identifier: Apache-2.0
// The meaning of the end of a call to a peer. A status that the peer's application chose is a refusal: nothing was done,
// and our offer is withdrawn. RESOURCE_EXHAUSTED with a time after which to retry is none: nothing was done, and the
// flow may be requested again then. After every other end it is unknown what the peer did, so nothing follows from it. Statuses
// have their names in the gRPC specification. Text of a peer is shown on terminals, so it is cut and stripped of
// control characters on arrival.
import { type ErrorCode, PspError } from '../../shared/errors.js';

const refusals: ReadonlySet<string> = new Set([
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'DATA_LOSS',
]);

/**
 * Whether this end of an exchange is a refusal: the peer refused, or its offer can never be used because the two node
 * files disagree.
 */
export const isRefusal = (code: ErrorCode): boolean => code === 'PEER_REFUSED' || code === 'MODE_MISMATCH';

const longestText = 200;
/** Control and format characters (direction marks among them), line breaks, unassigned and invisible characters. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** Text of a peer, fit to be shown: 200 characters at most, U+FFFD for each unprintable one. */
export function foreignText(text: string): string {
  const characters = Array.from(text.slice(0, 2 * longestText + 2));
  const cut =
    characters.length > longestText
      ? `${characters.slice(0, longestText - 1).join('')}…`
      : characters.join('');
  return cut.replace(unprintable, '\ufffd');
}

/**
 * Whether the peer worked as it should: it answered with a refusal, or limits the rate of our requests. The circuit
 * breaker counts no such end as a failure.
 */
export const isOrderly = (code: ErrorCode): boolean => isRefusal(code) || code === 'PEER_LIMITS_RATE';

/** The trailer with which a gRPC server says after how many milliseconds a request may be sent again (gRFC A6). */
export const retryTrailer = 'grpc-retry-pushback-ms';

/** Milliseconds in the trailer; undefined without one, and for a server that says not to retry. */
export function retryMsOf(trailer: string | undefined): number | undefined {
  if (trailer === undefined || !/^\d{1,9}$/.test(trailer)) return undefined;
  return Number(trailer);
}

/** gRPC's text about a channel without a connection, reduced to the error. */
const withoutFrame = (details: string): string =>
  details.replace(/^No connection established\. Last error: (?:Error: )?(.*)\. Resolution note: .*$/s, '$1');

/**
 * The error for a call that ended without an answer; of its codes only PEER_REFUSED is a refusal.
 * @param retryMs the peer's, see `retryMsOf`.
 */
export function errorOf(
  status: string,
  details: string,
  peer: string,
  timeoutMs: number,
  retryMs?: number,
): PspError {
  const detail = `${status}: ${foreignText(withoutFrame(details))}`;
  if (status === 'RESOURCE_EXHAUSTED' && retryMs !== undefined)
    return new PspError('PEER_LIMITS_RATE', { peer, ms: retryMs, detail });
  if (refusals.has(status)) return new PspError('PEER_REFUSED', { peer, detail });
  if (status === 'DEADLINE_EXCEEDED')
    return new PspError('PEER_TIMEOUT', { peer, ms: Math.round(timeoutMs) });
  if (status === 'UNAVAILABLE' || status === 'CANCELLED') return new PspError('PEER_DOWN', { peer, detail });
  return new PspError('RESPONSE_INVALID', { peer, detail });
}
