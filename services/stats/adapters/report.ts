// SPDX-License-Identifier: Apache-2.0
// What an operator sees of the stats service itself: its status, and a word of its own like every service.
import { type Counter, ServiceStats, type ServiceStatus } from '../../../proto/gen/bus.js';
import type { AuditTrail } from '../../shared/audit/trail.js';
import type { BusCounters } from '../../shared/bus/bus.js';
import { services } from '../../shared/contracts.js';
import { logCounters } from '../../shared/process/log.js';
import { version } from '../../shared/process/version.js';
import type { LatestReports } from '../core/latest_reports.js';
import type { HttpServer } from './http_server.js';
import { moment } from './pages.js';

export class Report {
  #bus: Readonly<BusCounters> = { unsent: 0, overrun: 0, malformed: 0 };
  #audit: Pick<AuditTrail, 'counters' | 'health'> | undefined;

  constructor(
    private readonly node: string,
    private readonly startedMs: number,
    private readonly words: LatestReports,
    private readonly http: Pick<HttpServer, 'counters'>,
  ) {}

  /** Shows the counters of our bus beside our own. */
  useBus(counters: Readonly<BusCounters>): void {
    this.#bus = counters;
  }

  /** Shows what it has to tell of itself. */
  useAudit(audit: Pick<AuditTrail, 'counters' | 'health'>): void {
    this.#audit = audit;
  }

  status(id: string): ServiceStatus {
    return {
      node: this.node,
      id,
      startedMs: BigInt(this.startedMs),
      health: this.#audit?.health() ?? [],
      counters: this.#counters(),
    };
  }

  stats(id: string): ServiceStats {
    return ServiceStats.fromPartial({
      service: 'stats',
      id,
      startedMs: BigInt(this.startedMs),
      version,
      health: this.#audit?.health() ?? [],
      counters: this.#counters(),
    });
  }

  #counters(): Counter[] {
    const { heard, strangers, replicasRefused, rowsLeftOut } = this.words.counters;
    const { served, refused, malformed, overflow, overdue } = this.http.counters;
    const { unsent, overrun, malformed: undecoded } = this.#bus;
    const now = moment();
    const replicas = services.reduce((sum, service) => sum + this.words.replicas(service, now).length, 0);
    const counts = {
      replicas,
      heard,
      strangers,
      replicasRefused,
      rowsLeftOut,
      pagesServed: served,
      pagesRefused: refused,
      requestsMalformed: malformed,
      connectionsRefused: overflow,
      connectionsOverdue: overdue,
      busUnsent: unsent,
      busOverrun: overrun,
      busMalformed: undecoded,
    };
    const own = Object.entries(counts).map(([name, value]) => ({ name, value: BigInt(value) }));
    return [...own, ...logCounters(), ...(this.#audit?.counters() ?? [])];
  }
}
