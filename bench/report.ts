// SPDX-License-Identifier: Apache-2.0
// Makes docs/performance.md and its plots of the JSON in a folder, docs/performance where none is named, and keeps that
// JSON beside them. Measures nothing.
import { copyFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { fromPackageRoot } from '../services/shared/package_root.js';
import { documentOf, readResults } from './document/document.js';
import { refuse } from './shared/result.js';

try {
  const { positionals } = parseArgs({ allowPositionals: true });
  const kept = fromPackageRoot('docs/performance');
  const folder = resolve(positionals[0] ?? kept);
  const results = readResults(folder);
  for (const [path, text] of documentOf(results)) writeFileSync(join(fromPackageRoot('docs'), path), text);
  if (folder !== kept) {
    for (const name of results.keys()) copyFileSync(join(folder, `${name}.json`), join(kept, `${name}.json`));
  }
  console.log(`report: docs/performance.md of ${results.size} files in ${folder}`);
} catch (error) {
  refuse((error as Error).message);
}
