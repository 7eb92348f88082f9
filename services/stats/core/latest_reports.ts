// SPDX-License-Identifier: Apache-2.0
// The latest report of every replica, with the time of its arrival. A service publishes once a second, so a replica is
// down when none of its reports arrived for `upMs`, and its series end after `goneMs`. A node has one dataplane: a report
// of a new one replaces that of the old one. Every stats replica receives the same reports and so shows the same values.
import type { ServiceStats } from '../../../proto/gen/bus.js';
import type { Service } from '../../shared/contracts.js';
import type { Moment } from '../../shared/moment.js';
import { bounded, isFrom, type Named } from './bounds.js';

/** A report of one replica. */
export interface ReplicaReport {
  service: Service;
  stats: ServiceStats;
  received: Moment;
}

export const upMs = 5000;
export const goneMs = 15_000;
/** Replicas of one service that are kept at once. */
export const replicasPerService = 16;

export class LatestReports {
  /**
   * reportsAccepted: reports kept; reportsRejected: reports with the name of another service or an invalid id;
   * replicasRefused: reports of replicas beyond the limit; rowsLeftOut: rows of reports beyond theirs.
   */
  readonly counters = { reportsAccepted: 0, reportsRejected: 0, replicasRefused: 0, rowsLeftOut: 0 };
  readonly #reports = new Map<Service, Map<string, ReplicaReport>>();
  /** When the latest report of a service arrived, also of one whose series ended. */
  readonly #lastReceived = new Map<Service, Moment>();
  #named: Named = { peers: new Set(), bypass: new Set() };

  constructor(
    names: { peers: Iterable<string>; bypass: Iterable<string> },
    private readonly started: Moment,
  ) {
    this.name(names);
  }

  /** The names that may become labels in the reports that follow. */
  name({ peers, bypass }: { peers: Iterable<string>; bypass: Iterable<string> }): void {
    this.#named = { peers: new Set(peers), bypass: new Set(bypass) };
  }

  receive(service: Service, stats: ServiceStats, now: Moment): void {
    if (!isFrom(service, stats)) {
      this.counters.reportsRejected++;
      return;
    }
    const reports = this.#reportsOf(service, now);
    if (service === 'dataplane') reports.clear();
    if (!reports.has(stats.id) && reports.size >= replicasPerService) {
      this.counters.replicasRefused++;
      return;
    }
    const within = bounded(stats, this.#named);
    this.counters.reportsAccepted++;
    this.counters.rowsLeftOut += within.leftOut;
    reports.set(stats.id, { service, stats: within.stats, received: now });
    this.#lastReceived.set(service, now);
  }

  /** Replicas whose series have not ended, by id. */
  replicas(service: Service, now: Moment): ReplicaReport[] {
    return [...this.#reportsOf(service, now).values()].sort((one, other) =>
      one.stats.id < other.stats.id ? -1 : 1,
    );
  }

  /** Those of them that are up. */
  up(service: Service, now: Moment): ReplicaReport[] {
    return this.replicas(service, now).filter(
      ({ received }) => now.monotonicMs - received.monotonicMs <= upMs,
    );
  }

  /** When the latest report of a service arrived; `ever` false: none since our start, which `at` then is. */
  lastReceived(service: Service): { ever: boolean; at: Moment } {
    const at = this.#lastReceived.get(service);
    return at === undefined ? { ever: false, at: this.started } : { ever: true, at };
  }

  #reportsOf(service: Service, now: Moment): Map<string, ReplicaReport> {
    const reports = this.#reports.get(service) ?? new Map<string, ReplicaReport>();
    this.#reports.set(service, reports);
    for (const [id, { received }] of reports) {
      if (now.monotonicMs - received.monotonicMs > goneMs) reports.delete(id);
    }
    return reports;
  }
}
