// SPDX-License-Identifier: Apache-2.0
// Generates docs/performance.md and its plots from the JSON in docs/performance. If another folder is given, its JSON
// first replaces that of the same benches. Measures nothing.
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { fromPackageRoot } from '../services/shared/process/package_root.js';
import { documentOf, readResults } from './document/document.js';
import { refuse } from './shared/result.js';

try {
  const { positionals } = parseArgs({ allowPositionals: true });
  const kept = fromPackageRoot('docs/performance');
  const folder = resolve(positionals[0] ?? kept);
  const given = [...readResults(folder).keys()];
  if (folder !== kept) {
    mkdirSync(kept, { recursive: true });
    for (const name of given) copyFileSync(join(folder, `${name}.json`), join(kept, `${name}.json`));
  }
  for (const [path, text] of documentOf(readResults(kept))) {
    writeFileSync(join(fromPackageRoot('docs'), path), text);
  }
  console.log(`report: docs/performance.md, with ${given.join(' ')} of ${folder}`);
} catch (error) {
  refuse((error as Error).message);
}
