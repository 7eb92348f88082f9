// SPDX-License-Identifier: Apache-2.0
// A file without a name, for one reader: it is in memory, ends with the last descriptor, and its reader opens it as
// /proc/self/fd/N. A child receives its configuration, passwords included, in this way, independently of the
// machine's disks.
import { randomBytes } from 'node:crypto';
import { fchmodSync, fchownSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PspError } from '../../services/shared/errors.js';

/** In memory on every Linux; the others are alternatives in containers without it. */
const folders = ['/dev/shm', '/run', tmpdir()];

/** @returns its descriptor. @throws PspError FILE_UNWRITABLE */
export function privateFile(content: string, reader: { uid: number; gid: number }): number {
  let cause: unknown;
  for (const folder of folders) {
    const path = join(folder, `.psp-${randomBytes(16).toString('hex')}`);
    try {
      const descriptor = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
      const octets = Buffer.from(content);
      for (let done = 0; done < octets.length; ) done += writeSync(descriptor, octets, done);
      fchownSync(descriptor, reader.uid, reader.gid);
      fchmodSync(descriptor, 0o400);
      return descriptor;
    } catch (error) {
      cause = error;
    }
  }
  const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
  const remedy = 'free some space in one of them';
  throw new PspError('FILE_UNWRITABLE', { file: folders.join(', '), detail, remedy }, { cause });
}
