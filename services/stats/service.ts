// SPDX-License-Identifier: Apache-2.0
// Wires the stats service and orders its life. Start: listen, drop privileges, join the bus, receive reports; the pages
// answer from the first moment, whether or not there is a bus. Stop: in reverse, each step with a deadline.
import { moment } from '../shared/process/clock.js';
import type { Logger } from '../shared/process/log.js';
import type { Dropped } from '../shared/process/privileges.js';
import type { RunningService } from '../shared/service/service_process.js';
import { ServiceRuntime } from '../shared/service/service_runtime.js';
import { HttpServer } from './adapters/http_server.js';
import { listen } from './adapters/listener.js';
import { pagesOf } from './adapters/pages.js';
import { reportOf } from './adapters/report.js';
import { namedIn, type StatsConfig } from './config.js';
import { LatestReports } from './core/latest_reports.js';

const httpMs = 1500;

/**
 * Starts the service; resolves once the pages answer, whether or not there is a bus.
 * @param drop drops privileges; called once nothing is left that needs them.
 * @throws PspError ADDRESS_TAKEN, ADDRESS_UNUSABLE or FILE_UNWRITABLE.
 */
export async function startStats(
  config: StatsConfig,
  log: Logger,
  drop: () => Dropped = () => ({ dropped: true }),
): Promise<RunningService> {
  const runtime = new ServiceRuntime('stats', config, log);
  const { bus, startedMs } = runtime;
  const reports = new LatestReports(config, moment());
  listen(bus, reports);
  const isBusConnected = () => bus.connected;
  const http = new HttpServer(
    pagesOf({ node: config.node, reports, startedMs, isBusConnected }),
    (page, err) => log.error({ page, err }, 'page failed'),
  );
  await http.listen(config.listen);
  await runtime.begin(drop);
  const joined = runtime.join(() => reportOf(reports, http), {
    apply: (node) => reports.name(namedIn(node)),
  });
  log.info({ listen: config.listen }, 'stats started');
  return {
    joined,
    stop: async () => {
      await runtime.leave();
      await http.stop(httpMs);
      log.info('stats stopped');
    },
  };
}
