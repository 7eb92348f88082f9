// SPDX-License-Identifier: Apache-2.0
// Which of the refusals that we answer to peers are recorded in the audit. A code that means "not with this identity" or
// "not for these addresses" makes the peer unauthorized; a code that means "not here" or "not on these terms" refuses a
// tunnel. Codes that only mean "not now" are not recorded. Each peer and code has a token bucket: events that find it empty
// are joined into one event with their number, so that an attacker cannot fill the audit.
import type { ErrorCode } from '../../shared/errors.js';
import { TokenBucket } from './token_bucket.js';

/** A refusal that was given. */
export interface Refusal {
  code: ErrorCode;
  /** undefined: no configured peer. */
  peer: string | undefined;
  /** The message that the peer received. */
  detail: string;
}

/** One event: a refusal, or several of one peer and code. */
export interface RefusalEvent extends Refusal {
  type: 'peer.unauthorized' | 'tunnel.refused';
  count: number;
  /** Unix milliseconds. */
  firstMs: number;
  lastMs: number;
}

const types: Partial<Record<ErrorCode, RefusalEvent['type']>> = {
  PEER_UNKNOWN: 'peer.unauthorized',
  PEER_CERTIFICATE_INVALID: 'peer.unauthorized',
  IDENTITY_SHARED: 'peer.unauthorized',
  VIP_NOT_PEERS: 'peer.unauthorized',
  UNDERLAY_NOT_ALLOWED: 'peer.unauthorized',
  ROTATION_NOT_ALLOWED: 'peer.unauthorized',
  VIP_NOT_OURS: 'tunnel.refused',
  VERSION_NOT_SPOKEN: 'tunnel.refused',
  MODE_MISMATCH: 'tunnel.refused',
  REQUEST_INVALID: 'tunnel.refused',
};

interface Entry {
  bucket: TokenBucket;
  joined: RefusalEvent | undefined;
}

export class RefusalLedger {
  readonly #entries = new Map<string, Entry>();

  /** @param nowMs monotonic. @param unixMs the same instant for people. @returns the events to record now. */
  refused(refusal: Refusal, nowMs: number, unixMs: number): RefusalEvent[] {
    const type = types[refusal.code];
    if (type === undefined) return [];
    const id = `${refusal.peer ?? ''}|${refusal.code}`;
    const entry = this.#entries.get(id) ?? { bucket: new TokenBucket(nowMs), joined: undefined };
    this.#entries.set(id, entry);
    const event = { ...refusal, type, count: 1, firstMs: unixMs, lastMs: unixMs };
    if (entry.joined === undefined && entry.bucket.take(nowMs)) return [event];
    const { count, firstMs } = entry.joined ?? { count: 0, firstMs: unixMs };
    entry.joined = { ...event, count: count + 1, firstMs };
    return [];
  }

  /** Once a second. @returns joined events that may be recorded now. @param all also those whose bucket is empty. */
  tick(nowMs: number, all = false): RefusalEvent[] {
    const events: RefusalEvent[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.joined === undefined || !(entry.bucket.take(nowMs) || all)) continue;
      events.push(entry.joined);
      entry.joined = undefined;
    }
    return events;
  }
}
