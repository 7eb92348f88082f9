// SPDX-License-Identifier: Apache-2.0
// An output file that appears under its name complete or not at all. It is written beside its final place under another
// name, and that draft is removed after a failure and when a signal ends the command. An existing file is overwritten
// only with `--force`, and only when it is a regular file.
import { closeSync, linkSync, lstatSync, openSync, renameSync, rmSync, type StatsBase } from 'node:fs';
import { PspError } from '../services/shared/errors.js';

/** Error codes of file systems without hard links. */
const linkless = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS']);
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class Draft {
  readonly descriptor: number;
  readonly #path: string;
  #isOpen = true;
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.discard();
    // Without the listener the signal ends the process at once, although a worker may still write.
    process.kill(process.pid, signal);
  };

  /**
   * Creates a file that only its owner can read.
   * @param force replaces an existing regular file.
   * @throws PspError FILE_UNWRITABLE
   */
  constructor(
    readonly file: string,
    private readonly force = false,
  ) {
    this.#path = `${file}.${process.pid}.new`;
    for (const signal of endings) process.once(signal, this.#onSignal);
    try {
      demandReplaceable(lstatSync(file, { throwIfNoEntry: false }), file, force);
      this.descriptor = openSync(this.#path, 'wx', 0o600);
    } catch (cause) {
      this.#forget();
      throw cause instanceof PspError ? cause : unwritable(file, cause);
    }
  }

  /** Gives the file its name. @throws PspError FILE_UNWRITABLE; the draft is then removed. */
  finish(): void {
    try {
      // Some file systems report a full disk only here.
      this.#close();
      if (this.force) renameSync(this.#path, this.file);
      else this.#link();
    } catch (cause) {
      throw (cause as NodeJS.ErrnoException).code === 'EEXIST'
        ? exists(this.file)
        : unwritable(this.file, cause);
    } finally {
      this.discard();
    }
  }

  /** Fails when another process has created the file meanwhile; a rename would replace it. */
  #link(): void {
    try {
      linkSync(this.#path, this.file);
    } catch (error) {
      const isThere = lstatSync(this.file, { throwIfNoEntry: false }) !== undefined;
      if (!linkless.has((error as NodeJS.ErrnoException).code ?? '') || isThere) throw error;
      renameSync(this.#path, this.file);
    }
  }

  /** Removes the draft, unless it already has its name. A second call does nothing. */
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

/**
 * Refuses an output file that exists, unless `--force` was given and it is a regular file.
 * @throws PspError FILE_UNWRITABLE
 */
export function demandReplaceable(stat: StatsBase<number> | undefined, file: string, force: boolean): void {
  if (stat === undefined) return;
  if (!force) throw exists(file);
  if (stat.isFile()) return;
  const remedy = 'it is not a regular file, and --force replaces no other; name another file';
  throw new PspError('FILE_UNWRITABLE', { file, detail: 'EEXIST', remedy });
}

const exists = (file: string): PspError =>
  new PspError('FILE_UNWRITABLE', {
    file,
    detail: 'EEXIST',
    remedy: 'name a file that does not exist, or overwrite this one with --force',
  });

const unwritable = (file: string, cause: unknown): PspError => {
  const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
  return new PspError('FILE_UNWRITABLE', { file, detail, remedy: checkDisk }, { cause });
};

/** The remedy when a file cannot be written. */
export const checkDisk = 'check that its folder exists and that its disk has space';
