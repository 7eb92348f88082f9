// SPDX-License-Identifier: Apache-2.0
// The text format of Prometheus. A scrape is one moment: all families are made first and then written, so that they are
// consistent. prom-client writes them; each family is a collector of its own in a registry that lives for one scrape.
import { type Metric, Registry } from 'prom-client';
import type { Family } from '../core/metric.js';

export const expositionType: string = Registry.PROMETHEUS_CONTENT_TYPE;

export async function expositionOf(families: readonly Family[]): Promise<string> {
  const registry = new Registry();
  for (const family of families) registry.registerMetric(collectorOf(family));
  return registry.metrics();
}

/** All that a registry needs of a metric: its name, and its values when it is read. */
function collectorOf({ name, type, help, samples }: Family): Metric {
  const values = samples.map(({ suffix, labels, value }) => ({
    metricName: `${name}${suffix}`,
    labels,
    value,
  }));
  const collector = { name, get: async () => ({ name, type, help, values }) };
  return collector as unknown as Metric;
}
