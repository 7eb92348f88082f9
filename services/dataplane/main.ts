// SPDX-License-Identifier: Apache-2.0
// The dataplane as a process. It ends when its engine does.
import '../shared/signals.js';
import { PspError } from '../shared/errors.js';
import { runService } from '../shared/service_process.js';
import { startDataplane } from './service.js';

await runService('dataplane', async (node, log, drop) => {
  const { failed, stop } = await startDataplane(node, log, drop);
  return { failed: failed.then((detail) => new PspError('ENGINE_FAILED', { detail })), stop };
});
