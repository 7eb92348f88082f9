// SPDX-License-Identifier: Apache-2.0
// The key exchange as a process.
import '../shared/process/signals.js';
import { runService } from '../shared/service/service_process.js';
import { sliceOf } from './config.js';
import { startKeyExchange } from './service.js';

await runService('keyexchange', (node, log, drop) => startKeyExchange(sliceOf(node), log, drop));
