// SPDX-License-Identifier: Apache-2.0
// A metric: a name and a unit by Prometheus's rules, a fixed list of labels, and how its values are read from the latest
// report of a service. A family is a metric with the samples of one moment.
import type { Histogram } from '../../../proto/gen/bus.js';
import type { ReplicaReport } from './latest_reports.js';

export type MetricType = 'counter' | 'gauge' | 'histogram';

/** Values of the labels in order, and the value. */
export type Row = readonly [labels: readonly string[], value: number | bigint];

export interface Metric {
  name: string;
  type: MetricType;
  /** Labels in the order of rows; the label of the replica is appended. */
  labels: readonly string[];
  help: string;
  read: (report: ReplicaReport) => readonly Row[];
  /** For a histogram, in place of `read`. */
  readHistogram?: (report: ReplicaReport) => Histogram | undefined;
}

export interface Sample {
  /** Appended to the family's name: "_bucket", "_sum", "_count" or nothing. */
  suffix: string;
  labels: Record<string, string>;
  value: number;
}

export interface Family {
  name: string;
  type: MetricType;
  help: string;
  samples: Sample[];
}

type Read = Metric['read'];
const metric =
  (type: MetricType) =>
  (name: string, labels: readonly string[], help: string, read: Read): Metric => ({
    name,
    type,
    labels,
    help,
    read,
  });
export const counter = metric('counter');
export const gauge = metric('gauge');
export const histogram = (
  name: string,
  help: string,
  readHistogram: (report: ReplicaReport) => Histogram | undefined,
): Metric => ({ name, type: 'histogram', labels: [], help, read: () => [], readHistogram });

/** Unix milliseconds as seconds; no row for 0, which is never. */
export const atSeconds = (labels: readonly string[], unixMs: bigint): Row[] =>
  unixMs === 0n ? [] : [[labels, Number(unixMs) / 1000]];

/** The samples of one metric. They have the id of their replica, except those of the dataplane, which has no replicas. */
export function familyOf(metric: Metric, reports: readonly ReplicaReport[]): Family {
  const { name, type, help } = metric;
  return { name, type, help, samples: reports.flatMap((report) => samplesOf(metric, report)) };
}

function samplesOf({ labels, read, readHistogram }: Metric, report: ReplicaReport): Sample[] {
  const replica: Record<string, string> = report.service === 'dataplane' ? {} : { replica: report.stats.id };
  const rows = read(report).map(([values, value]) => ({
    suffix: '',
    labels: { ...Object.fromEntries(labels.map((label, i) => [label, values[i] ?? ''])), ...replica },
    value: Number(value),
  }));
  const observed = readHistogram?.(report);
  return observed === undefined ? rows : [...rows, ...bucketsOf(observed, replica)];
}

function bucketsOf({ upperBounds, counts, sum }: Histogram, labels: Record<string, string>): Sample[] {
  const bounds = [...upperBounds.map(String), '+Inf'];
  const buckets = bounds.map((le, i) => ({
    suffix: '_bucket',
    labels: { le, ...labels },
    value: Number(counts[i] ?? 0n),
  }));
  return [
    ...buckets,
    { suffix: '_sum', labels, value: sum },
    { suffix: '_count', labels, value: Number(counts.at(-1) ?? 0n) },
  ];
}
