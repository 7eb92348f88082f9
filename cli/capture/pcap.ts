// SPDX-License-Identifier: Apache-2.0
// `psp pcap encrypt` and `psp pcap decrypt`: PSP in capture files, with the same native code as the dataplane,
// without a node, privileges or hugepages. The output appears complete or not at all. docs/pcap.md has the rules.
// JSON: docs/schemas/pcap_encrypt.json and pcap_decrypt.json.

import { closeSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { loadAddon } from '../../native/addon/load.js';
import type { TranscodeCounts, TranscodeOptions } from '../../native/addon/pcap.js';
import { formatEpoch } from '../../services/shared/address.js';
import { Draft } from '../draft.js';
import { print, printJson } from '../output.js';
import { captureError, openCapture } from './capture_file.js';
import {
  addFileOptions,
  addSealOptions,
  type EncryptOptions,
  type FileOptions,
  keysAreSeen,
  masterKeysOf,
  sealOptionsOf,
} from './pcap_options.js';

/** Limits the listed kinds of copied frames; a file of noise has thousands. */
const kindsPrinted = 20;

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  addSealOptions(
    addFileOptions(command.command('encrypt').description('encrypt the IP packets of a capture')),
  )
    .addHelpText('after', keysAreSeen)
    .action((_, command: Command) => encrypt(command.optsWithGlobals(), command));
  addFileOptions(command.command('decrypt').description('decrypt the PSP packets of a capture'))
    .addHelpText('after', keysAreSeen)
    .action((_, command: Command) => decrypt(command.optsWithGlobals(), command));
}

async function encrypt(options: EncryptOptions, command: Command): Promise<void> {
  checkFiles(options, command);
  const seal = sealOptionsOf(options, command);
  const masterKeys = masterKeysOf(options, command);
  const { in: input, out, json, skipBad, strict, force } = options;
  const counts = await transcode(input, out, { masterKeys, encrypt: seal, skipBad, strict }, force);
  const encrypted = counts.tunnel + counts.transport;
  const nextIv = counts.nextIv === undefined ? null : formatEpoch(counts.nextIv);
  if (json) return printJson({ in: input, out, encrypted, ...commonOf(counts), nextIv });
  print(
    `${out}: ${counts.frames} frames, ${encrypted} encrypted, ${copiedOf(counts, 'copied in plaintext')}`,
  );
  printNotes(counts);
  if (nextIv === null) print('no IV is left under this SPI');
  else print(`the next IV under this SPI is ${nextIv}: never use an IV twice under the same key`);
}

async function decrypt(options: FileOptions, command: Command): Promise<void> {
  checkFiles(options, command);
  const masterKeys = masterKeysOf(options, command);
  const { in: input, out, json, skipBad, force } = options;
  const counts = await transcode(input, out, { masterKeys, skipBad }, force);
  const { frames, tunnel, transport } = counts;
  const decrypted = tunnel + transport;
  if (json) return printJson({ in: input, out, decrypted, tunnel, transport, ...commonOf(counts) });
  const modes = `${tunnel} tunnel, ${transport} transport`;
  print(`${out}: ${frames} frames, ${decrypted} decrypted (${modes}), ${copiedOf(counts, 'copied')}`);
  printNotes(counts);
}

/** The part of the report that encrypting and decrypting share. */
function commonOf(counts: TranscodeCounts) {
  const { format, frames, copied, copiedKinds, skipped, skippedFrames, completed, paddingOctets, leftOut } =
    counts;
  return { format, frames, copied, copiedKinds, skipped, skippedFrames, completed, paddingOctets, leftOut };
}

/** "3 copied (2 ARP, 1 LLDP)", the most frequent kind first. */
function copiedOf({ copied, copiedKinds }: TranscodeCounts, how: string): string {
  const named = copiedKinds.slice(0, kindsPrinted).map(({ kind, frames }) => `${frames} ${kind}`);
  if (copiedKinds.length > kindsPrinted) named.push(`${copiedKinds.length - kindsPrinted} more kinds`);
  return named.length === 0 ? `0 ${how}` : `${copied} ${how} (${named.join(', ')})`;
}

/** Reports frames that were left out or completed, so that nothing is missing silently. */
function printNotes(counts: TranscodeCounts): void {
  const { completed, paddingOctets, leftOut, skipped, skippedFrames } = counts;
  if (completed > 0)
    print(`${completed} completed: an IPv4 checksum or an IP length was left to the interface`);
  if (paddingOctets > 0) print(`${paddingOctets} octets of link padding left out`);
  if (leftOut > 0) print(`${leftOut} blocks without a frame left out`);
  for (const { frame, detail } of skippedFrames) print(`frame ${frame} left out: ${detail}`);
  if (skipped > skippedFrames.length) print(`${skipped - skippedFrames.length} more frames left out`);
}

function checkFiles({ in: input, out }: FileOptions, command: Command): void {
  const read = fileOf(input);
  if (read !== undefined && read === fileOf(out))
    command.error('--in and --out are the same file; name a new one with --out');
}

/** Distinguishes files; undefined for a file that cannot be examined, which opening will report. */
function fileOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/**
 * Converts one capture to another. An existing `out` is replaced only with `force`. Wipes the keys.
 * @throws PspError FILE_UNREADABLE, FILE_UNWRITABLE, CAPTURE_MALFORMED, FRAME_NOT_ENCRYPTED, FRAME_NOT_DECRYPTED; no
 * file `out` is then written.
 */
export async function transcode(
  file: string,
  out: string,
  options: Omit<TranscodeOptions, 'input' | 'output'>,
  force = false,
): Promise<TranscodeCounts> {
  try {
    const input = openCapture(file, unreadable);
    try {
      const draft = new Draft(out, force);
      try {
        const counts = await loadAddon().pcapTranscode({ ...options, input, output: draft.descriptor });
        counts.copiedKinds.sort((one, other) => other.frames - one.frames);
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

const unreadable = 'name a readable capture with --in';
