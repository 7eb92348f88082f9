// SPDX-License-Identifier: Apache-2.0
// The sampler as a process.
import '../shared/process/signals.js';
import { runService } from '../shared/service/service_process.js';
import { sliceOf } from './config.js';
import { startSampler } from './service.js';

await runService('sampler', (node, log, drop) => startSampler(sliceOf(node), log, drop));
