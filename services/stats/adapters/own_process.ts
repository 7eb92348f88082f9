// SPDX-License-Identifier: Apache-2.0
// What Prometheus's own client libraries tell of the process that is scraped. These are of this replica alone;
// all else on /metrics is the node's.
import type { Family } from '../core/metric.js';

const own = (name: string, type: 'counter' | 'gauge', help: string, value: number): Family => ({
  name,
  type,
  help,
  samples: [{ suffix: '', labels: {}, value }],
});

export function ownProcessFamilies(startedMs: number): Family[] {
  const { user, system } = process.cpuUsage();
  return [
    own('process_cpu_seconds_total', 'counter', 'CPU time of this process.', (user + system) / 1e6),
    own('process_resident_memory_bytes', 'gauge', 'Memory of this process.', process.memoryUsage.rss()),
    own('process_start_time_seconds', 'gauge', 'Start time of this process.', startedMs / 1000),
  ];
}
