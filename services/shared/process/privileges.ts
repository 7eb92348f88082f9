// SPDX-License-Identifier: Apache-2.0
// The users that services run as, by number, so that no account need exist, and how a service that was started
// as root becomes its own for good. A service loads and opens what needs root first, then drops; no way leads
// back. psp-keys is the group that may read a node's bus secret.
import { PspError } from '../errors.js';

/** Group of those who may read the bus secret. */
export const keysGroup = 70_000;

export interface Account {
  uid: number;
  gid: number;
  /** All groups beside gid. */
  groups: readonly number[];
}

/** One system user for each process of a node; user and group have the same number. */
export const accounts = {
  dataplane: { uid: 70_001, gid: 70_001, groups: [keysGroup] },
  keyexchange: { uid: 70_002, gid: 70_002, groups: [keysGroup] },
  sampler: { uid: 70_003, gid: 70_003, groups: [] },
  stats: { uid: 70_004, gid: 70_004, groups: [] },
  'nats-server': { uid: 70_005, gid: 70_005, groups: [] },
} as const satisfies Record<string, Account>;

export type AccountName = keyof typeof accounts;

/** What became of the rights; `reason` says why nothing was dropped. */
export type Dropped = { dropped: true } | { dropped: false; reason: string };

/**
 * Gives up root for good: groups first, then the user, all three ids of each.
 * @throws PspError RIGHTS_MISSING when the kernel refuses; Error when root is still within reach. Either way the
 * process must end.
 */
export function dropPrivileges(service: AccountName): Dropped {
  const user = process.geteuid?.();
  if (user !== 0) return { dropped: false, reason: `started as user ${user}, not as root` };
  const { uid, gid, groups } = accounts[service];
  try {
    process.setgroups?.([...groups]);
    process.setgid?.(gid);
    process.setuid?.(uid);
  } catch (cause) {
    const right = 'CAP_SETUID and CAP_SETGID';
    throw new PspError('RIGHTS_MISSING', { what: `becoming user ${uid}`, right }, { cause });
  }
  if (regainsRoot()) throw new Error(`user ${uid} could still become root`);
  return { dropped: true };
}

function regainsRoot(): boolean {
  try {
    process.setuid?.(0);
    return true;
  } catch {
    return false;
  }
}
