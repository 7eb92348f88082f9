// SPDX-License-Identifier: Apache-2.0
// Which of the refusals that we answer to peers are recorded in the audit. A code that means "not with this identity" or
// "not for these addresses" makes the peer unauthorized; a code that means "not here" or "not on these terms" refuses a
// tunnel, as does a client that requests too much. Other codes that only mean "not now" are not recorded. Many
// refusals of one peer and code are joined.

import type { ErrorCode } from '../../shared/errors.js';
import { type JoinedEvent, JoinedEvents } from '../../shared/rate/joined_events.js';

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
  SOURCE_NOT_ALLOWED: 'peer.unauthorized',
  PEER_CERTIFICATE_INVALID: 'peer.unauthorized',
  IDENTITY_SHARED: 'peer.unauthorized',
  VIP_NOT_PEERS: 'peer.unauthorized',
  UNDERLAY_NOT_ALLOWED: 'peer.unauthorized',
  ROTATION_NOT_ALLOWED: 'peer.unauthorized',
  VIP_NOT_OURS: 'tunnel.refused',
  VERSION_NOT_SPOKEN: 'tunnel.refused',
  MODE_MISMATCH: 'tunnel.refused',
  REQUEST_INVALID: 'tunnel.refused',
  RATE_LIMITED: 'tunnel.refused',
};

export class RefusalLedger {
  readonly #events = new JoinedEvents<Refusal & Pick<RefusalEvent, 'type'>>();

  /** @param nowMs monotonic. @param unixMs the same instant for people. @returns the events to record now. */
  refused(refusal: Refusal, nowMs: number, unixMs: number): RefusalEvent[] {
    const type = types[refusal.code];
    if (type === undefined) return [];
    const subject = `${refusal.peer ?? ''}|${refusal.code}`;
    return this.#events.occurred(subject, { ...refusal, type }, nowMs, unixMs).map(eventOf);
  }

  /** Once a second. @returns joined events that may be recorded now. @param all also those whose bucket is empty. */
  tick(nowMs: number, all = false): RefusalEvent[] {
    return this.#events.tick(nowMs, all).map(eventOf);
  }
}

const eventOf = ({ latest, ...joined }: JoinedEvent<Refusal & Pick<RefusalEvent, 'type'>>): RefusalEvent => ({
  ...latest,
  ...joined,
});
