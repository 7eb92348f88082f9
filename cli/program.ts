// SPDX-License-Identifier: Apache-2.0
// This module has what all commands share; each command has its own file. `-c FILE` and `--json` are accepted before or after the
// command. An error is one line "psp: CODE: message" on stderr, which says if trying again makes sense, and with
// `--json` also { error: { code, message, retryable } } on stdout (docs/schemas/error.json). Exit codes: 0 done, 1
// failed, 2 wrong usage, 3 refused for now (the same command may succeed later), 141 if the reader of the output went
// away.
import { Command, CommanderError } from 'commander';
import { PspError } from '../services/shared/errors.js';
import { version } from '../services/shared/process/version.js';
import { objectsPrinted, print, Reported } from './output.js';
import { StandardOutput } from './standard_output.js';

/** The module of a command: it defines arguments, options, subcommands and the action. */
interface CommandModule {
  define(command: Command): void;
}

/** The commands in the order of the help text. The module of a command is loaded when that command is called. */
const commands: Readonly<Record<string, [description: string, load: () => Promise<CommandModule>]>> = {
  init: [
    'create the files of new nodes, and overwrite none; or replace their bus secrets',
    () => import('./node/init.js'),
  ],
  up: [
    'run one whole node in the foreground; print "ready" when all services answer',
    () => import('./node/up.js'),
  ],
  reload: [
    'apply the changed node file to the running node, and name what takes a restart',
    () => import('./node/reload.js'),
  ],
  status: [
    'show faults first, then pipes, drops, peers and services (exit code 1: a service does not answer)',
    () => import('./status/status.js'),
  ],
  flows: [
    'list the flows with their keys and packet counts; remove tunnels; trace a key exchange',
    () => import('./status/flows.js'),
  ],
  rotate: [
    'rotate the master key (exit code 3: the previous rotation is not complete)',
    () => import('./status/rotate.js'),
  ],
  sampling: ['show or set the sampling rates of packets that leave', () => import('./status/sampling.js')],
  tap: ['print the messages on the bus as JSON lines until Ctrl-C', () => import('./tap/tap.js')],
  fence: [
    'manage the nftables rules that keep plaintext off the wire while no gateway runs',
    () => import('./node/fence_remove.js'),
  ],
  certs: ['show, renew and request the certificates of nodes', () => import('./node/certs.js')],
  config: ['check the node file', () => import('./node/config_check.js')],
  audit: ['print the audit trail of this node, oldest event first', () => import('./audit/audit.js')],
  pcap: ['encrypt or decrypt capture files without a node', () => import('./capture/pcap.js')],
  pipeline: [
    'show the pipes of a running node in the order in which packets pass them',
    () => import('./status/pipeline.js'),
  ],
};

const exitCode = { failed: 1, usage: 2, refusedForNow: 3 };
const refusedForNow = new Set(['ROTATION_PENDING', 'ENGINE_BUSY', 'OVERLOADED']);

const oneLine = (message: string): string =>
  message
    .replace(/^error: /, '')
    .trim()
    .replace(/\n+/g, ' ');

/** The text after the = of an unknown option may be a key. */
const withoutValues = (message: string): string => message.replace(/(--[\w-]+)=[^']*/g, '$1');

/** The program with the name and description of each command; a command is defined when it is called. */
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
      '\nExit codes: 0 success, 1 failure, 2 wrong usage, 3 refused for now, 141 the reader closed the output.',
    )
    .exitOverride();
  for (const [name, [description]] of Object.entries(commands))
    program.command(name).description(description);
  return program.hook('preSubcommand', (_, command) => defineCommand(command));
}

/** Loads the module of a command of `createProgram`. */
export async function defineCommand(command: Command): Promise<void> {
  const [, load] = commands[command.name()] ?? [];
  (await load?.())?.define(command);
}

/** Runs `psp help NAME` as `psp NAME --help`, which defines the command first. */
function asCalled(argv: readonly string[]): readonly string[] {
  const [first, ...others] = argv;
  return first === 'help' && others.length > 0 ? [...others, '--help'] : argv;
}

/** Runs a command. @param argv the arguments after "psp". @returns the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  const output = new StandardOutput();
  const code = await ending(argv, async () => {
    await createProgram().parseAsync(asCalled(argv), { from: 'user' });
  });
  let readerGone: number | undefined;
  const written = await ending([], async () => {
    readerGone = await output.finish();
  });
  return readerGone ?? (code === 0 ? written : code);
}

/** Runs work and reports its failure. @returns the exit code. */
async function ending(argv: readonly string[], work: () => Promise<void>): Promise<number> {
  const before = objectsPrinted;
  try {
    await work();
    return 0;
  } catch (error) {
    if (error instanceof Reported) return exitCode.failed;
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const failure = failureOf(error);
    // Commander has already printed a line.
    if (!(error instanceof CommanderError)) {
      const again = failure.retryable ? '; try again later' : '';
      process.stderr.write(`psp: ${failure.code}: ${failure.message}${again}\n`);
    }
    // Not needed if the command printed an object of its own; with `-` standard output is a capture.
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
