// SPDX-License-Identifier: Apache-2.0
// Faults between this gateway and a peer that recur while they last, each about one subject: a refused flow, a certificate.
// A fault ends when it is reported to be over, or when it has not recurred for a minute, which is twice the longest pause
// of the dataplane before it repeats a want.
import type { PspError } from '../../shared/errors.js';
import type { Moment } from '../../shared/moment.js';

export const lastsMs = 60_000;
/** The most faults kept for one peer. */
const mostPerPeer = 256;

interface Entry {
  error: PspError;
  since: Moment;
  lastMs: number;
}

/** Faults of one code. */
export interface LastingFault {
  /** The latest. */
  error: PspError;
  since: Moment;
  /** How many subjects have it. */
  count: number;
}

export class LastingFaults {
  readonly #peers = new Map<string, Map<string, Entry>>();

  /** @param about the subject of the fault. @returns whether the fault is new. */
  seen(peer: string, about: string, error: PspError, now: Moment): boolean {
    const entries = this.#peers.get(peer) ?? new Map<string, Entry>();
    this.#peers.set(peer, entries);
    const known = entries.get(about);
    const isNew = known === undefined || now.monotonicMs - known.lastMs > lastsMs;
    if (known === undefined && entries.size >= mostPerPeer) forgetOld(entries, now.monotonicMs);
    if (known === undefined && entries.size >= mostPerPeer) return false;
    entries.set(about, { error, since: isNew ? now : known.since, lastMs: now.monotonicMs });
    return isNew;
  }

  /** The peer was removed. */
  forget(peer: string): void {
    this.#peers.delete(peer);
  }

  over(peer: string, about: string): void {
    this.#peers.get(peer)?.delete(about);
  }

  /** The lasting faults of a peer, by code, the oldest first. @param nowMs monotonic. */
  of(peer: string, nowMs: number): LastingFault[] {
    const entries = this.#peers.get(peer);
    if (entries === undefined) return [];
    forgetOld(entries, nowMs);
    const byCode = new Map<string, LastingFault & { lastMs: number }>();
    for (const { error, since, lastMs } of entries.values()) {
      const other = byCode.get(error.code);
      const latest = other === undefined || lastMs >= other.lastMs ? { error, lastMs } : other;
      const first = other === undefined || since.monotonicMs < other.since.monotonicMs ? since : other.since;
      byCode.set(error.code, {
        error: latest.error,
        lastMs: latest.lastMs,
        since: first,
        count: (other?.count ?? 0) + 1,
      });
    }
    return [...byCode.values()]
      .sort((one, other) => one.since.monotonicMs - other.since.monotonicMs)
      .map(({ error, since, count }) => ({ error, since, count }));
  }
}

function forgetOld(entries: Map<string, Entry>, nowMs: number): void {
  for (const [about, { lastMs }] of entries) if (nowMs - lastMs > lastsMs) entries.delete(about);
}
