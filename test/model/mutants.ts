// SPDX-License-Identifier: Apache-2.0
// `npm run model:mutants [-- SCHEDULES [WORD]]`: takes each rule of mutations.ts out of a copy of the compiled code, runs
// the model on it, and prints how many schedules violate an invariant then. WORD selects the rules whose text contains it.
// Ends with 1 if no schedule notices that a rule is missing, or if a patch applies no more.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { filesWithout, mutations } from './mutations.js';

/** What the model needs of the compiled code. */
const folders = ['services', 'proto', 'test/model'];

/** @returns what the model found in the copy. */
function run(copy: string, schedules: number): { caught: number; first: string } {
  const { stdout, stderr } = spawnSync(process.execPath, [join(copy, 'test/model/main.js'), `${schedules}`], {
    encoding: 'utf8',
  });
  const [, caught] = stdout.match(/, (\d+) violations\n$/) ?? [];
  if (caught !== undefined) return { caught: Number(caught), first: stdout.split(';')[0] as string };
  // A part of the code found a contradiction and threw.
  return { caught: 1, first: stderr.match(/^\w*Error: .*/m)?.[0] ?? stderr };
}

function main(): void {
  const [count = '10000', word = ''] = process.argv.slice(2);
  const schedules = Number(count);
  if (!Number.isSafeInteger(schedules) || schedules < 2) {
    console.error('usage: npm run model:mutants [-- SCHEDULES [WORD]]: a whole number from 2');
    process.exitCode = 2;
    return;
  }
  const copy = mkdtempSync(fromPackageRoot('build/mutants-'));
  const read = (file: string) => readFileSync(fromPackageRoot(`dist/${file}`), 'utf8');
  try {
    for (const folder of folders)
      cpSync(fromPackageRoot(`dist/${folder}`), join(copy, folder), { recursive: true });
    for (const mutation of mutations.filter(({ without }) => without.includes(word))) {
      const files = filesWithout(mutation, read);
      for (const [file, text] of files) writeFileSync(join(copy, file), text);
      // Most rules are missed within a few schedules.
      let result = run(copy, Math.min(schedules, 200));
      if (result.caught === 0 && schedules > 200) result = run(copy, schedules);
      const { caught, first } = result;
      const { without, unnoticed } = mutation;
      if (caught > 0) console.log(`noticed     without "${without}": ${caught} violations, ${first}`);
      else if (unnoticed !== undefined) console.log(`as expected without "${without}": ${unnoticed}`);
      else {
        console.log(`NOT NOTICED without "${without}"`);
        process.exitCode = 1;
      }
      for (const file of files.keys()) writeFileSync(join(copy, file), read(file));
    }
  } finally {
    rmSync(copy, { recursive: true });
  }
}

main();
