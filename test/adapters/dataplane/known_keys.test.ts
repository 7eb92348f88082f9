// SPDX-License-Identifier: Apache-2.0
// Where master keys come from is decided when an addon is linked: the shipped one has nothing by which its master keys
// could be known, neither code nor text.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { knownKeysAddon } from '../../e2e/known_keys.js';

const has = (file: string) => readFileSync(file).includes('psp known master key');

it('the shipped addon has no source of known master keys, which the addon for tests has', () => {
  expect(has(knownKeysAddon)).toBe(true);
  expect(has(fromPackageRoot('build/native/psp_addon.node'))).toBe(false);
});
