// SPDX-License-Identifier: Apache-2.0
// Wires the stats service and orders its life. Start: listen, give up rights, join the bus, hear; the pages
// answer from the first moment, whether or not there is a bus. Stop: in reverse, each step with a deadline.
import { AuditTrail, makeAuditFolder } from '../shared/audit/trail.js';
import { Bus } from '../shared/bus/bus.js';
import { contracts } from '../shared/contracts.js';
import { unixMs } from '../shared/process/clock.js';
import type { Logger } from '../shared/process/log.js';
import type { Dropped } from '../shared/process/privileges.js';
import { version } from '../shared/process/version.js';
import { within } from '../shared/process/within.js';
import { HttpServer } from './adapters/http_server.js';
import { listen } from './adapters/listener.js';
import { moment, pagesOf } from './adapters/pages.js';
import { Report } from './adapters/report.js';
import type { StatsConfig } from './config.js';
import { LatestReports } from './core/latest_reports.js';

export interface Stats {
  stop(): Promise<void>;
}

const stepMs = 1500;
const statsMs = 1000;
/** For the last events to reach the stream; what does not stays on disk. */
const auditMs = 500;

/**
 * Starts the service; resolves once the pages answer, whether or not there is a bus.
 * @param onListening called once nothing is left that needs more rights.
 * @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE.
 */
export async function startStats(
  config: StatsConfig,
  log: Logger,
  onListening: () => Dropped = () => ({ dropped: true }),
): Promise<Stats> {
  const startedMs = unixMs();
  const words = new LatestReports(config, moment());
  let bus: Bus | undefined;
  const isBusConnected = () => bus?.connected ?? false;
  const http = new HttpServer(pagesOf({ node: config.node, words, startedMs, isBusConnected }), (page, err) =>
    log.error({ page, err }, 'page failed'),
  );
  await http.listen(config.listen);
  const auditFolder = makeAuditFolder(config.audit.stateDir, 'stats');
  const rights = onListening();
  if (!rights.dropped) log.info({ reason: rights.reason }, 'rights kept');
  const audit = await AuditTrail.begin(config.node, 'stats', auditFolder, config.audit);
  log.info({ listen: config.listen }, 'stats started');
  const report = new Report(config.node, startedMs, words, http);
  const leaving = new AbortController();
  const joined = join();
  joined.catch((error: unknown) => {
    if (!leaving.signal.aborted) throw error;
  });
  return {
    stop: async () => {
      leaving.abort();
      await within(stepMs, audit.end('asked', auditMs));
      await within(
        stepMs,
        joined.then((leave) => leave()).catch(() => undefined),
      );
      await http.stop(stepMs);
      log.info('stats stopped');
    },
  };

  /** Joins the bus when it is there. @returns what leaves it again. */
  async function join(): Promise<() => Promise<void>> {
    const joinedBus = await Bus.connect({
      ...config.bus,
      node: config.node,
      user: 'stats',
      signal: leaving.signal,
      onState: (connected) => {
        if (connected) log.info('bus connected');
        else log.warn('bus lost');
      },
      onWaiting: ({ code, message }) => log.warn({ code, err: message }, 'waiting for the bus'),
      onFault: (subject, err) => log.error({ subject, err }, 'bus message failed'),
    });
    report.useBus(joinedBus.counters);
    report.useAudit(audit);
    const id = await joinedBus.announce('Serves counters and health to monitoring', version);
    listen(joinedBus, words);
    joinedBus.respond(contracts.statsStatus, () => report.status(id));
    await joinedBus.flush();
    bus = joinedBus;
    log.info('bus connected');
    const stats = setInterval(() => joinedBus.publish(contracts.statsStats, report.stats(id), id), statsMs);
    return async () => {
      clearInterval(stats);
      await joinedBus.close();
    };
  }
}
