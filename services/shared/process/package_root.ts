// SPDX-License-Identifier: Apache-2.0
// Finds files of the package from the running file: sources and dist/ are one level apart.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The path of a file named from the folder of package.json. */
export function fromPackageRoot(path: string): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return join(folder, path);
}
