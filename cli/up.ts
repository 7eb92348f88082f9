// SPDX-License-Identifier: Apache-2.0
// `psp up`: one whole node in the foreground, in whatever network namespace it is started in: nats-server with a
// freshly rendered configuration, then the services, each under a user of its own. Prints the line "ready" once
// all of them answer; after that stdout is the sampler's. SIGTERM or Ctrl-C stops them in reverse order,
// nats-server last; SIGHUP, SIGUSR1 and SIGUSR2 do nothing. Were it killed, its children end too: nats-server by the
// kernel's parent-death signal, services by their channel.
import { chmodSync, chownSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { parseEndpoint } from '../services/shared/address.js';
import { Bus } from '../services/shared/bus.js';
import { readPassword } from '../services/shared/bus_secret.js';
import { loadConfig, type NodeConfig } from '../services/shared/config.js';
import { type BusUser, busUsers, services } from '../services/shared/contracts.js';
import { PspError } from '../services/shared/errors.js';
import { createLogger, flushLog, type Logger } from '../services/shared/log.js';
import { renderNatsConfig } from '../services/shared/nats_config.js';
import { accounts } from '../services/shared/privileges.js';
import { ignoreSignals, nodeOptions } from '../services/shared/signals.js';
import { Connects, keepStream } from './audit_stream.js';
import { ChildLog } from './child_log.js';
import { makeFolder } from './new_files.js';
import type { SharedOptions } from './operator.js';
import { print, Told } from './output.js';
import { type ChildSpec, type Ended, Supervisor } from './supervisor.js';

const stopMs = 5000;
/** How long our last lines wait for a reader. */
const lastLinesMs = 500;
const discoverMs = 250;
/** After this, what is still missing is told. */
const impatientMs = 10_000;

export function addUp(program: Command): void {
  program
    .command('up')
    .description('run one whole node in the foreground; prints "ready" when all services answer')
    .action((_, command: Command) => up(command.optsWithGlobals()));
}

async function up({ config: file }: SharedOptions): Promise<void> {
  if (process.geteuid?.() !== 0) throw new PspError('RIGHTS_MISSING', { what: 'psp up', right: 'root' });
  const config = loadConfig(file, process.env);
  const log = createLogger('up', config.node, config.log.level);
  await demandFree(config.bus.listen);
  const children = specsOf(config, writeNatsConfig(config));

  let failed: Ended | undefined;
  const end = new AbortController();
  const childLog = new ChildLog(config.node, config.log.level, (name, lines) =>
    supervisor.reportDropped(name, lines),
  );
  const supervisor: Supervisor = new Supervisor(children, {
    onLine: (name, line) => childLog.line(name, line),
    onEnded: ({ name, code, signal, error }, ms) =>
      log.error({ child: name, exit: code, signal, err: error?.message, ms }, 'child ended and is restarted'),
    onFailed: (ended) => {
      failed = ended;
      end.abort();
    },
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => end.abort());
  ignoreSignals('SIGHUP', 'SIGUSR2');
  process.on('SIGHUP', () => log.warn('SIGHUP is ignored; restart the node to apply a changed node file'));
  supervisor.start();
  const attended = attend(config, supervisor, log, end.signal);
  await new Promise((resolve) => end.signal.addEventListener('abort', resolve));
  await supervisor.stop();
  await attended;
  childLog.end();
  await flushLog(lastLinesMs);
  if (failed === undefined) return;
  process.stderr.write(`psp: ${whyOf(failed)}\n`);
  throw new Told();
}

/** The closing line after a child could not start. */
function whyOf({ name, error, lastWords }: Ended): string {
  if (lastWords) return `${lastWords.code}: ${lastWords.message}`;
  return `FAILED: ${name} cannot start${error ? ` (${error.message})` : '; its last lines above say why'}`;
}

function specsOf(config: NodeConfig, natsConfig: string): ChildSpec[] {
  const { uid, gid } = accounts['nats-server'];
  const as = ['--reuid', uid, '--regid', gid, '--clear-groups', '--pdeathsig', 'TERM'].map(String);
  const nats: ChildSpec = {
    name: 'nats-server',
    command: programIn('setpriv', 'util-linux'),
    args: [...as, programIn('nats-server', 'nats-server'), '-c', natsConfig],
    stopMs,
    channel: false,
    stdout: 'stderr',
  };
  const node = services.map(
    (service): ChildSpec => ({
      name: service,
      command: process.execPath,
      args: [
        ...nodeOptions,
        fileURLToPath(new URL(`../services/${service}/main.js`, import.meta.url)),
        '--config',
        config.files.config,
      ],
      stopMs,
      channel: true,
      stdout: service === 'sampler' ? 'stdout' : 'stderr',
    }),
  );
  return [nats, ...node];
}

/** Renders nats.conf into stateDir for nats-server alone. @returns its path. @throws PspError FILE_UNWRITABLE. */
function writeNatsConfig(config: NodeConfig): string {
  const { node, bus, files, stateDir, audit } = config;
  const passwords = Object.fromEntries(
    busUsers.map((user) => [user, readPassword(files.passwords, user)]),
  ) as Record<BusUser, string>;
  return inStateDir(config, () => {
    const path = join(stateDir, 'nats.conf');
    const draft = `${path}.new`;
    makeFolder(stateDir);
    const jetStream = { folder: makeStreamFolder(stateDir), streamBytes: audit.streamBytes };
    rmSync(draft, { force: true });
    writeFileSync(draft, renderNatsConfig({ node, listen: bus.listen, passwords, jetStream }), {
      flag: 'wx',
      mode: 0o600,
    });
    chownSync(draft, 0, accounts['nats-server'].gid);
    chmodSync(draft, 0o640);
    renameSync(draft, path);
    return path;
  });
}

/** Does work in stateDir. @throws PspError FILE_UNWRITABLE that names the key, when the disk or a folder refuses it. */
function inStateDir<T>({ stateDir }: NodeConfig, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const { code = 'error', path = stateDir } = cause as NodeJS.ErrnoException;
    const { file = path, detail = code } = cause instanceof PspError ? cause.data : {};
    const remedy = `give stateDir (${stateDir}) a folder that may be written, on a disk with room`;
    throw new PspError('FILE_UNWRITABLE', { file, detail, remedy }, { cause });
  }
}

/** Where nats-server keeps streams; nobody else looks there. */
function makeStreamFolder(stateDir: string): string {
  const folder = join(stateDir, 'jetstream');
  const { uid, gid } = accounts['nats-server'];
  mkdirSync(folder, { recursive: true });
  chownSync(folder, uid, gid);
  chmodSync(folder, 0o700);
  return folder;
}

/** @throws PspError FILE_UNREADABLE that names the package. */
function programIn(name: string, debianPackage: string): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/bin', '/usr/bin'];
  for (const folder of folders.filter((each) => each !== '')) {
    const path = join(folder, name);
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) return path;
  }
  const remedy = `install it (Debian: apt install ${debianPackage})`;
  throw new PspError('FILE_UNREADABLE', { file: name, detail: 'it is not in PATH', remedy });
}

/** @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE. */
async function demandFree(listen: string): Promise<void> {
  const probe = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      probe.once('error', reject);
      probe.listen(parseEndpoint(listen), resolve);
    });
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    const code = detail === 'EADDRINUSE' ? 'ADDRESS_TAKEN' : 'ADDRESS_UNUSABLE';
    throw new PspError(code, { address: listen, key: 'bus.listen', detail }, { cause });
  }
  await new Promise((resolve) => probe.close(resolve));
}

/** What `psp up` does on the bus while its children run. */
async function attend(
  config: NodeConfig,
  supervisor: Supervisor,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const connects = new Connects();
  const bus = await Bus.connect({
    node: config.node,
    server: config.bus.listen,
    user: 'operator',
    password: readPassword(config.files.passwords, 'operator'),
    onState: (connected) => connected && connects.tell(),
    signal,
  }).catch(() => undefined);
  if (bus === undefined) return;
  supervisor.ready('nats-server');
  const kept = keepStream(bus, config.audit.streamBytes, connects, log, signal);
  await announce(bus, supervisor, log, signal);
  await kept;
  await bus.close();
}

/** Prints "ready" once every service has answered. */
async function announce(bus: Bus, supervisor: Supervisor, log: Logger, signal: AbortSignal): Promise<void> {
  const missing = new Set<string>(services);
  const impatience = setTimeout(
    () => log.warn({ missing: [...missing] }, 'services do not answer yet'),
    impatientMs,
  );
  while (missing.size > 0 && !signal.aborted) {
    for (const { name } of await bus.discover(discoverMs).catch(() => [])) {
      supervisor.ready(name);
      missing.delete(name);
    }
    await delay(50);
  }
  clearTimeout(impatience);
  if (missing.size === 0) print('ready');
}
