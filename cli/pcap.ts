// SPDX-License-Identifier: Apache-2.0
// `psp pcap encrypt` and `psp pcap decrypt`: PSP over capture files, by the same native code as the dataplane's,
// without a node, rights or hugepages. What is written appears whole or not at all. docs/pcap.md tells the rules.
// JSON: { in, out, format, frames, copied, leftOut } and { encrypted, nextIv } or { decrypted, tunnel, transport }.
import { closeSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { loadAddon, type TranscodeCounts, type TranscodeOptions } from '../native/addon.js';
import { captureError, openCapture } from './capture_file.js';
import { Draft } from './draft.js';
import { formatEpoch, print, printJson } from './output.js';
import {
  addFileOptions,
  addSealOptions,
  type EncryptOptions,
  type FileOptions,
  keysAreSeen,
  masterKeysOf,
  sealOptionsOf,
} from './pcap_options.js';

export function addPcap(program: Command): void {
  const pcap = program.command('pcap').description('PSP over capture files, without a node');
  addSealOptions(addFileOptions(pcap.command('encrypt').description('encrypt the IP packets of a capture')))
    .addHelpText('after', keysAreSeen)
    .action((_, command: Command) => encrypt(command.optsWithGlobals(), command));
  addFileOptions(pcap.command('decrypt').description('decrypt the PSP packets of a capture'))
    .addHelpText('after', keysAreSeen)
    .action((_, command: Command) => decrypt(command.optsWithGlobals(), command));
}

async function encrypt(options: EncryptOptions, command: Command): Promise<void> {
  checkFiles(options, command);
  const seal = sealOptionsOf(options, command);
  const masterKeys = masterKeysOf(options, command);
  const counts = await transcode(options.in, options.out, { masterKeys, encrypt: seal });
  const { format, frames, tunnel, transport, copied, leftOut } = counts;
  const encrypted = tunnel + transport;
  const nextIv = counts.nextIv === undefined ? null : formatEpoch(counts.nextIv);
  const { in: input, out, json } = options;
  if (json) return printJson({ in: input, out, format, frames, encrypted, copied, leftOut, nextIv });
  print(`${out}: ${frames} frames, ${encrypted} encrypted, ${copied} copied (no IP)`);
  if (nextIv === null) print('no IV is left under this SPI');
  else print(`the next IV under this SPI is ${nextIv}: never use one again under the same key`);
}

async function decrypt(options: FileOptions, command: Command): Promise<void> {
  checkFiles(options, command);
  const masterKeys = masterKeysOf(options, command);
  const counts = await transcode(options.in, options.out, { masterKeys });
  const { format, frames, tunnel, transport, copied, leftOut } = counts;
  const decrypted = tunnel + transport;
  const { in: input, out, json } = options;
  if (json)
    return printJson({ in: input, out, format, frames, decrypted, tunnel, transport, copied, leftOut });
  const modes = `${tunnel} tunnel, ${transport} transport`;
  print(`${out}: ${frames} frames, ${decrypted} decrypted (${modes}), ${copied} copied (no PSP)`);
}

function checkFiles({ in: input, out }: FileOptions, command: Command): void {
  const read = fileOf(input);
  if (read !== undefined && read === fileOf(out))
    command.error('--in and --out are the same file; name a new one with --out');
}

/** Tells files apart; undefined for what cannot be looked at, which opening will tell. */
function fileOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/**
 * Makes one capture into another that does not exist yet. Wipes the keys.
 * @throws PspError FILE_UNREADABLE, FILE_UNWRITABLE, CAPTURE_MALFORMED, FRAME_NOT_ENCRYPTED, FRAME_NOT_DECRYPTED;
 * there is then no file `out`.
 */
export async function transcode(
  file: string,
  out: string,
  options: Omit<TranscodeOptions, 'input' | 'output'>,
): Promise<TranscodeCounts> {
  try {
    const input = openCapture(file, unreadable);
    try {
      const draft = new Draft(out);
      try {
        const counts = await loadAddon().pcapTranscode({ ...options, input, output: draft.descriptor });
        draft.finish();
        return counts;
      } catch (error) {
        draft.discard();
        throw captureError(error, file, unreadable, out);
      }
    } finally {
      closeSync(input);
    }
  } finally {
    options.masterKeys.fill(0);
  }
}

const unreadable = 'name a capture that you may read with --in';
