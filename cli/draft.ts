// SPDX-License-Identifier: Apache-2.0
// A file that appears under its name whole or not at all: it is written beside it under another name, which goes
// away with a failure and with a signal that ends the command. Nothing that is there is overwritten.
import { closeSync, linkSync, lstatSync, openSync, renameSync, rmSync } from 'node:fs';
import { PspError } from '../services/shared/errors.js';

/** What file systems without hard links say. */
const linkless = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS']);
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class Draft {
  readonly descriptor: number;
  readonly #path: string;
  #isOpen = true;
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.discard();
    // As without this listener: a worker may still write, and would be waited for otherwise.
    process.kill(process.pid, signal);
  };

  /** Readable by its owner alone. @throws PspError FILE_UNWRITABLE, when there is a file of that name too. */
  constructor(readonly file: string) {
    this.#path = `${file}.${process.pid}.new`;
    for (const signal of endings) process.once(signal, this.#onSignal);
    try {
      if (isThere(file)) throw taken(file);
      this.descriptor = openSync(this.#path, 'wx', 0o600);
    } catch (cause) {
      this.#forget();
      throw cause instanceof PspError ? cause : unwritable(file, cause);
    }
  }

  /** Gives it its name. @throws PspError FILE_UNWRITABLE; it is then gone. */
  finish(): void {
    try {
      // Some file systems tell only now that there was no room.
      this.#close();
      this.#name();
    } catch (cause) {
      throw (cause as NodeJS.ErrnoException).code === 'EEXIST'
        ? taken(this.file)
        : unwritable(this.file, cause);
    } finally {
      this.discard();
    }
  }

  /** Fails where somebody else has made such a file meanwhile, which renaming alone would replace. */
  #name(): void {
    try {
      linkSync(this.#path, this.file);
    } catch (error) {
      if (!linkless.has((error as NodeJS.ErrnoException).code ?? '') || isThere(this.file)) throw error;
      renameSync(this.#path, this.file);
    }
  }

  /** What was written is gone, unless it has its name. Once more does nothing. */
  discard(): void {
    this.#forget();
    rmSync(this.#path, { force: true });
    this.#close();
  }

  #close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.descriptor);
  }

  #forget(): void {
    for (const signal of endings) process.removeListener(signal, this.#onSignal);
  }
}

/** A link to nowhere too. */
const isThere = (file: string): boolean => lstatSync(file, { throwIfNoEntry: false }) !== undefined;

const taken = (file: string): PspError =>
  new PspError('FILE_UNWRITABLE', {
    file,
    detail: 'EEXIST',
    remedy: 'name a new one, nothing is overwritten',
  });

const unwritable = (file: string, cause: unknown): PspError => {
  const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
  return new PspError('FILE_UNWRITABLE', { file, detail, remedy: 'see its folder and its disk' }, { cause });
};
