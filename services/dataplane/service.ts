// SPDX-License-Identifier: Apache-2.0
// Wires the dataplane and orders its life. Start: fence, engine, drop privileges, and packets move; then join the bus,
// for which nothing waits. Stop: in reverse, each step with a deadline.
import { randomBytes } from 'node:crypto';
import { formatEpoch } from '../shared/address.js';
import type { NodeConfig } from '../shared/config/config.js';
import { formatPath } from '../shared/config/cross_rules.js';
import type { PspError } from '../shared/errors.js';
import type { Logger } from '../shared/process/log.js';
import type { Dropped } from '../shared/process/privileges.js';
import { within } from '../shared/process/within.js';
import { BusSecretFile } from '../shared/service/bus_secret_file.js';
import { FaultList } from '../shared/service/fault_list.js';
import { FlowTraces } from '../shared/service/flow_traces.js';
import type { RunningService } from '../shared/service/service_process.js';
import { ServiceRuntime } from '../shared/service/service_runtime.js';
import { AuditReport } from './adapters/audit_report.js';
import { serve } from './adapters/bus_server.js';
import { Commands } from './adapters/commands.js';
import { dropReasons, type Engine, type EngineListener, openEngine } from './adapters/engine.js';
import { Executor } from './adapters/executor.js';
import { setFence } from './adapters/fence.js';
import { PortLinks } from './adapters/port_links.js';
import { Report, reportFences } from './adapters/report.js';
import { SamplerClient } from './adapters/sampler_client.js';
import { TopologyReload } from './adapters/topology_reload.js';
import { type DataplaneConfig, sliceOf } from './config.js';
import { Arbiter } from './core/arbiter.js';

/** Opens the engine; tests pass one that moves no packets. */
export type EngineOpener = (config: DataplaneConfig, epoch: bigint, listener: EngineListener) => Engine;

/** How often joined audit events and the bus secret are looked at. */
const tickMs = 1000;
/** For the engine to stop. */
const engineMs = 2500;
/** For samples that were sent to a sampler. */
const samplesMs = 1000;
/** For commands in progress. */
const settleMs = 500;
/** The engine holds twice as many inbound flows as egress flows. */
const inboundPerFlow = 2;

/**
 * Starts the service; resolves once packets move, whether or not there is a bus.
 * @param drop drops privileges; called once nothing is left that needs them.
 * @throws PspError of the table's "At start".
 */
export async function startDataplane(
  node: NodeConfig,
  log: Logger,
  drop: () => Dropped,
  open: EngineOpener = openEngine,
): Promise<RunningService> {
  const config = sliceOf(node);
  const epoch = randomBytes(8).readBigUInt64BE() | 1n;
  const { configured, engine: limits, maxTunnels, networks, times } = config;
  const maxInbound = inboundPerFlow * limits.maxFlows;
  const arbiter = new Arbiter({
    epoch,
    configured,
    maxInbound,
    maxTunnels,
    peers: [...networks.values()],
    random: Math.random,
    ...times,
  });
  let fail: (error: PspError) => void = () => undefined;
  const engineFailed = new Promise<PspError>((resolve) => {
    fail = resolve;
  });
  const runtime = new ServiceRuntime('dataplane', config, log, {
    epoch: formatEpoch(epoch),
    onBusState: (connected) => executor.busState(connected),
  });
  const { audit, bus, startedMs } = runtime;
  const auditReport = new AuditReport(config, audit, log);
  const sampler = new SamplerClient(bus, config, dropReasons());
  const engine: Engine = open(config, epoch, {
    onFact: (fact) => executor.on(fact),
    onSamples: (samples) => sampler.take(samples),
    onLink: (change) => links.changed(change),
  });
  const traces = new FlowTraces();
  const executor = new Executor(config, arbiter, engine, auditReport, bus, traces);
  const faults = new FaultList();
  const links = new PortLinks(config, log, auditReport, faults, (error) => fail(error));
  const secret = new BusSecretFile(config.busSecret, audit, faults, log);
  const commands = new Commands(config, arbiter, engine, executor, auditReport, secret, traces, log);
  serve(bus, { commands, engine, traces });

  const fences = await setFence(node);
  for (const { name, wasOpen } of fences) {
    if (wasOpen) log.warn({ interface: name }, 'link was up without a fence');
  }
  reportFences(fences, faults);
  const info = await engine.start();
  executor.start();
  await runtime.begin(drop);
  auditReport.configured(config);
  secret.begin(engine);
  const ticks = setInterval(() => {
    auditReport.tick();
    secret.look();
  }, tickMs);
  links.begin(info);
  const failed = engineFailed.then(async (error) => {
    clearInterval(ticks);
    auditReport.tick(true);
    await runtime.endAudit('failed');
    return error;
  });
  const { mtu } = info.secured;
  const wanted = mtu < info.wantedMtu ? { wanted: info.wantedMtu } : {};
  log.info({ crypto: info.crypto, mtu, ...wanted }, 'engine runs');
  for (const { kind, path, message } of config.warnings) {
    if (kind !== 'cryptOffset')
      log.warn({ err: `${formatPath(path)}: ${message}` }, 'less protection by configuration');
  }
  const report = new Report(config, { arbiter, engine, info, sampler, links, startedMs }, faults, log);
  const reloading = new TopologyReload(config, engine, executor, auditReport, log);
  const joined = runtime.join(() => report.read(), reloading);
  return {
    failed,
    joined,
    stop: async () => {
      // Commands end first, because the audit also records their results.
      await within(settleMs, bus.settle());
      await within(samplesMs, sampler.finish());
      clearInterval(ticks);
      auditReport.tick(true);
      await runtime.leave();
      executor.stop();
      await within(engineMs, engine.stop());
      log.info('dataplane stopped');
    },
  };
}
