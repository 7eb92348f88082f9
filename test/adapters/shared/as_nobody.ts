// SPDX-License-Identifier: Apache-2.0
// Runs commands of the program as a user without any permissions. A clone of root may be in a folder that no other
// user can enter, and so may its node: such a user sees both in a folder open to all, through a private mount.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';

/** A user that owns nothing and is in no group. */
export const nobody = 65_534;

const script = `set -e
mount --bind "$1" package
mount --bind "$2" node
open=$PWD; cd "$3"; shift 3
exec setpriv --reuid ${nobody} --regid ${nobody} --clear-groups --inh-caps=-all \\
  "$open/node" "$open/package/dist/cli/psp.js" "$@"`;

/** Runs `psp ...args` in `folder`, which must be open to all. Must be called by root. */
export function pspAsNobody(args: readonly string[], folder: string): SpawnSyncReturns<string> {
  const open = mkdtempSync(join(tmpdir(), 'psp-nobody-'));
  try {
    chmodSync(open, 0o755);
    mkdirSync(join(open, 'package'));
    writeFileSync(join(open, 'node'), '');
    const given = [fromPackageRoot('.'), process.execPath, folder, ...args];
    return spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', ...given], {
      encoding: 'utf8',
      cwd: open,
      timeout: 60_000,
    });
  } finally {
    rmSync(open, { recursive: true });
  }
}
