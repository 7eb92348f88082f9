// SPDX-License-Identifier: Apache-2.0
// What every service reports alike: that it is there, what is wrong, and its counters by name. The table of services says
// which counters may fall again: those are gauges.
import { type Service, serviceRow } from '../../shared/contracts.js';
import { specCounters } from '../../shared/spec_counters.js';
import type { Word } from './latest_reports.js';
import { atSeconds, counter, gauge, type Metric } from './metric.js';

/** Gauges that every service has. */
const gaugesOfAll = ['auditBacklog'];

const isLevel = (service: Service, name: string): boolean =>
  serviceRow(service).gauges.includes(name) || gaugesOfAll.includes(name);

/** It has a metric of its own: spec_metrics.ts. */
const hasOwn = (service: Service, name: string): boolean =>
  service === 'dataplane' && specCounters.some(({ counter }) => counter === name);

const named = (word: Word, level: boolean) =>
  word.stats.counters
    .filter(({ name }) => !hasOwn(word.service, name) && isLevel(word.service, name) === level)
    .map(({ name, value }) => [[word.service, name], value] as const);

export const serviceMetrics: readonly Metric[] = [
  counter('psp_service_events_total', ['service', 'name'], 'Counters of a service, by name.', (word) =>
    named(word, false),
  ),
  gauge('psp_service_level', ['service', 'name'], 'Gauges of a service, by name.', (word) =>
    named(word, true),
  ),
  gauge('psp_service_faults', ['service'], 'Number of faults that a service reports.', (word) => [
    [[word.service], word.stats.health.length],
  ]),
  gauge('psp_service_start_time_seconds', ['service'], 'Start time of a service.', (word) =>
    atSeconds([word.service], word.stats.startedMs),
  ),
  gauge('psp_build_info', ['service', 'version'], 'Always 1; the version of a service.', (word) => [
    [[word.service, word.stats.version], 1],
  ]),
];
