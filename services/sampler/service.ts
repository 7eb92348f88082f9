// SPDX-License-Identifier: Apache-2.0
// Wires the sampler and orders its life. Start: folders, drop privileges, join the bus, accept samples. Stop: leave the
// bus, then write every sample that was acknowledged; each step has a deadline.
import { Backlog } from '../shared/backlog.js';
import { contracts } from '../shared/contracts.js';
import type { Logger } from '../shared/process/log.js';
import { type Outlet, Pump, standardOutlet } from '../shared/process/outlet.js';
import type { Dropped } from '../shared/process/privileges.js';
import { version } from '../shared/process/version.js';
import { within } from '../shared/process/within.js';
import { samplesHeader } from '../shared/samples/samples.js';
import type { RunningService } from '../shared/service/service_process.js';
import { ServiceRuntime } from '../shared/service/service_runtime.js';
import { Report } from './adapters/report.js';
import { prepareFolder, SampleFiles } from './adapters/sample_files.js';
import type { SamplerConfig } from './config.js';
import { Intake } from './core/intake.js';

const writeMs = 1000;
const retryMs = 1000;
/** Octets that are written at once. */
const chunkBytes = 1024 * 1024;

/**
 * Starts the service; resolves whether or not there is a bus.
 * @param drop drops privileges; called once nothing is left that needs them.
 * @param stdout where the lines go.
 */
export async function startSampler(
  config: SamplerConfig,
  log: Logger,
  drop: () => Dropped = () => ({ dropped: true }),
  stdout: Outlet = standardOutlet(),
): Promise<RunningService> {
  const { node, limits } = config;
  const { folder, owner, snapBytes, ...ring } = config.files;
  prepareFolder(folder, owner);
  const runtime = new ServiceRuntime('sampler', config, log);
  const files = new SampleFiles(folder, ring, samplesHeader(node, snapBytes, version));
  const lines = new Backlog(limits.linesBytes, chunkBytes);
  const packets = new Backlog(limits.packetsBytes, Math.min(chunkBytes, files.longestChunk));
  const pumpOf = (backlog: Backlog, outlet: Outlet, part: 'stdout' | 'files') =>
    new Pump(backlog, outlet, {
      retryMs,
      onState: (code, gone) => report.outletState(part, folder, code, gone),
    });
  const outputs = {
    lines: { backlog: lines, pump: pumpOf(lines, stdout, 'stdout') },
    packets: { backlog: packets, pump: pumpOf(packets, files, 'files') },
  };
  const intake = new Intake(lines, packets);
  const report = new Report(intake, outputs, files, log);
  for (const contract of [contracts.sampleEgress, contracts.sampleIngress, contracts.captureFailed]) {
    runtime.bus.respond(contract, (batch) => {
      intake.take(batch);
      outputs.lines.pump.kick();
      outputs.packets.pump.kick();
      return {};
    });
  }
  await runtime.begin(drop);
  const joined = runtime.join(() => report.read(), { apply: () => undefined });
  void joined.then(() => log.info({ folder }, 'sampler started'));
  return {
    joined,
    stop: async () => {
      await runtime.leave();
      await within(writeMs, Promise.all([outputs.lines.pump.finish(), outputs.packets.pump.finish()]));
      await within(writeMs, files.close()).catch((err: unknown) => log.error({ err }, 'files not closed'));
      const left = { lines: lines.queuedEntries, packets: packets.queuedEntries };
      if (left.lines + left.packets > 0) log.warn(left, 'samples left unwritten');
      log.info('sampler stopped');
    },
  };
}
