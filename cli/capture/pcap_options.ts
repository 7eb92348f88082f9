// SPDX-License-Identifier: Apache-2.0
// The options of `psp pcap`, parsed and checked before any file is opened. Master keys are read octet by octet into
// memory that is wiped, and no message contains one; other values are repeated as commander does.
import { closeSync, openSync, readSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { SealOptions } from '../../native/addon/pcap.js';
import { familyOf, isAddress, isReservedSpi, mapped, parseAddress } from '../../services/shared/address.js';
import { PspError } from '../../services/shared/errors.js';
import { type ModeName, modeNames } from '../../services/shared/modes.js';
import { highestCryptOffset } from '../../services/shared/protocols.js';
import type { SharedOptions } from '../operator.js';

export interface MasterKeys {
  masterKey0: string;
  masterKey1: string;
}

export interface FileOptions extends SharedOptions, MasterKeys {
  in: string;
  out: string;
  skipBad: boolean;
  force: boolean;
}

export interface EncryptOptions extends FileOptions {
  spi: number;
  mode: ModeName;
  pspVersion: number;
  cryptOffset: number;
  vc?: bigint;
  iv: bigint;
  outerSource?: string;
  outerDestination?: string;
  strict: boolean;
}

const keyOctets = 32;
/** More than any notation of a key needs. */
const keyFileOctets = 1024;
const highestIv = 2n ** 64n - 1n;

export function addFileOptions(command: Command): Command {
  return command
    .requiredOption('--in <file>', 'capture to read: pcap or pcapng')
    .requiredOption('--out <file>', 'capture to write, in the same format')
    .option('--force', 'overwrite the output file', false)
    .requiredOption('--master-key0 <hex>', masterKeyHelp(0))
    .requiredOption('--master-key1 <hex>', masterKeyHelp(1))
    .option('--skip-bad', 'leave out invalid frames, report them, and continue', false);
}

export const masterKeyHelp = (slot: number): string =>
  `32 octets, for SPIs whose top bit is ${slot}; or @FILE with the hex digits`;

export function addSealOptions(command: Command): Command {
  return command
    .requiredOption('--spi <hex8>', 'SPI of every packet; its top bit selects the master key', spi)
    .addOption(new Option('--mode <mode>', 'mode of every packet').choices(modeNames).default('tunnel'))
    .option('--psp-version <0..3>', '0, 1: AES-GCM-128, -256; 2, 3: AES-GMAC-128, -256', pspVersion, 0)
    .option('--crypt-offset <n>', 'header field: 4-octet units from the end of the IV', cryptOffset, 0)
    .option('--vc <hex16>', 'virtualization cookie; without it packets have none', cookie)
    .addOption(
      new Option('--iv <n>', 'IV of the first packet, incremented per packet').argParser(iv).default(1n, '1'),
    )
    .option('--outer-source <address>', 'outer source in tunnel mode; default: that of each packet', address)
    .option(
      '--outer-destination <address>',
      'outer destination in tunnel mode; default: that of each packet',
      address,
    )
    .option('--strict', 'refuse a frame without IP instead of copying it in plaintext', false);
}

export function spi(text: string): number {
  const digits = /^(?:0x)?([0-9a-f]{8})$/i.exec(text)?.[1];
  if (digits === undefined) throw new InvalidArgumentError('8 hex digits are expected, such as 1a345678');
  const value = Number.parseInt(digits, 16);
  if (isReservedSpi(value))
    throw new InvalidArgumentError('its low 31 bits are zero, which is reserved; use another SPI');
  return value;
}

function pspVersion(text: string): number {
  if (/^[0-3]$/.test(text)) return Number(text);
  throw new InvalidArgumentError('0 to 3 are defined, all others are reserved');
}

function cryptOffset(text: string): number {
  if (/^\d{1,2}$/.test(text) && Number(text) <= highestCryptOffset) return Number(text);
  throw new InvalidArgumentError(`0 to ${highestCryptOffset} is expected, the field has 6 bits`);
}

export function cookie(text: string): bigint {
  const digits = /^(?:0x)?([0-9a-f]{16})$/i.exec(text)?.[1];
  if (digits === undefined) throw new InvalidArgumentError('16 hex digits are expected');
  return BigInt(`0x${digits}`);
}

export function iv(text: string): bigint {
  const value = /^(?:\d{1,20}|0x[0-9a-f]{1,16})$/i.test(text) ? BigInt(text) : undefined;
  if (value !== undefined && value <= highestIv) return value;
  throw new InvalidArgumentError('0 to 2^64 - 1 is expected, decimal or 0x and hex digits');
}

export function address(text: string): string {
  if (isAddress(text)) return text;
  throw new InvalidArgumentError('an IPv4 or IPv6 address is expected');
}

export const keysAreSeen =
  '\nEveryone who can list processes can read keys on the command line: prefer @FILE.';

/** Rules between options; ends the command if they contradict each other. */
export function sealOptionsOf(options: EncryptOptions, command: Command): SealOptions {
  const { mode, pspVersion, cryptOffset, vc, outerSource, outerDestination } = options;
  if (pspVersion >= 2 && cryptOffset !== 0)
    command.error(
      `--crypt-offset is for versions 0 and 1: version ${pspVersion} encrypts nothing; leave it out`,
    );
  const outer = outerOf(outerSource, outerDestination, command);
  if (outer && mode === 'transport')
    command.error('--outer-source and --outer-destination are for --mode tunnel; leave them out');
  return {
    spi: options.spi,
    mode,
    version: pspVersion,
    cryptOffset,
    iv: options.iv,
    ...(vc === undefined ? {} : { cookie: vc }),
    ...(outer === undefined ? {} : { outer }),
  };
}

function outerOf(
  source: string | undefined,
  destination: string | undefined,
  command: Command,
): SealOptions['outer'] {
  if (source === undefined && destination === undefined) return undefined;
  if (source === undefined || destination === undefined)
    return command.error('--outer-source and --outer-destination go together; give both');
  const ends = { source: parseAddress(source), destination: parseAddress(destination) };
  if (familyOf(ends.source) !== familyOf(ends.destination))
    command.error(
      '--outer-source and --outer-destination belong to different families; give both as IPv4 or IPv6',
    );
  return { source: mapped(ends.source), destination: mapped(ends.destination) };
}

/** Both master keys, 64 octets; the caller wipes them. @throws PspError FILE_UNREADABLE. */
export function masterKeysOf({ masterKey0, masterKey1 }: MasterKeys, command: Command): Uint8Array {
  const keys = new Uint8Array(2 * keyOctets);
  for (const [slot, value] of [masterKey0, masterKey1].entries()) {
    const text = value.startsWith('@') ? readKeyFile(value.slice(1)) : Buffer.from(value);
    const fault = readKey(text, keys.subarray(slot * keyOctets, (slot + 1) * keyOctets));
    text.fill(0);
    if (fault === undefined) continue;
    keys.fill(0);
    command.error(`--master-key${slot} ${fault}; 64 hex digits are expected, or @FILE with them`);
  }
  return keys;
}

/** Writes hex digits, with white space between them, into key. @returns the fault, if any. */
function readKey(text: Uint8Array, key: Uint8Array): string | undefined {
  let digits = 0;
  for (const octet of text) {
    if (octet === 0x20 || (octet >= 0x09 && octet <= 0x0d)) continue;
    const digit = digitOf(octet);
    if (digit === undefined) return 'contains a character that is no hex digit';
    const at = digits >> 1;
    if (at < key.length) key[at] = (((key[at] as number) << 4) | digit) & 0xff;
    digits++;
  }
  if (digits % 2 === 1) return `has an odd number of hex digits, ${digits}`;
  return digits === 2 * key.length ? undefined : `is ${digits / 2} octets long`;
}

/** The value of a hex digit's character. */
function digitOf(octet: number): number | undefined {
  if (octet >= 0x30 && octet <= 0x39) return octet - 0x30;
  const letter = octet | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : undefined;
}

function readKeyFile(file: string): Buffer {
  const text = Buffer.alloc(keyFileOctets);
  let length = 0;
  try {
    const descriptor = openSync(file, 'r');
    try {
      for (let got = -1; got !== 0 && length < text.length; length += got)
        got = readSync(descriptor, text, length, text.length - length, null);
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    const remedy = 'name a file with 64 hex digits after @';
    // A name that looks like a key is a key that was given with an extra @.
    const shown = /^[0-9a-fA-F]{32,}$/.test(file) ? 'the file after @' : file;
    throw new PspError('FILE_UNREADABLE', { file: shown, detail, remedy }, { cause });
  }
  return text.subarray(0, length);
}
