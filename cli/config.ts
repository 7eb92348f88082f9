// SPDX-License-Identifier: Apache-2.0
// `psp config check`: every fault of a node file at once, and of a good one what it gives up of confidentiality,
// without a running node. JSON: { file, ok, faults: [{ path, expected, received, line? }], warnings: [{ path,
// message, line? }] }; docs/schemas/config_check.json.
import type { Command } from 'commander';
import { checkFile, configInvalid, formatWarning } from '../services/shared/config.js';
import type { SharedOptions } from './operator.js';
import { print, printJson, Told } from './output.js';

export function addConfig(program: Command): void {
  const config = program.command('config').description('work on the node file');
  config
    .command('check [file]')
    .description('report every fault of the node file (default: that of -c), and what it leaves unencrypted')
    .action((argument: string | undefined, _, command: Command) => {
      const { config, json } = command.optsWithGlobals<SharedOptions>();
      const file = argument ?? config;
      const result = checkFile(file, process.env);
      const faults = 'faults' in result ? result.faults : [];
      const warnings = 'warnings' in result ? result.warnings : [];
      if (json) printJson({ file, ok: faults.length === 0, faults, warnings });
      else if (faults.length === 0) print([`${file} is good`, ...warnings.map(formatWarning)].join('\n'));
      else throw configInvalid(file, faults);
      if (faults.length > 0) throw new Told();
    });
}
