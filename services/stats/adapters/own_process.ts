// SPDX-License-Identifier: Apache-2.0
// The process metrics that Prometheus's client libraries export. They are about this replica alone; all other metrics are
// about the node.
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
