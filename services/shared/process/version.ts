// SPDX-License-Identifier: Apache-2.0
// The version of commands and services: that of the package.
import { readFileSync } from 'node:fs';
import { fromPackageRoot } from './package_root.js';

export const version: string = JSON.parse(readFileSync(fromPackageRoot('package.json'), 'utf8')).version;
