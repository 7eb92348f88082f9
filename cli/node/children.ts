// SPDX-License-Identifier: Apache-2.0
// The processes of a node, in the order of their start: the nats-server for everything except audit, the one with the
// audit stream, without which the node can run for a while, then the services.
import { existsSync, rmSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderAuditConfig, renderBusConfig, serverName } from '../../services/shared/bus/nats_config.js';
import { readPassword } from '../../services/shared/bus/secret.js';
import type { NodeConfig } from '../../services/shared/config/config.js';
import {
  type BusServer,
  type BusUser,
  busUsers,
  serviceRow,
  services,
} from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { accounts } from '../../services/shared/process/privileges.js';
import { nodeOptions } from '../../services/shared/process/signals.js';
import { privateFile } from './private_file.js';
import { ensureAuditFolders, lockStateDir, streamFolderOf } from './state_dir.js';
import type { ChildSpec } from './supervisor.js';

export const busServer = 'nats-server';
export const auditServer = 'nats-audit';

const stopMs = 5000;
/** Consecutive probes without an answer: 5 take at least ten seconds. A restart of a service costs tunnels. */
const silentProbes = { server: 5, service: 10 };
/** A start may take long: that of the dataplane on a large machine, that of the audit server with a large stream. */
const firstAnswerMs = { audit: 600_000, other: 60_000 };

/**
 * Also locks `stateDir`: the lock lasts as long as this process and the server that writes there.
 * @param runningFile from which services read their configuration.
 */
export function childrenOf(config: NodeConfig, runningFile: string): ChildSpec[] {
  const { node, bus, audit, files, stateDir } = config;
  const lock = lockStateDir(stateDir, programIn('flock', 'util-linux'));
  try {
    // Earlier versions wrote one there, which contains passwords.
    if (existsSync(join(stateDir, 'nats.conf'))) rmSync(join(stateDir, 'nats.conf'));
    ensureAuditFolders(stateDir);
  } catch {
    // The node runs without it; watch.ts reports it and tries again.
  }
  const passwords = Object.fromEntries(
    busUsers.map((user) => [user, readPassword(files.passwords, user)]),
  ) as Record<BusUser, string>;
  const folder = streamFolderOf(stateDir);
  const account = accounts['nats-server'];
  const as = ['--reuid', account.uid, '--regid', account.gid, '--clear-groups', '--pdeathsig', 'KILL'].map(
    String,
  );
  const command = programIn('setpriv', 'util-linux');
  const program = programIn('nats-server', 'nats-server');
  const nats = (name: string, server: BusServer, content: string): ChildSpec => ({
    name,
    command,
    // Its name in the process list distinguishes the two servers.
    args: [...as, program, '--config', '/proc/self/fd/3', '--name', serverName(node, server)],
    stopMs,
    silentProbes: silentProbes.server,
    firstAnswerMs: server === 'audit' ? firstAnswerMs.audit : firstAnswerMs.other,
    descriptors: [privateFile(content, account)],
    channel: false,
    stdout: 'stderr',
  });
  const forAudit = { node, listen: audit.listen, passwords, folder, streamBytes: audit.streamBytes };
  const server = nats(auditServer, 'audit', renderAuditConfig(forAudit));
  const servers: ChildSpec[] = [
    nats(busServer, 'bus', renderBusConfig({ node, listen: bus.listen, passwords })),
    { ...server, isOptional: true, descriptors: [...(server.descriptors ?? []), lock] },
  ];
  const programs = services.map(
    (service): ChildSpec => ({
      name: service,
      command: process.execPath,
      args: [
        ...nodeOptions,
        fileURLToPath(new URL(`../../services/${service}/main.js`, import.meta.url)),
        '--config',
        config.files.config,
        '--running',
        runningFile,
      ],
      stopMs,
      silentProbes: silentProbes.service,
      firstAnswerMs: firstAnswerMs.other,
      channel: true,
      stdout: serviceRow(service).ownsStdout ? 'stdout' : 'stderr',
    }),
  );
  return [...servers, ...programs];
}

/**
 * @throws PspError FILE_UNREADABLE, which names the package.
 */
function programIn(name: string, debianPackage: string): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/bin', '/usr/bin'];
  for (const folder of folders.filter((each) => each !== '')) {
    const path = join(folder, name);
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) return path;
  }
  const remedy = `install it (Debian: apt install ${debianPackage})`;
  throw new PspError('FILE_UNREADABLE', { file: name, detail: 'it is not in PATH', remedy });
}
