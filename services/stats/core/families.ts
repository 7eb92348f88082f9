// SPDX-License-Identifier: Apache-2.0
// All metrics of a node at one moment. They depend on the latest reports alone, so two stats replicas that received the
// same reports return the same metrics.
import { services } from '../../shared/contracts.js';
import type { Moment } from '../../shared/moment.js';
import { dataplaneMetrics } from './dataplane_metrics.js';
import { keyExchangeMetrics } from './keyexchange_metrics.js';
import type { LatestReports } from './latest_reports.js';
import { type Family, familyOf } from './metric.js';
import { serviceMetrics } from './service_metrics.js';
import { specMetrics } from './spec_metrics.js';

export function familiesOf(reports: LatestReports, now: Moment): Family[] {
  const replicas = reports.replicas('keyexchange', now);
  return [
    upFamily(reports, now),
    ...dataplaneMetrics.map((metric) => familyOf(metric, reports.replicas('dataplane', now))),
    ...specMetrics.map((metric) => familyOf(metric, reports.replicas('dataplane', now))),
    ...keyExchangeMetrics.map((metric) => familyOf(metric, replicas)),
    ...serviceMetrics.map((metric) =>
      familyOf(
        metric,
        services.flatMap((service) => reports.replicas(service, now)),
      ),
    ),
  ];
}

/** Not of one report, as the other metrics are: a service that does not report has the value 0. */
export const upMetric = {
  name: 'psp_service_replicas',
  type: 'gauge',
  labels: ['service'],
  help: 'Replicas of a service that reported within the last 5 seconds; 0: it is down.',
} as const;

const upFamily = (reports: LatestReports, now: Moment): Family => ({
  name: upMetric.name,
  type: upMetric.type,
  help: upMetric.help,
  samples: services.map((service) => ({
    suffix: '',
    labels: { service },
    value: reports.up(service, now).length,
  })),
});
