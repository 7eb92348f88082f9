// SPDX-License-Identifier: Apache-2.0
// The four pages. /livez: this process answers. /readyz: it receives the dataplane's reports, so its metrics are current.
// /healthz: the health of every service. /metrics: for Prometheus.
import { moment } from '../../shared/process/clock.js';
import { familiesOf } from '../core/families.js';
import type { LatestReports } from '../core/latest_reports.js';
import { nodeHealthOf } from '../core/node_health.js';
import { expositionOf, expositionType } from './exposition.js';
import type { Page, Pages } from './http_server.js';
import { ownProcessFamilies } from './own_process.js';

export interface PageSources {
  node: string;
  reports: LatestReports;
  startedMs: number;
  isBusConnected(): boolean;
}

const text = (status: number, body: string): Page => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${body}\n`,
});

export function pagesOf({ node, reports, startedMs, isBusConnected }: PageSources): Pages {
  return {
    '/livez': () => text(200, 'ok'),
    '/readyz': () => {
      if (!isBusConnected()) return text(503, 'the bus is not connected');
      if (reports.up('dataplane', moment()).length === 0) return text(503, 'the dataplane does not report');
      return text(200, 'ok');
    },
    '/healthz': () => {
      const health = nodeHealthOf(node, reports, moment());
      return {
        status: health.ok ? 200 : 503,
        type: 'application/json; charset=utf-8',
        body: `${JSON.stringify(health, undefined, 2)}\n`,
      };
    },
    '/metrics': async () => ({
      status: 200,
      type: expositionType,
      body: await expositionOf([...familiesOf(reports, moment()), ...ownProcessFamilies(startedMs)]),
    }),
  };
}
