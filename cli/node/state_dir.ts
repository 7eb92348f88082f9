// SPDX-License-Identifier: Apache-2.0
// The folder `stateDir` of a node: one node at a time holds it, and what lies in it is for one user each. The lock is
// the kernel's (flock), on a file that only root can open: it ends with the processes that hold it, however they end,
// and nobody else can take it. What audit needs here is made again whenever it is missing, because a disk may come
// back empty; whoever writes here does so as its own user and cannot make its folder.
import { spawnSync } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { makeAuditFolder } from '../../services/shared/audit/trail.js';
import { services } from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { ensureFolder } from '../../services/shared/process/folders.js';
import { accounts } from '../../services/shared/process/privileges.js';
import { makeFolder } from './new_files.js';

/** Exit code of flock(1) when somebody else holds the lock. */
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
    const remedy = `give stateDir (${stateDir}) a folder that may be written, on a disk with room`;
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
      holder: holder === undefined ? 'its process cannot be seen from here' : `process ${holder}`,
    });
  }
  const detail = stderr?.toString().trim() || `flock ended with ${status}`;
  throw new PspError('FILE_UNWRITABLE', {
    file,
    detail,
    remedy: 'give stateDir a disk that knows file locks',
  });
}

/** A disk that is full or read-only still gives out a file that is there. */
function openLock(file: string): number {
  try {
    return openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  }
}

/** The process that holds a lock on this file; of several, as after a fork, the first. */
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

/** Where the audit server keeps its stream. */
export const streamFolderOf = (stateDir: string): string => join(stateDir, 'jetstream');

/**
 * Makes what audit needs and what is missing of it. @returns which folder the stream has: another one after a disk was
 * lost or came back. @throws Error
 */
export function ensureAuditFolders(stateDir: string): string {
  for (const service of services) makeAuditFolder(stateDir, service);
  const folder = streamFolderOf(stateDir);
  ensureFolder(folder, { mode: 0o700, owner: accounts['nats-server'] });
  const { dev, ino } = statSync(folder);
  return `${dev}:${ino}`;
}
