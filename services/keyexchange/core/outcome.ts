// SPDX-License-Identifier: Apache-2.0
// What the end of a call to a peer means. A status that the peer's application chose is a refusal: nothing was
// done, and our offer is to be withdrawn. Every other end leaves unknown what the peer did, so nothing follows
// from it. Statuses by their names in the gRPC specification. What a peer wrote is shown to people on terminals,
// so it is cut, and holds nothing that a terminal would obey, when it comes in.
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
 * Whether this end of an exchange is a refusal: the peer said no, or what it offers could never be used, because
 * the two node files disagree.
 */
export const isRefusal = (code: ErrorCode): boolean => code === 'PEER_REFUSED' || code === 'MODE_MISMATCH';

const longestText = 200;
/** Control and format characters (direction marks among them), line breaks, what is unassigned or invisible. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** Text that a stranger chose, fit to be shown: 200 characters at most, U+FFFD for each that does not print. */
export function foreignText(text: string): string {
  const characters = Array.from(text.slice(0, 2 * longestText + 2));
  const cut =
    characters.length > longestText
      ? `${characters.slice(0, longestText - 1).join('')}…`
      : characters.join('');
  return cut.replace(unprintable, '\ufffd');
}

/** gRPC's text about a channel that has no connection, without what only gRPC's authors need. */
const withoutFrame = (details: string): string =>
  details.replace(/^No connection established\. Last error: (?:Error: )?(.*)\. Resolution note: .*$/s, '$1');

/** A call that ended without an answer, as one of our codes; of these PEER_REFUSED alone is a refusal. */
export function errorOf(status: string, details: string, peer: string, timeoutMs: number): PspError {
  const detail = `${status}: ${foreignText(withoutFrame(details))}`;
  if (refusals.has(status)) return new PspError('PEER_REFUSED', { peer, detail });
  if (status === 'DEADLINE_EXCEEDED')
    return new PspError('PEER_TIMEOUT', { peer, ms: Math.round(timeoutMs) });
  if (status === 'UNAVAILABLE' || status === 'CANCELLED') return new PspError('PEER_DOWN', { peer, detail });
  return new PspError('RESPONSE_INVALID', { peer, detail });
}
