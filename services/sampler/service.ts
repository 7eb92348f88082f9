// SPDX-License-Identifier: Apache-2.0
// Wires the sampler and orders its life. Start: what is inherited and the folder, give up rights, join the bus,
// take samples. Stop: take no more, write all that was answered for, leave; each step with a deadline.
import { AuditTrail, makeAuditFolder } from '../shared/audit/trail.js';
import { Backlog } from '../shared/backlog.js';
import { Bus } from '../shared/bus/bus.js';
import { contracts } from '../shared/contracts.js';
import type { Logger } from '../shared/process/log.js';
import { type Outlet, Pump, standardOutlet } from '../shared/process/outlet.js';
import type { Dropped } from '../shared/process/privileges.js';
import { version } from '../shared/process/version.js';
import { within } from '../shared/process/within.js';
import { samplesHeader } from '../shared/samples/samples.js';
import { Report } from './adapters/report.js';
import { prepareFolder, SampleFiles } from './adapters/sample_files.js';
import type { SamplerConfig } from './config.js';
import { Intake } from './core/intake.js';

export interface Sampler {
  stop(): Promise<void>;
}

const busMs = 2500;
const writeMs = 1000;
const statsMs = 1000;
const retryMs = 1000;
/** For the last events to reach the stream; what does not stays on disk. */
const auditMs = 500;
/** Octets that are written at once. */
const chunkBytes = 1024 * 1024;

/**
 * Starts the service; waits for the bus as long as it takes.
 * @param onReady called once nothing is left that needs more rights.
 * @param stdout where the lines go.
 */
export async function startSampler(
  config: SamplerConfig,
  log: Logger,
  onReady: () => Dropped = () => ({ dropped: true }),
  stdout: Outlet = standardOutlet(),
): Promise<Sampler> {
  const { node, limits } = config;
  const { folder, owner, snapBytes, ...ring } = config.files;
  prepareFolder(folder, owner);
  const auditFolder = makeAuditFolder(config.audit.stateDir, 'sampler');
  const rights = onReady();
  if (!rights.dropped) log.info({ reason: rights.reason }, 'rights kept');
  const audit = await AuditTrail.begin(node, 'sampler', auditFolder, config.audit);
  const files = new SampleFiles(folder, ring, samplesHeader(node, snapBytes, version));
  const lines = new Backlog(limits.linesBytes, chunkBytes);
  const packets = new Backlog(limits.packetsBytes, Math.min(chunkBytes, files.longestChunk));
  const ways = {
    lines: { backlog: lines, pump: pumpOf(lines, stdout, 'stdout') },
    packets: { backlog: packets, pump: pumpOf(packets, files, 'files') },
  };
  const intake = new Intake(lines, packets);
  const report = new Report(node, intake, ways, files, log);
  report.useAudit(audit);
  function pumpOf(backlog: Backlog, outlet: Outlet, part: 'stdout' | 'files'): Pump {
    return new Pump(backlog, outlet, {
      retryMs,
      onState: (code, gone) => report.outletState(part, folder, code, gone),
    });
  }

  const bus = await Bus.connect({
    ...config.bus,
    node,
    user: 'sampler',
    onState: (connected) => report.busState(connected),
    onWaiting: ({ code, message }) => log.warn({ code, err: message }, 'waiting for the bus'),
    onFault: (subject, err) => log.error({ subject, err }, 'bus message failed'),
  });
  report.useBus(bus.counters);
  log.info('bus connected');
  const id = await bus.announce('Writes sampled packets as lines and files', version);
  for (const contract of [contracts.sampleEgress, contracts.sampleIngress, contracts.captureFailed]) {
    bus.respond(contract, (batch) => {
      intake.take(batch);
      ways.lines.pump.kick();
      ways.packets.pump.kick();
      return {};
    });
  }
  bus.respond(contracts.samplerStatus, () => report.status(id));
  const stats = setInterval(() => bus.publish(contracts.samplerStats, report.stats(id), id), statsMs);
  await bus.flush();
  log.info({ folder }, 'sampler started');
  return {
    stop: async () => {
      clearInterval(stats);
      await within(busMs, audit.end('asked', auditMs));
      await within(busMs, bus.close());
      await within(writeMs, Promise.all([ways.lines.pump.finish(), ways.packets.pump.finish()]));
      await within(writeMs, files.close()).catch((err: unknown) => log.error({ err }, 'files not closed'));
      const left = { lines: lines.queuedEntries, packets: packets.queuedEntries };
      if (left.lines + left.packets > 0) log.warn(left, 'samples left unwritten');
      log.info('sampler stopped');
    },
  };
}
