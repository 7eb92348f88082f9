// SPDX-License-Identifier: Apache-2.0
// The small files beside the node file, as `psp init` makes them. They are read before privileges are dropped; those of TLS are
// read again when they change, and so is the bus secret. A secret that other users can access is refused, because it may have been copied or replaced.
import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { PspError } from '../errors.js';

/** The widest mode of a node's secret: its owner reads and writes, one group reads. */
const secretMode = 0o640;

/** @returns the content; the caller wipes that of a secret. @throws PspError FILE_UNREADABLE, with the remedy. */
export function readNodeFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    const remedy =
      detail === 'ENOENT' ? 'make it with `psp init`' : 'start as root or give this user the right';
    throw new PspError('FILE_UNREADABLE', { file, detail, remedy }, { cause });
  }
}

/** Which file a name leads to and when it was last changed; differs after any change. */
export function fileState(file: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(',');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'error';
  }
}

/** @returns undefined if there is no such file. @throws PspError FILE_UNREADABLE */
export function readNodeFileIfAny(file: string): Buffer | undefined {
  try {
    return readNodeFile(file);
  } catch (error) {
    if (error instanceof PspError && error.data.detail === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Reads a secret: a private key, a password or the bus secret. The caller wipes it.
 * @throws PspError FILE_UNREADABLE; SECRET_EXPOSED if its mode grants more than `secretMode`.
 */
export function readSecretFile(file: string): Buffer {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch {
    return readNodeFile(file);
  }
  try {
    demandPrivate(file, fstatSync(descriptor).mode, secretMode);
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** @throws PspError SECRET_EXPOSED if `mode` grants anything beyond `most`. */
export function demandPrivate(file: string, mode: number, most: number): void {
  const granted = mode & 0o777;
  if ((granted & ~most) === 0) return;
  const octal = (bits: number) => `0${bits.toString(8).padStart(3, '0')}`;
  throw new PspError('SECRET_EXPOSED', { file, mode: octal(granted), most: octal(most) });
}
