// SPDX-License-Identifier: Apache-2.0
// Which refusals that we give to peers are worth an auditor's eye, and how many of them. A refusal that says "not
// yours" or "not with this certificate" makes a stranger of whoever asked; one that says "not here" or "not like this"
// refuses a tunnel. What only says "not now" is neither. Each peer and code has a token bucket: events that find it
// empty are joined into one event with its count, so that an attacker cannot fill the audit.
import type { ErrorCode } from '../../shared/errors.js';
import { TokenBucket } from './token_bucket.js';

/** A refusal that was given. */
export interface Refusal {
  code: ErrorCode;
  /** undefined: nobody whom we know. */
  peer: string | undefined;
  /** What the peer was told. */
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

  /** @param nowMs monotonic. @param unixMs the same instant for people. @returns what is to be told now. */
  refused(refusal: Refusal, nowMs: number, unixMs: number): RefusalEvent[] {
    const type = types[refusal.code];
    if (type === undefined) return [];
    const id = `${refusal.peer ?? ''}|${refusal.code}`;
    const entry = this.#entries.get(id) ?? { bucket: new TokenBucket(nowMs), joined: undefined };
    this.#entries.set(id, entry);
    const told = { ...refusal, type, count: 1, firstMs: unixMs, lastMs: unixMs };
    if (entry.joined === undefined && entry.bucket.take(nowMs)) return [told];
    const { count, firstMs } = entry.joined ?? { count: 0, firstMs: unixMs };
    entry.joined = { ...told, count: count + 1, firstMs };
    return [];
  }

  /** Time passed. @returns what was joined and may be told now. @param all whatever its bucket holds. */
  tick(nowMs: number, all = false): RefusalEvent[] {
    const told: RefusalEvent[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.joined === undefined || !(entry.bucket.take(nowMs) || all)) continue;
      told.push(entry.joined);
      entry.joined = undefined;
    }
    return told;
  }
}
