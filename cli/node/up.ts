// SPDX-License-Identifier: Apache-2.0
// `psp up`: runs one whole node in the foreground, in the network namespace in which it is started (children.ts).
// Prints the line "ready" once all services answer; after that stdout belongs to the sampler. A child that hangs is
// restarted like one that died (watch.ts). SIGTERM or Ctrl-C stops the children in reverse order, nats-servers last;
// SIGHUP reloads the node file (node_reload.ts); SIGUSR1 and SIGUSR2 do nothing. If this process is killed, its children end too: nats-servers by the
// kernel's parent-death signal, services by their channel.
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Command } from 'commander';
import { isFencedAlike, replaceFence } from '../../services/dataplane/adapters/fence.js';
import { parseEndpoint } from '../../services/shared/address.js';
import {
  checkConfig,
  configInvalid,
  type NodeConfig,
  readConfig,
} from '../../services/shared/config/config.js';
import { runningFileOf, writeRunning } from '../../services/shared/config/running_file.js';
import { PspError } from '../../services/shared/errors.js';
import { createLogger, flushLog, type Logger } from '../../services/shared/process/log.js';
import { ignoreSignals } from '../../services/shared/process/signals.js';
import type { SharedOptions } from '../operator.js';
import { Reported } from '../output.js';
import { ChildLog } from './child_log.js';
import { childrenOf } from './children.js';
import { NodeReload } from './node_reload.js';
import { type Ended, Supervisor } from './supervisor.js';
import { attend, keepAudit } from './watch.js';

/** How long the last lines wait for a reader. */
const lastLinesMs = 500;

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command.action((_, command: Command) => up(command.optsWithGlobals()));
}

async function up({ config: file }: SharedOptions): Promise<void> {
  if (process.geteuid?.() !== 0) throw new PspError('RIGHTS_MISSING', { what: 'psp up', right: 'root' });
  const text = readConfig(file);
  const checked = checkConfig(text, file, process.env);
  if (!('config' in checked)) throw configInvalid(file, checked.faults);
  const { config } = checked;
  const log = createLogger('up', config.node, config.log.level);
  await demandFree(config.bus.listen, 'bus.listen');
  await demandFree(config.audit.listen, 'audit.listen');
  const runningFile = runningFileOf(config.stateDir);
  const children = childrenOf(config, runningFile);
  keepRunning(runningFile, text, config, log);
  const reload = new NodeReload(text, config, runningFile, log, {
    begin: async (before, next) => {
      isFenceOpen = !isFencedAlike(before, next);
      if (isFenceOpen) await replaceFence(before, next);
    },
    end: async (now) => {
      log.level = now.log.level;
      childLog.level = now.log.level;
      if (isFenceOpen) await replaceFence(now);
      isFenceOpen = false;
    },
  });

  let failed: Ended | undefined;
  /** The fence also allows what a former configuration needs. */
  let isFenceOpen = false;
  const end = new AbortController();
  const childLog = new ChildLog(config.node, config.log.level, (name, lines) =>
    supervisor.reportDropped(name, lines),
  );
  const supervisor: Supervisor = new Supervisor(children, {
    onLine: (name, line) => childLog.line(name, line),
    onSilent: (name) => log.error({ child: name }, 'child answers no probe and is ended'),
    onEnded: ({ name, code, signal, error }, ms) =>
      log.error({ child: name, exit: code, signal, err: error?.message, ms }, 'child ended and is restarted'),
    onFailed: (ended) => {
      failed = ended;
      end.abort();
    },
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => end.abort());
  ignoreSignals('SIGHUP', 'SIGUSR2');
  supervisor.start();
  const attended = Promise.all([
    attend(config, supervisor, reload, log, end.signal),
    keepAudit(config, supervisor, log, end.signal),
  ]);
  await new Promise((resolve) => end.signal.addEventListener('abort', resolve));
  await supervisor.stop();
  await attended;
  childLog.end();
  await flushLog(lastLinesMs);
  if (failed === undefined) return;
  process.stderr.write(`psp: ${whyOf(failed)}\n`);
  throw new Reported();
}

/** Hands the configuration to the services; without space on the disk they read the node file. */
function keepRunning(file: string, text: string, config: NodeConfig, log: Logger): void {
  try {
    writeRunning(file, text, config.source);
  } catch (error) {
    rmSync(file, { force: true });
    log.warn({ err: (error as Error).message }, 'services that are restarted read the node file');
  }
}

/** The closing line after a child could not start. */
function whyOf({ name, error, startFailure }: Ended): string {
  if (startFailure) return `${startFailure.code}: ${startFailure.message}`;
  return `FAILED: ${name} cannot start${error ? ` (${error.message})` : '; its last lines above say why'}`;
}

/** @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE. */
async function demandFree(listen: string, key: string): Promise<void> {
  const probe = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      probe.once('error', reject);
      probe.listen(parseEndpoint(listen), resolve);
    });
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    const code = detail === 'EADDRINUSE' ? 'ADDRESS_TAKEN' : 'ADDRESS_UNUSABLE';
    throw new PspError(code, { address: listen, key, detail }, { cause });
  }
  await new Promise((resolve) => probe.close(resolve));
}
