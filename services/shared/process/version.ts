// SPDX-License-Identifier: Apache-2.0
// The version that commands and services give as theirs: that of the package.
import { readFileSync } from 'node:fs';
import { fromPackageRoot } from './package_root.js';

export const version: string = JSON.parse(readFileSync(fromPackageRoot('package.json'), 'utf8')).version;
