// SPDX-License-Identifier: Apache-2.0
// Files that are created once and not overwritten unless the caller says so: each appears under its name complete, with its
// owner and mode, or not at all, even if two processes run at once.
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { demandPrivate } from '../../services/shared/config/node_file.js';
import { PspError } from '../../services/shared/errors.js';
import { checkDisk } from '../draft.js';
import { isPair, type KeyPair } from './certificates.js';

/**
 * Creates a folder, and missing parents, that everybody may enter regardless of the umask.
 * @throws PspError FILE_UNWRITABLE, also if a file has its name.
 */
export function makeFolder(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  makeFolder(dirname(path));
  try {
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o755);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** The owner is root. */
export interface Access {
  mode: number;
  group: number;
}

const isSecret = (mode: number): boolean => (mode & 0o007) === 0;

const unwritable = (file: string, cause: unknown): PspError => {
  const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
  return new PspError('FILE_UNWRITABLE', { file, detail, remedy: checkDisk }, { cause });
};

/** Writes files completely or not at all, with their mode from the start, and records what it did. */
export class NewFiles {
  readonly made: string[] = [];
  readonly kept: string[] = [];

  /** Keeps an existing file. @throws PspError SECRET_EXPOSED if it is a secret whose mode permits more. */
  put(path: string, content: string | Buffer, { mode, group }: Access): void {
    const draft = `${path}.${process.pid}.new`;
    try {
      writeFileSync(draft, content, { flag: 'wx', mode: mode & 0o600 });
      chownSync(draft, 0, group);
      chmodSync(draft, mode);
      linkSync(draft, path);
      this.made.push(path);
    } catch (error) {
      const { code = 'error' } = error as NodeJS.ErrnoException;
      if (code !== 'EEXIST') throw unwritable(path, error);
      if (isSecret(mode)) demandPrivate(path, statSync(path).mode, mode);
      this.kept.push(path);
    } finally {
      rmSync(draft, { force: true });
    }
  }

  /** Creates a file, or replaces it at once, so that every reader finds either the old or the new content. */
  replace(path: string, content: string | Buffer, { mode, group }: Access): void {
    const draft = `${path}.${process.pid}.new`;
    try {
      writeFileSync(draft, content, { flag: 'wx', mode: mode & 0o600 });
      chownSync(draft, 0, group);
      chmodSync(draft, mode);
      renameSync(draft, path);
      this.made.push(path);
    } catch (error) {
      throw unwritable(path, error);
    } finally {
      rmSync(draft, { force: true });
    }
  }

  /**
   * Keeps an existing certificate and its key, or creates both if neither exists.
   * @throws PspError FILE_UNREADABLE if they do not belong together or one is missing.
   */
  async pair(
    certificate: string,
    privateKey: string,
    create: () => Promise<KeyPair>,
    access: { certificate: Access; privateKey: Access },
  ): Promise<KeyPair> {
    if (!existsSync(certificate) && !existsSync(privateKey)) {
      const pair = await create();
      this.put(privateKey, pair.privateKey, access.privateKey);
      this.put(certificate, pair.certificate, access.certificate);
      return pair;
    }
    if (existsSync(privateKey)) demandPrivate(privateKey, statSync(privateKey).mode, access.privateKey.mode);
    const remedy = `restore the file that belongs to it, or remove both ${certificate} and ${privateKey}`;
    const pair = { certificate: readText(certificate, remedy), privateKey: readText(privateKey, remedy) };
    if (!isPair(pair)) {
      const detail = 'the key beside it does not belong to it';
      throw new PspError('FILE_UNREADABLE', { file: certificate, detail, remedy });
    }
    this.kept.push(certificate, privateKey);
    return pair;
  }
}

/** @throws PspError FILE_UNREADABLE. */
export function readText(file: string, remedy: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new PspError('FILE_UNREADABLE', { file, detail, remedy }, { cause });
  }
}
