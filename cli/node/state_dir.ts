// SPDX-License-Identifier: Apache-2.0
// The folder `stateDir` of a node: one node at a time holds it, and each subfolder belongs to one user. The lock is
// the kernel's (flock), on a file that only root can open: it ends with the processes that hold it, however they end,
// and no other user can take it. The folders that audit needs are created again whenever they are missing, because a
// disk may come back empty, and the services that write there run as their own users and cannot create them.
import { spawnSync } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { makeAuditFolder } from '../../services/shared/audit/trail.js';
import { services } from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { ensureFolder } from '../../services/shared/process/folders.js';
import { accounts } from '../../services/shared/process/privileges.js';
import { makeFolder } from './new_files.js';

/** Exit code of flock(1) if another process holds the lock. */
const held = 1;

/**
 * Locks a node's folder for as long as the descriptor, or a copy that a child inherited, is open.
 * @param flock path of the program. @throws PspError FILE_UNWRITABLE or STATE_DIR_TAKEN
 */
export function lockStateDir(stateDir: string, flock: string): number {
  const file = join(stateDir, 'lock');
  let descriptor: number;
  try {
    makeFolder(stateDir);
    descriptor = openLock(file);
  } catch (cause) {
    const { code: detail = 'error', path = file } = cause as NodeJS.ErrnoException;
    const remedy = `set stateDir (${stateDir}) to a writable folder on a disk with free space`;
    throw new PspError('FILE_UNWRITABLE', { file: path, detail, remedy }, { cause });
  }
  const stdio = ['ignore', 'ignore', 'pipe', descriptor] as const;
  const { status, stderr } = spawnSync(flock, ['-x', '-n', '3'], { stdio: [...stdio] });
  if (status === 0) return descriptor;
  const holder = status === held ? holderOf(fstatSync(descriptor).ino) : undefined;
  closeSync(descriptor);
  if (status === held) {
    throw new PspError('STATE_DIR_TAKEN', {
      folder: stateDir,
      holder: holder === undefined ? 'its process is not visible from here' : `process ${holder}`,
    });
  }
  const detail = stderr?.toString().trim() || `flock ended with ${status}`;
  throw new PspError('FILE_UNWRITABLE', {
    file,
    detail,
    remedy: 'put stateDir on a disk that supports file locks',
  });
}

/** An existing file can be opened even on a disk that is full or read-only. */
function openLock(file: string): number {
  try {
    return openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  }
}

/** The process that holds a lock on this file; the first one if there are several, as after a fork. */
function holderOf(inode: number): number | undefined {
  const lock = new RegExp(`^lock:.* FLOCK .*:${inode} `, 'm');
  const has = (pid: number): boolean =>
    filesIn(`/proc/${pid}/fdinfo`).some((name) => {
      try {
        return lock.test(readFileSync(`/proc/${pid}/fdinfo/${name}`, 'latin1'));
      } catch {
        return false;
      }
    });
  return filesIn('/proc').map(Number).filter(Boolean).find(has);
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The folder of the audit server's stream. */
export const streamFolderOf = (stateDir: string): string => join(stateDir, 'jetstream');

/**
 * Creates the missing folders that audit needs. @returns an id of the stream's folder, which changes after a disk was
 * lost or came back. @throws Error
 */
export function ensureAuditFolders(stateDir: string): string {
  for (const service of services) makeAuditFolder(stateDir, service);
  const folder = streamFolderOf(stateDir);
  ensureFolder(folder, { mode: 0o700, owner: accounts['nats-server'] });
  const { dev, ino } = statSync(folder);
  return `${dev}:${ino}`;
}
