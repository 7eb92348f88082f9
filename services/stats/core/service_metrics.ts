// SPDX-License-Identifier: Apache-2.0
// What every service reports alike: that it is there, what is wrong, and its counters by name. The table of services says
// which counters may fall again: those are gauges.
import { isGauge, type Service } from '../../shared/contracts.js';
import { specCounters } from '../../shared/spec_counters.js';
import type { ReplicaReport } from './latest_reports.js';
import { atSeconds, counter, gauge, type Metric } from './metric.js';

/** Whether a counter has a metric of its own (spec_metrics.ts). */
const hasOwn = (service: Service, name: string): boolean =>
  service === 'dataplane' && specCounters.some(({ counter }) => counter === name);

const named = (report: ReplicaReport, level: boolean) =>
  report.stats.counters
    .filter(({ name }) => !hasOwn(report.service, name) && isGauge(report.service, name) === level)
    .map(({ name, value }) => [[report.service, name], value] as const);

export const serviceMetrics: readonly Metric[] = [
  counter('psp_service_events_total', ['service', 'name'], 'Counters of a service, by name.', (report) =>
    named(report, false),
  ),
  gauge('psp_service_level', ['service', 'name'], 'Gauges of a service, by name.', (report) =>
    named(report, true),
  ),
  gauge('psp_service_faults', ['service'], 'Number of faults that a service reports.', (report) => [
    [[report.service], report.stats.health.length],
  ]),
  gauge('psp_service_start_time_seconds', ['service'], 'Start time of a service.', (report) =>
    atSeconds([report.service], report.stats.startedMs),
  ),
  gauge(
    'psp_config_last_reload_successful',
    ['service'],
    '1 if the node file was applied when it was read last, 0 if it was refused.',
    ({ service, stats }) =>
      stats.config === undefined ? [] : [[[service], stats.config.refusal === '' ? 1 : 0]],
  ),
  gauge(
    'psp_config_last_reload_timestamp_seconds',
    ['service'],
    'When the node file was read last.',
    ({ service, stats }) => atSeconds([service], stats.config?.readMs ?? 0n),
  ),
  gauge(
    'psp_config_restart_keys',
    ['service'],
    'Keys of the node file that take effect with the next start of the node.',
    ({ service, stats }) =>
      stats.config === undefined ? [] : [[[service], stats.config.restartKeys.length]],
  ),
  gauge('psp_build_info', ['service', 'version'], 'Always 1; the version of a service.', (report) => [
    [[report.service, report.stats.version], 1],
  ]),
];
