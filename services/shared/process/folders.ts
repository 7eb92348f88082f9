// SPDX-License-Identifier: Apache-2.0
// Folders below `stateDir`, created with owner and mode. Nothing is written for a folder that is already correct: on a disk
// that hangs or is read-only, the call would block or fail although it has nothing to change.
import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs';

export interface FolderAccess {
  mode: number;
  /** Only root can change the owner; otherwise the owner is the process's user. */
  owner?: { uid: number; gid: number };
}

/** Creates a folder and its parents. @throws Error with a `code` */
export function ensureFolder(path: string, { mode, owner }: FolderAccess): void {
  let found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    mkdirSync(path, { recursive: true, mode });
    found = statSync(path);
  }
  const isRoot = process.geteuid?.() === 0;
  if (isRoot && owner && (found.uid !== owner.uid || found.gid !== owner.gid)) {
    chownSync(path, owner.uid, owner.gid);
  }
  if ((isRoot || found.uid === process.geteuid?.()) && (found.mode & 0o7777) !== mode) chmodSync(path, mode);
}
