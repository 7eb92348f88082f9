// SPDX-License-Identifier: Apache-2.0
// Capture files of the offline tools, and how faults that the native side finds in them are reported.
import { openSync } from 'node:fs';
import { isErrorCode, PspError } from '../../services/shared/errors.js';
import { checkDisk } from '../draft.js';

/** @returns a descriptor. @throws PspError FILE_UNREADABLE. */
export function openCapture(file: string, remedy: string): number {
  try {
    return openSync(file, 'r');
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new PspError('FILE_UNREADABLE', { file, detail, remedy }, { cause });
  }
}

/** Errors of the native side with the file name; all other errors are unchanged. */
export function captureError(error: unknown, input: string, remedy: string, output = input): unknown {
  const { code, data } = error as { code?: string; data?: Record<string, string | number> };
  if (code === undefined || data === undefined || !isErrorCode(code) || error instanceof PspError)
    return error;
  const about = code === 'FILE_UNWRITABLE' ? { file: output, remedy: checkDisk } : { file: input, remedy };
  return new PspError(code, { ...data, ...about }, { cause: error });
}
