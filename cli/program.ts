// SPDX-License-Identifier: Apache-2.0
// What commands share, one file per command beside this one: `-c FILE` and `--json`, before or after the command,
// errors as one line "psp: CODE: message" on stderr, which says when trying again makes sense, and with `--json` also as
// { error: { code, message, retryable } } on stdout (docs/schemas/error.json), and exit codes: 0 done, 1 failed, 2 wrong
// usage, 3 refused for now (the same command may succeed later), 141 when whoever read the output went away.
import { Command, CommanderError } from 'commander';
import { PspError } from '../services/shared/errors.js';
import { version } from '../services/shared/process/version.js';
import { addAudit } from './audit/audit.js';
import { addPcap } from './capture/pcap.js';
import { addConfig } from './node/config.js';
import { addFence } from './node/fence.js';
import { addInit } from './node/init.js';
import { addUp } from './node/up.js';
import { objectsPrinted, print, Told } from './output.js';
import { StandardOutput } from './standard_output.js';
import { addFlows } from './status/flows.js';
import { addPipeline } from './status/pipeline.js';
import { addRotate } from './status/rotate.js';
import { addSampling } from './status/sampling.js';
import { addStatus } from './status/status.js';
import { addTap } from './tap/tap.js';

const exitCode = { failed: 1, usage: 2, refusedForNow: 3 };
const refusedForNow = new Set(['ROTATION_PENDING', 'ENGINE_BUSY', 'OVERLOADED']);

const oneLine = (message: string): string =>
  message
    .replace(/^error: /, '')
    .trim()
    .replace(/\n+/g, ' ');

/** What stands behind the = of an unknown option may be a key. */
const withoutValues = (message: string): string => message.replace(/(--[\w-]+)=[^']*/g, '$1');

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
      outputError: (message, write) => write(`psp: USAGE: ${withoutValues(oneLine(message))}\n`),
    })
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 refused for now, 141 the reader went away.',
    )
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
  const output = new StandardOutput();
  const code = await ending(argv, async () => {
    await createProgram().parseAsync(argv, { from: 'user' });
  });
  let readerGone: number | undefined;
  const written = await ending([], async () => {
    readerGone = await output.finish();
  });
  return readerGone ?? (code === 0 ? written : code);
}

/** Does work and reports its failure. @returns the exit code. */
async function ending(argv: readonly string[], work: () => Promise<void>): Promise<number> {
  const before = objectsPrinted;
  try {
    await work();
    return 0;
  } catch (error) {
    if (error instanceof Told) return exitCode.failed;
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const failure = failureOf(error);
    // Commander has printed its own line.
    if (!(error instanceof CommanderError)) {
      const again = failure.retryable ? '; try again later' : '';
      process.stderr.write(`psp: ${failure.code}: ${failure.message}${again}\n`);
    }
    // An object of the command's own says it too; with `-` standard output is a capture.
    const isTold = objectsPrinted > before || argv.includes('-');
    if (argv.includes('--json') && !isTold) print(JSON.stringify({ error: failure }));
    if (error instanceof CommanderError) return exitCode.usage;
    return refusedForNow.has(failure.code) ? exitCode.refusedForNow : exitCode.failed;
  }
}

/** An error as `--json` prints it; docs/schemas/error.json. */
function failureOf(error: unknown): { code: string; message: string; retryable: boolean } {
  if (error instanceof PspError)
    return { code: error.code, message: error.message, retryable: error.retryable };
  const message = oneLine(error instanceof Error ? error.message : String(error));
  if (!(error instanceof CommanderError)) return { code: 'FAILED', message, retryable: false };
  return { code: 'USAGE', message: withoutValues(message), retryable: false };
}
