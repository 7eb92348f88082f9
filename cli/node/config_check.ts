// SPDX-License-Identifier: Apache-2.0
// `psp config check`: all faults at once of a node file and of this machine, and warnings before the start: the
// protection that the file gives up, and what this machine loses to the node. It needs no running node and changes
// nothing. `--file-only` leaves out this machine. JSON: { file, ok, faults: [{ path, expected, received, line? }],
// warnings: [{ path, message, line? }] }; docs/schemas/config_check.json.
import type { Command } from 'commander';
import { checkFile, configInvalid, formatWarning } from '../../services/shared/config/config.js';
import type { SharedOptions } from '../operator.js';
import { print, printJson, Reported } from '../output.js';
import { checkMachine } from './machine.js';

interface CheckOptions extends SharedOptions {
  fileOnly?: true;
}

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .command('check [file]')
    .description('report all faults of a node file (default: that of -c) and of this machine, and warnings')
    .option('--file-only', 'leave out this machine: its files, interfaces and routes')
    .action((file: string | undefined, _, command: Command) => check(file, command.optsWithGlobals()));
}

async function check(argument: string | undefined, { config, json, fileOnly }: CheckOptions): Promise<void> {
  const file = argument ?? config;
  const inFile = checkFile(file, process.env);
  const onMachine =
    'config' in inFile && fileOnly !== true
      ? await checkMachine(inFile.config)
      : { faults: [], warnings: [] };
  const faults = 'faults' in inFile ? inFile.faults : onMachine.faults;
  const warnings = [...('warnings' in inFile ? inFile.warnings : []), ...onMachine.warnings];
  if (json) printJson({ file, ok: faults.length === 0, faults, warnings });
  else {
    if (faults.length === 0) print(`${file} is good`);
    if (warnings.length > 0) print(warnings.map(formatWarning).join('\n'));
    if (faults.length > 0) throw configInvalid(file, faults);
  }
  if (faults.length > 0) throw new Reported();
}
