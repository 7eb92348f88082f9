// SPDX-License-Identifier: Apache-2.0
// The users that services run as, by number, so that no account has to exist, and how a service that was started as root
// drops its privileges for good. A service first loads and opens what needs root. psp-keys is the group that may read a
// node's bus secret.
import { type Service, serviceRow, services } from '../contracts.js';
import { PspError } from '../errors.js';

/** Group of those who may read the bus secret. */
export const keysGroup = 70_000;

export interface Account {
  uid: number;
  gid: number;
  /** All groups beside gid. */
  groups: readonly number[];
}

export type AccountName = Service | 'nats-server';

const accountOf = (service: Service): [Service, Account] => {
  const { uid, readsBusSecret } = serviceRow(service);
  return [service, { uid, gid: uid, groups: readsBusSecret ? [keysGroup] : [] }];
};

/** One system user for each process of a node; user and group have the same number. */
export const accounts: Readonly<Record<AccountName, Account>> = {
  ...(Object.fromEntries(services.map(accountOf)) as Record<Service, Account>),
  'nats-server': { uid: 70_005, gid: 70_005, groups: [] },
};

/** Whether privileges were dropped; `reason` says why not. */
export type Dropped = { dropped: true } | { dropped: false; reason: string };

/**
 * Drops root for good: groups first, then the user, all three ids of each.
 * @throws PspError RIGHTS_MISSING if the kernel refuses; Error if the process could become root again. The process must end
 * then.
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
