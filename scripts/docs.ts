// SPDX-License-Identifier: Apache-2.0
// Writes the generated tables of the documentation: `npm run docs`.
import { readFileSync, writeFileSync } from 'node:fs';
import { fromPackageRoot } from '../services/shared/process/package_root.js';
import { docTables, generated } from './doc_tables.js';

for (const document of new Set(docTables.map(({ document }) => document))) {
  const file = fromPackageRoot(document);
  const before = readFileSync(file, 'utf8');
  const after = generated(document, before);
  if (after !== before) writeFileSync(file, after);
  console.log(`${document}: ${after === before ? 'up to date' : 'written'}`);
}
