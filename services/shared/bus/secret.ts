// SPDX-License-Identifier: Apache-2.0
// The node's bus secret: 32 random octets that dataplane and keyexchange share, stored as 64 hex digits in a file that only
// they can read. It never becomes a string here, because strings cannot be wiped. The passwords of the bus have one file
// for each user.
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { fileState, readSecretFile } from '../config/node_file.js';
import type { BusUser } from '../contracts.js';
import { PspError } from '../errors.js';

const secretOctets = 32;

/** Generates a secret. @returns the content of its file; the caller wipes it. */
export function newBusSecret(): Buffer {
  const octets = randomFillSync(Buffer.alloc(secretOctets));
  const content = Buffer.alloc(secretOctets * 2 + 1, '\n');
  for (const [i, octet] of octets.entries()) {
    content[2 * i] = digitOf(octet >> 4);
    content[2 * i + 1] = digitOf(octet & 15);
  }
  octets.fill(0);
  return content;
}

/** A secret as it was read. */
export interface BusSecret {
  file: string;
  /** Of the file before it was read, see `fileState`. */
  state: string;
  /** 32 octets. */
  octets: Buffer;
}

/**
 * Reads a secret; the caller wipes its octets.
 * @throws PspError FILE_UNREADABLE, also for a file that holds anything else; SECRET_EXPOSED.
 */
export function readBusSecret(file: string): BusSecret {
  const state = fileState(file);
  const content = readSecretFile(file);
  const octets = Buffer.alloc(secretOctets);
  const tail = content.subarray(secretOctets * 2);
  let good = content.length >= secretOctets * 2 && tail.every((octet) => octet === 10 || octet === 13);
  for (let i = 0; i < secretOctets && good; i++) {
    const high = digitValue(content[2 * i] as number);
    const low = digitValue(content[2 * i + 1] as number);
    good = high >= 0 && low >= 0;
    octets[i] = (high << 4) | low;
  }
  content.fill(0);
  if (good) return { file, state, octets };
  octets.fill(0);
  throw new PspError('FILE_UNREADABLE', {
    file,
    detail: 'it does not hold 64 hex digits',
    remedy: 'remove it and run `psp init` again',
  });
}

/** '0'-'9', 'a'-'f'. */
const digitOf = (value: number): number => (value < 10 ? 48 + value : 87 + value);

/** Of a hex digit of either case; -1 for anything else. */
function digitValue(digit: number): number {
  if (digit >= 48 && digit <= 57) return digit - 48;
  const lower = digit | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** The file beside the node file that holds a bus user's password. */
export const passwordFileOf = (folder: string, user: BusUser): string => join(folder, `${user}.password`);

/**
 * Reads a bus user's password.
 * @throws PspError FILE_UNREADABLE, also for a file that is empty or contains anything but one word of at least 16
 * characters, because a shorter one could be guessed; SECRET_EXPOSED.
 */
export function readPassword(folder: string, user: BusUser): string {
  const file = passwordFileOf(folder, user);
  const password = readSecretFile(file).toString('utf8').trim();
  if (/^[\x21-\x7e]{16,1024}$/.test(password)) return password;
  throw new PspError('FILE_UNREADABLE', {
    file,
    detail: password === '' ? 'it is empty' : 'it does not hold one word of at least 16 ASCII characters',
    remedy: 'remove it and run `psp init` again',
  });
}
