// SPDX-License-Identifier: Apache-2.0
// Limits the audit events that a peer can cause at will. Each subject, such as a peer and a code, has a token bucket:
// occurrences that find it empty are joined into one event with their number, so that an attacker cannot fill the audit
// and no occurrence is lost.
import { TokenBucket } from './token_bucket.js';

/** One event: an occurrence, or several. */
export interface JoinedEvent<T> {
  /** The latest occurrence. */
  latest: T;
  count: number;
  /** Unix milliseconds. */
  firstMs: number;
  lastMs: number;
}

interface Entry<T> {
  bucket: TokenBucket;
  joined: JoinedEvent<T> | undefined;
}

export class JoinedEvents<T> {
  readonly #entries = new Map<string, Entry<T>>();

  /**
   * @param subject of a bounded number. @param nowMs monotonic. @param unixMs the same instant for people.
   * @returns the event to record now, if any.
   */
  occurred(subject: string, latest: T, nowMs: number, unixMs: number): JoinedEvent<T>[] {
    const entry = this.#entries.get(subject) ?? { bucket: new TokenBucket(nowMs), joined: undefined };
    this.#entries.set(subject, entry);
    const event = { latest, count: 1, firstMs: unixMs, lastMs: unixMs };
    if (entry.joined === undefined && entry.bucket.take(nowMs)) return [event];
    const { count, firstMs } = entry.joined ?? { count: 0, firstMs: unixMs };
    entry.joined = { ...event, count: count + 1, firstMs };
    return [];
  }

  /** Once a second. @returns joined events that may be recorded now. @param all also those whose bucket is empty. */
  tick(nowMs: number, all = false): JoinedEvent<T>[] {
    const events: JoinedEvent<T>[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.joined === undefined || !(entry.bucket.take(nowMs) || all)) continue;
      events.push(entry.joined);
      entry.joined = undefined;
    }
    return events;
  }
}
