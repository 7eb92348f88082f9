// SPDX-License-Identifier: Apache-2.0
// The small files beside the node file, as `psp init` makes them: read whole and once, before rights are given
// up.
import { readFileSync } from 'node:fs';
import { PspError } from './errors.js';

/** @returns the content; of a secret the caller wipes it. @throws PspError FILE_UNREADABLE, with the remedy. */
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
