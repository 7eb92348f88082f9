// SPDX-License-Identifier: Apache-2.0
// Folders below `stateDir`, made with owner and mode. Where one is there as it should be, nothing is written: on a disk
// that hangs or is read-only, a call that would write blocks or fails although it has nothing to do.
import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs';

export interface FolderAccess {
  mode: number;
  /** Only root can give a folder away; whoever else makes one keeps it. */
  owner?: { uid: number; gid: number };
}

/** Makes a folder and all above it. @throws Error with a `code` */
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
