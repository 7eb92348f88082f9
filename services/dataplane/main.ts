// SPDX-License-Identifier: Apache-2.0
// The dataplane as a process. It ends when its engine does.
import '../shared/process/signals.js';
import { runService } from '../shared/service/service_process.js';
import { startDataplane } from './service.js';

await runService('dataplane', (node, log, drop) => startDataplane(node, log, drop));
