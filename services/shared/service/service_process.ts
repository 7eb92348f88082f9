// SPDX-License-Identifier: Apache-2.0
// A service as a process, the same for all services: `main.js --config FILE [--running FILE]`. `psp up` names the second
// one, which contains the configuration that the node runs (config/running_file.ts). A failure to start is one log line with its
// code and exit status 1, and so is a service that fails later. SIGTERM and SIGINT stop it in order; SIGHUP, SIGUSR1 and
// SIGUSR2 have no effect.
import { parseArgs } from 'node:util';
import type { NodeConfig } from '../config/config.js';
import { loadRunning } from '../config/running_file.js';
import type { Service } from '../contracts.js';
import { PspError } from '../errors.js';
import { createLogger, flushLog, type Logger, standardError } from '../process/log.js';
import { endWithParent, onDroppedLines, reportToParent } from '../process/parent.js';
import { type Dropped, dropPrivileges } from '../process/privileges.js';
import { ignoreSignals } from '../process/signals.js';

/** How long a process that ends waits for its last lines to be read. */
const lastLinesMs = 500;

/** A service that runs. */
export interface RunningService {
  /** Resolves once the bus is connected and has every handler. */
  joined: Promise<void>;
  /** Resolves to the error with which it failed; absent if it cannot fail. */
  failed?: Promise<PspError>;
  stop(): Promise<void>;
}

/** @param drop drops privileges for good; called once nothing is left that needs them. @throws PspError */
export type StartService = (node: NodeConfig, log: Logger, drop: () => Dropped) => Promise<RunningService>;

/** Runs a service until a signal or a failure ends it; then the process ends. Call it once, from main. */
export async function runService(service: Service, start: StartService): Promise<void> {
  let log = createLogger(service, '', 'info');
  const end = async (error: PspError, message: string): Promise<never> => {
    log.fatal({ code: error.code, err: error.message }, message);
    reportToParent(error);
    await flushLog(lastLinesMs);
    process.exit(1);
  };
  endWithParent();
  onDroppedLines((lines) => standardError().addDropped(lines));
  ignoreSignals('SIGHUP', 'SIGUSR2');
  try {
    const config = { type: 'string', default: '/etc/psp/node.yaml' } as const;
    const { values } = parseArgs({ options: { config, running: { type: 'string' } } });
    const node = loadRunning(values.config, values.running, process.env);
    log = createLogger(service, node.node, node.log.level);
    const running = await start(node, log, () => dropPrivileges(service));
    void running.failed?.then((error) => end(error, 'service ended by itself'));
    let stopping = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (stopping) return;
        stopping = true;
        void running
          .stop()
          .then(() => flushLog(lastLinesMs))
          .then(() => process.exit(0));
      });
    }
  } catch (error) {
    if (!(error instanceof PspError)) throw error;
    await end(error, 'service cannot start');
  }
}
