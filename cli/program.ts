// SPDX-License-Identifier: Apache-2.0
// What commands share, one file per command beside this one: `-c FILE` and `--json`, before or after the command,
// errors as one line "psp: CODE: message" on stderr, which says when trying again makes sense, and exit codes:
// 0 done, 1 failed, 2 wrong usage, 3 refused for now (the same command may succeed later).
import { Command, CommanderError } from 'commander';
import { PspError } from '../services/shared/errors.js';
import { version } from '../services/shared/version.js';
import { addAudit } from './audit.js';
import { addConfig } from './config.js';
import { addFence } from './fence.js';
import { addFlows } from './flows.js';
import { addInit } from './init.js';
import { Told } from './output.js';
import { addPcap } from './pcap.js';
import { addPipeline } from './pipeline.js';
import { addRotate } from './rotate.js';
import { addSampling } from './sampling.js';
import { addStatus } from './status.js';
import { addTap } from './tap.js';
import { addUp } from './up.js';

const exitCode = { failed: 1, usage: 2, refusedForNow: 3 };
const refusedForNow = new Set(['ROTATION_PENDING', 'ENGINE_BUSY', 'OVERLOADED']);

const oneLine = (message: string): string =>
  message
    .replace(/^error: /, '')
    .trim()
    .replace(/\n+/g, ' ');

/** Every command with its options. */
export function createProgram(): Command {
  const program = new Command('psp')
    .description('Encrypts traffic between hosts with the PSP Security Protocol.')
    .version(version)
    .option('-c, --config <file>', 'node file', '/etc/psp/node.yaml')
    .option(
      '--json',
      'print JSON with stable keys; 64-bit counts are numbers, SPIs and epochs are 0x strings',
    )
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      // What stands behind the = of an unknown option may be a key.
      outputError: (message, write) =>
        write(`psp: USAGE: ${oneLine(message).replace(/(--[\w-]+)=[^']*/g, '$1')}\n`),
    })
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 refused for now.')
    .exitOverride();
  for (const add of [
    addInit,
    addUp,
    addStatus,
    addFlows,
    addRotate,
    addSampling,
    addTap,
    addFence,
    addConfig,
    addAudit,
    addPcap,
    addPipeline,
  ])
    add(program);
  return program;
}

/** Runs a command. @param argv what stands behind "psp". @returns the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCode.usage;
    if (error instanceof Told) return exitCode.failed;
    if (error instanceof PspError) {
      process.stderr.write(
        `psp: ${error.code}: ${error.message}${error.retryable ? '; try again later' : ''}\n`,
      );
      return refusedForNow.has(error.code) ? exitCode.refusedForNow : exitCode.failed;
    }
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`psp: FAILED: ${oneLine(message)}\n`);
    return exitCode.failed;
  }
}
