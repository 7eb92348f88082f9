// SPDX-License-Identifier: Apache-2.0
// Sources compiled into a folder of the test's own, for what must run as a process or inside a namespace.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';

/** Compiles these files with all that they import. @returns the folder, which any user can read. */
export function compile(...files: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'psp-compiled-'));
  chmodSync(folder, 0o755);
  const config = join(folder, 'tsconfig.json');
  writeFileSync(join(folder, 'package.json'), '{ "type": "module", "version": "0.1.0" }');
  symlinkSync(fromPackageRoot('node_modules'), join(folder, 'node_modules'));
  const settings = {
    extends: fromPackageRoot('tsconfig.json'),
    compilerOptions: {
      rootDir: fromPackageRoot('.'),
      outDir: folder,
      sourceMap: false,
      typeRoots: [fromPackageRoot('node_modules/@types')],
    },
    files: files.map(fromPackageRoot),
    include: [],
  };
  writeFileSync(config, JSON.stringify(settings));
  execFileSync(fromPackageRoot('node_modules/.bin/tsc'), ['-p', config], { stdio: 'inherit' });
  return folder;
}
