// SPDX-License-Identifier: Apache-2.0
// All metrics of a node at one moment, from the last words alone: two stats replicas that heard the same say the
// same.
import { services } from '../../shared/contracts.js';
import type { Moment } from '../../shared/moment.js';
import { dataplaneMetrics } from './dataplane_metrics.js';
import { keyExchangeMetrics } from './keyexchange_metrics.js';
import type { LatestReports } from './latest_reports.js';
import { type Family, familyOf } from './metric.js';
import { serviceMetrics } from './service_metrics.js';
import { specMetrics } from './spec_metrics.js';

export function familiesOf(words: LatestReports, now: Moment): Family[] {
  const replicas = words.replicas('keyexchange', now);
  return [
    upFamily(words, now),
    ...dataplaneMetrics.map((metric) => familyOf(metric, words.replicas('dataplane', now))),
    ...specMetrics.map((metric) => familyOf(metric, words.replicas('dataplane', now))),
    ...keyExchangeMetrics.map((metric) => familyOf(metric, replicas)),
    ...serviceMetrics.map((metric) =>
      familyOf(
        metric,
        services.flatMap((service) => words.replicas(service, now)),
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

const upFamily = (words: LatestReports, now: Moment): Family => ({
  name: upMetric.name,
  type: upMetric.type,
  help: upMetric.help,
  samples: services.map((service) => ({
    suffix: '',
    labels: { service },
    value: words.up(service, now).length,
  })),
});
