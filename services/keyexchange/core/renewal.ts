// SPDX-License-Identifier: Apache-2.0
// How long connections between gateways live. TLS verifies certificates when a connection is established, so an established
// one is renewed before it is ten minutes old, and earlier if our own pair or the authorities changed, or the peer's certificate
// is about to expire. The client connects anew, uses the new connection and lets the old one finish, so that no exchange fails.
// The server ends connections only of clients that do not: its limit is above the client's. Between renewals the certificate of
// each established connection is judged again every second.
import type { Moment } from '../../shared/moment.js';
import { clientAgeMs, expiryMarginMs, renewalRetryMs, renewalSpreadMs, untrustedMs } from './rules.js';

/** An established connection of our client. */
export interface ConnectionAge {
  /** When it was established, monotonic milliseconds. */
  sinceMs: number;
  /** Which version of our files it was established with. */
  version: number;
  /** When the peer's certificate expires, unix milliseconds. */
  peerExpiresMs: number;
}

/** Our files: their version and when they were read, monotonic milliseconds. */
export interface FilesVersion {
  version: number;
  sinceMs: number;
}

/**
 * Whether the client is to connect anew.
 * @param jitter from 0 to 1, at random for each connection.
 * @param failedMs when the last attempt failed, monotonic; undefined if none did.
 */
export function isRenewalDue(
  { sinceMs, version, peerExpiresMs }: ConnectionAge,
  files: FilesVersion,
  jitter: number,
  failedMs: number | undefined,
  now: Moment,
): boolean {
  if (failedMs !== undefined && now.monotonicMs - failedMs < renewalRetryMs) return false;
  if (now.monotonicMs - sinceMs >= clientAgeMs * (0.9 + 0.2 * jitter)) return true;
  if (version !== files.version && now.monotonicMs - files.sinceMs >= jitter * renewalSpreadMs) return true;
  return now.unixMs >= peerExpiresMs - expiryMarginMs && now.monotonicMs - sinceMs >= renewalRetryMs;
}

/** How long a connection with a fault of this kind may last from the moment at which the fault was found. */
export const toleranceMs = (kind: 'untrusted' | 'revoked' | 'dates'): number =>
  kind === 'untrusted' ? untrustedMs : 0;
