// SPDX-License-Identifier: Apache-2.0
// The stats service as a process.
import '../shared/process/signals.js';
import { runService } from '../shared/service/service_process.js';
import { sliceOf } from './config.js';
import { startStats } from './service.js';

await runService('stats', (node, log, drop) => startStats(sliceOf(node), log, drop));
