// SPDX-License-Identifier: Apache-2.0
// The counters of the PSP specification as metrics with Linux's names, from the report of the dataplane.
import { specCounters } from '../../shared/spec_counters.js';
import { counter, type Metric } from './metric.js';

export const specMetrics: readonly Metric[] = specCounters.map(({ counter: name, linux, help }) =>
  counter(`psp_${linux.replaceAll('-', '_')}_total`, [], help, ({ stats }) =>
    stats.counters.filter((row) => row.name === name).map(({ value }) => [[], value]),
  ),
);
