// SPDX-License-Identifier: Apache-2.0
// `psp reload`: applies the changed node file to the running node. It prints the keys that were applied, those that take a
// restart, and the services that have not answered yet. A file with faults changes nothing; the faults are listed as by
// `psp config check`. JSON: { reloaded, applied, restartKeys, waiting } (docs/schemas/reload.json).
import type { Command } from 'commander';
import { contracts } from '../../services/shared/contracts.js';
import { isErrorCode, PspError } from '../../services/shared/errors.js';
import { asOperator, type SharedOptions } from '../operator.js';
import { print, printJson } from '../output.js';

/** How long `psp up` may take with all services. */
const reloadMs = 60_000;

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command.action((_, command: Command) => reload(command.optsWithGlobals()));
}

async function reload({ config, json }: SharedOptions): Promise<void> {
  const answer = await asOperator(config, (bus) =>
    bus.request(contracts.nodeReload, { author: 'operator' }, reloadMs),
  );
  const { code, message, applied, restartKeys, waiting } = answer;
  if (code !== '') throw new ReloadError(code, message);
  if (json) {
    printJson({ reloaded: true, applied, restartKeys, waiting });
    return;
  }
  print(applied.length === 0 ? 'nothing to apply' : `applied: ${applied.join(', ')}`);
  if (restartKeys.length > 0)
    print(`takes a restart of the node (\`psp up\`), not applied: ${restartKeys.join(', ')}`);
  if (waiting.length > 0)
    print(`does not answer yet, and applies it as soon as it does: ${waiting.join(', ')}`);
}

/** The error that `psp up` answered, with its own message. */
class ReloadError extends PspError {
  constructor(code: string, message: string) {
    super(isErrorCode(code) ? code : 'ENGINE_FAILED');
    this.message = message;
  }
}
