// SPDX-License-Identifier: Apache-2.0
// `psp fence remove`: removes the fence from this node's interfaces, after which the kernel sends and receives
// plaintext on them again. The kernel refuses it without CAP_NET_ADMIN. JSON: { removed: [interface] }.
import type { Command } from 'commander';
import { removeFence } from '../../services/dataplane/adapters/fence.js';
import { loadConfig } from '../../services/shared/config/config.js';
import type { SharedOptions } from '../operator.js';
import { print, printJson } from '../output.js';

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .command('remove')
    .description('remove the fence; the kernel then sends and receives plaintext on these interfaces again')
    .action((_, command: Command) => remove(command.optsWithGlobals()));
}

async function remove({ config, json }: SharedOptions): Promise<void> {
  const { node } = loadConfig(config, process.env);
  const removed = await removeFence(node);
  if (json) printJson({ removed });
  else if (removed.length === 0) print(`node ${node} has no fence here`);
  else
    print(
      `the fence on ${removed.join(' and ')} is removed; the kernel sends and receives plaintext there again`,
    );
}
