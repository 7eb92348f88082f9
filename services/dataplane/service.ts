// SPDX-License-Identifier: Apache-2.0
// Wires the dataplane and orders its life. Start: fence, engine, give up rights, and packets move; then the
// bus, for which nothing waits. Stop: in reverse, each step with a deadline.
import { randomBytes } from 'node:crypto';
import { AuditTrail, makeAuditFolder } from '../shared/audit/trail.js';
import { Bus } from '../shared/bus/bus.js';
import type { NodeConfig } from '../shared/config/config.js';
import { formatPath } from '../shared/config/rules.js';
import type { PspError } from '../shared/errors.js';
import { LineGate } from '../shared/line_gate.js';
import { monotonicMs } from '../shared/process/clock.js';
import type { Logger } from '../shared/process/log.js';
import type { Dropped } from '../shared/process/privileges.js';
import { version } from '../shared/process/version.js';
import { within } from '../shared/process/within.js';
import { Auditor } from './adapters/audit_report.js';
import { serve } from './adapters/bus_server.js';
import { Commands } from './adapters/commands.js';
import { dropReasons, type Engine, type EngineListener, openEngine } from './adapters/engine.js';
import { Executor } from './adapters/executor.js';
import { setFence } from './adapters/fence.js';
import { Links } from './adapters/links.js';
import { Report } from './adapters/report.js';
import { Sampler } from './adapters/sampler_client.js';
import { type DataplaneConfig, sliceOf } from './config.js';
import { Arbiter } from './core/arbiter.js';

export interface Dataplane {
  /** Resolves to why the engine stopped by itself. */
  failed: Promise<PspError>;
  stop(): Promise<void>;
}

/** What a test puts in place of the world. */
export type EngineOpener = (config: DataplaneConfig, epoch: bigint, listener: EngineListener) => Engine;

const stepMs = 2500;
/** Of the first step, for samples on their way. */
const samplesMs = 1000;
/** For the commands that are under way. */
const settleMs = 500;
/** For the last events to reach the stream; what does not stays on disk. */
const auditMs = 1000;
/** The engine holds twice as many inbound flows as egress flows. */
const inboundPerFlow = 2;

/**
 * Starts the service; resolves once packets move, whether or not there is a bus.
 * @param onRunning called once nothing is left that needs more rights.
 * @throws PspError of the table's "At start".
 */
export async function startDataplane(
  node: NodeConfig,
  log: Logger,
  onRunning: () => Dropped,
  open: EngineOpener = openEngine,
): Promise<Dataplane> {
  const config = sliceOf(node);
  const epoch = randomBytes(8).readBigUInt64BE() | 1n;
  const { configured, engine: limits, times } = config;
  const arbiter = new Arbiter({ epoch, configured, maxInbound: inboundPerFlow * limits.maxFlows, ...times });
  let fail: (error: PspError) => void = () => undefined;
  const engineFailed = new Promise<PspError>((resolve) => {
    fail = resolve;
  });
  const auditFolder = makeAuditFolder(config.audit.stateDir, 'dataplane');
  const auditor = new Auditor(config.peers);
  const sampler = new Sampler(config.peers, dropReasons());
  const engine: Engine = open(config, epoch, {
    onFact: (fact) => executor.on(fact),
    onSamples: (samples) => sampler.take(samples),
    onLink: (change) => links.changed(change),
  });
  const executor = new Executor(config, arbiter, engine, auditor);
  const report = new Report(config, arbiter, engine, sampler);
  const links = new Links(
    config,
    log,
    {
      record: (data) => auditor.linkChanged(data),
      wrong: (part, message) => report.wrong(part, message),
      well: (part) => report.well(part),
    },
    (error) => fail(error),
  );
  const commands = new Commands(config, arbiter, engine, executor, auditor, log);

  const fences = await setFence(node);
  for (const { name, wasOpen } of fences) {
    if (wasOpen) log.warn({ interface: name }, 'link was up without a fence');
  }
  const info = await engine.start();
  report.started(info, links, fences);
  executor.start();
  const rights = onRunning();
  if (!rights.dropped) {
    log.info({ reason: rights.reason }, 'rights kept');
  }
  const about = { epoch: `0x${epoch.toString(16).padStart(16, '0')}` };
  const audit = await AuditTrail.begin(config.node, 'dataplane', auditFolder, config.audit, about);
  auditor.useTrail(audit);
  auditor.configured(config);
  links.begin(info);
  report.useAudit(audit);
  const failed = engineFailed.then(async (error) => {
    await within(stepMs, audit.end('failed', auditMs));
    return error;
  });
  const { mtu } = info.secured;
  // What it could not have of all that was asked for.
  const wanted = mtu < info.wantedMtu ? { wanted: info.wantedMtu } : {};
  log.info({ crypto: info.crypto, mtu, ...wanted }, 'engine runs');
  for (const { kind, path, message } of config.warnings) {
    if (kind !== 'cryptOffset')
      log.warn({ err: `${formatPath(path)}: ${message}` }, 'less protection by configuration');
  }

  const leaving = new AbortController();
  const joined = join();
  joined.catch((error: unknown) => {
    if (!leaving.signal.aborted) throw error;
  });
  return {
    failed,
    stop: async () => {
      leaving.abort();
      // What is done by command until the very end is told, so commands end first.
      await within(
        settleMs,
        joined.then(({ settle }) => settle()).catch(() => undefined),
      );
      await within(stepMs, audit.end('asked', auditMs));
      await within(
        stepMs,
        joined.then(({ leave }) => leave()).catch(() => undefined),
      );
      executor.stop();
      await within(stepMs, engine.stop());
      log.info('dataplane stopped');
    },
  };

  /** Joins the bus when it is there. @returns what takes no more commands, and what leaves it again. */
  async function join(): Promise<{ settle: () => Promise<void>; leave: () => Promise<void> }> {
    const faults = new LineGate();
    const bus = await Bus.connect({
      ...config.bus,
      node: config.node,
      user: 'dataplane',
      signal: leaving.signal,
      onWaiting: (reason) => log.warn({ code: reason.code, err: reason.message }, 'waiting for the bus'),
      onState: (connected) => {
        if (connected) log.info('bus connected');
        else log.warn('bus lost');
        executor.busState(connected);
      },
      onFault: (subject, err) => {
        const suppressed = faults.pass(subject, monotonicMs());
        if (suppressed !== undefined) log.error({ subject, err, suppressed }, 'bus message failed');
      },
    });
    const endStats = await serve(bus, version, { commands, engine, report });
    executor.useBus(bus);
    sampler.useBus(bus);
    log.info('bus connected');
    return {
      settle: () => bus.settle(),
      leave: async () => {
        endStats();
        await within(samplesMs, sampler.finish());
        await bus.close();
      },
    };
  }
}
