// SPDX-License-Identifier: Apache-2.0
// What an operator sees of the stats service itself: how many reports it received and how many pages it served.
import { services } from '../../shared/contracts.js';
import type { OwnCounters } from '../../shared/counter_help.js';
import { countersOf } from '../../shared/counters.js';
import { moment } from '../../shared/process/clock.js';
import type { OwnReport } from '../../shared/service/service_runtime.js';
import type { LatestReports } from '../core/latest_reports.js';
import type { HttpServer } from './http_server.js';

export function reportOf(reports: LatestReports, http: Pick<HttpServer, 'counters'>): OwnReport<'stats'> {
  const { reportsAccepted, reportsRejected, replicasRefused, rowsLeftOut } = reports.counters;
  const { served, refused, malformed, overflow, overdue } = http.counters;
  const now = moment();
  const counters = countersOf({
    replicas: services.reduce((sum, service) => sum + reports.replicas(service, now).length, 0),
    reportsAccepted,
    reportsRejected,
    replicasRefused,
    rowsLeftOut,
    pagesServed: served,
    pagesRefused: refused,
    requestsMalformed: malformed,
    connectionsRefused: overflow,
    connectionsOverdue: overdue,
  } satisfies OwnCounters<'stats'>);
  return { health: [], counters, status: {}, stats: {} };
}
