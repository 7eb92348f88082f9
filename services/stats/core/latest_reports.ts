// SPDX-License-Identifier: Apache-2.0
// The last word of every replica, with the time it came. A service publishes once a second, so one that was not
// heard for `upMs` is not up, and after `goneMs` it is forgotten: its series end. There is one dataplane, so
// whichever spoke last is it. Every stats replica hears the same words and so knows the same.
import type { ServiceStats } from '../../../proto/gen/bus.js';
import type { Service } from '../../shared/contracts.js';
import type { Moment } from '../../shared/moment.js';
import { bounded, isFrom, type Named } from './bounds.js';

export interface Word {
  service: Service;
  stats: ServiceStats;
  heard: Moment;
}

export const upMs = 5000;
export const goneMs = 15_000;
/** Replicas of one service that are remembered at once. */
export const replicasPerService = 16;

export class LatestReports {
  /** heard: words taken; strangers: words that name another service or no fit id; replicasRefused: words of
   * replicas beyond the bound; rowsLeftOut: rows of words beyond theirs. */
  readonly counters = { heard: 0, strangers: 0, replicasRefused: 0, rowsLeftOut: 0 };
  readonly #words = new Map<Service, Map<string, Word>>();
  /** When a service spoke for the last time, even if it is forgotten. */
  readonly #lastHeard = new Map<Service, Moment>();
  readonly #named: Named;

  constructor(
    { peers, bypass }: { peers: Iterable<string>; bypass: Iterable<string> },
    private readonly started: Moment,
  ) {
    this.#named = { peers: new Set(peers), bypass: new Set(bypass) };
  }

  hear(service: Service, stats: ServiceStats, now: Moment): void {
    if (!isFrom(service, stats)) {
      this.counters.strangers++;
      return;
    }
    const words = this.#wordsOf(service, now);
    if (service === 'dataplane') words.clear();
    if (!words.has(stats.id) && words.size >= replicasPerService) {
      this.counters.replicasRefused++;
      return;
    }
    const within = bounded(stats, this.#named);
    this.counters.heard++;
    this.counters.rowsLeftOut += within.leftOut;
    words.set(stats.id, { service, stats: within.stats, heard: now });
    this.#lastHeard.set(service, now);
  }

  /** Replicas that are not forgotten, by id. */
  replicas(service: Service, now: Moment): Word[] {
    return [...this.#wordsOf(service, now).values()].sort((one, other) =>
      one.stats.id < other.stats.id ? -1 : 1,
    );
  }

  /** Those of them that are up. */
  up(service: Service, now: Moment): Word[] {
    return this.replicas(service, now).filter(({ heard }) => now.monotonicMs - heard.monotonicMs <= upMs);
  }

  /** When a service was heard last; `ever` false: not since we started, which is when `at` says. */
  lastHeard(service: Service): { ever: boolean; at: Moment } {
    const at = this.#lastHeard.get(service);
    return at === undefined ? { ever: false, at: this.started } : { ever: true, at };
  }

  #wordsOf(service: Service, now: Moment): Map<string, Word> {
    const words = this.#words.get(service) ?? new Map<string, Word>();
    this.#words.set(service, words);
    for (const [id, { heard }] of words) {
      if (now.monotonicMs - heard.monotonicMs > goneMs) words.delete(id);
    }
    return words;
  }
}
