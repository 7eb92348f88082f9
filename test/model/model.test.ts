// SPDX-License-Identifier: Apache-2.0
// Many schedules of two whole nodes, each on a virtual clock; see docs/design.md, "The model".
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { filesWithout, mutations } from './mutations.js';

const model = async (...args: string[]) => {
  const run = promisify(execFile)(process.execPath, [fromPackageRoot('dist/test/model/main.js'), ...args]);
  return run.then(
    ({ stdout }) => ({ code: 0, stdout }),
    ({ code, stdout }) => ({ code, stdout }),
  );
};

it('100 000 schedules violate no invariant', { timeout: 900_000 }, async () => {
  const { code, stdout } = await model('100000');
  expect(stdout).toMatch(/^100000 schedules, \d+ packets, .*, 0 violations\n$/);
  expect(code).toBe(0);
});

it('a seed gives the same run again', async () => {
  const [one, other] = await Promise.all([model('1', '7'), model('1', '7')]);
  expect(one.stdout).toContain('1 schedules');
  expect(other).toEqual(one);
});

it('every rule can still be taken out of the compiled code, as `npm run model:mutants` does', () => {
  const read = (file: string) => readFileSync(fromPackageRoot(`dist/${file}`), 'utf8');
  for (const mutation of mutations) {
    const files = filesWithout(mutation, read);
    for (const [file, text] of files) expect(text, file).not.toBe(read(file));
  }
  const [first] = mutations;
  expect(() => filesWithout(first as (typeof mutations)[0], () => '')).toThrow('0 times instead of once');
});
