#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// The operator's tool, `psp`.
import '../services/shared/process/signals.js';
import { run } from './program.js';

process.exitCode = await run(process.argv.slice(2));
