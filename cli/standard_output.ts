// SPDX-License-Identifier: Apache-2.0
// Standard output of a command. A command is done only when all its output was accepted: a full disk makes it fail.
// If the reader goes away, as `head` does, the command ends silently, as SIGPIPE ends other tools.
import { fstatSync, fsyncSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { PspError } from '../services/shared/errors.js';

const standardOutput = 1;
/** A shell's exit code for a command that SIGPIPE ended. Node ignores that signal. */
const readerGone = 141;

const ignored = (): void => undefined;

/** Watches standard output from the start of a command to its end. */
export class StandardOutput {
  #error: NodeJS.ErrnoException | undefined;
  readonly #onError = (error: NodeJS.ErrnoException): void => {
    this.#error ??= error;
  };

  constructor() {
    writeWhole();
    process.stdout.on('error', this.#onError);
    for (const stream of [process.stdout, process.stderr]) {
      if (!stream.listeners('error').includes(ignored)) stream.on('error', ignored);
    }
  }

  /**
   * Waits until all output is accepted.
   * @returns 141 if the reader went away. @throws PspError FILE_UNWRITABLE if anything else prevented it.
   */
  async finish(): Promise<number | undefined> {
    while (this.#error === undefined && process.stdout.writableLength > 0) await delay(1);
    // The stream reports a failed write in the next turn.
    await delay(0);
    process.stdout.off('error', this.#onError);
    try {
      if (this.#error !== undefined) throw this.#error;
      // Some file systems report a full disk only now.
      if (fstatSync(standardOutput).isFile()) fsyncSync(standardOutput);
      return undefined;
    } catch (cause) {
      const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
      if (detail === 'EPIPE') return readerGone;
      const remedy = 'free some space or redirect the output; the written output is incomplete';
      throw new PspError('FILE_UNWRITABLE', { file: 'standard output', detail, remedy }, { cause });
    }
  }
}

/** Node's own stream for files and devices treats a short write, as on a full disk, as complete. */
function writeWhole(): void {
  const stat = fstatSync(standardOutput);
  if (!stat.isFile() && (!stat.isCharacterDevice() || isatty(standardOutput))) return;
  process.stdout._write = (chunk: Buffer | string, encoding, done) => {
    const octets = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
    try {
      for (let at = 0; at < octets.length; ) at += writeSync(standardOutput, octets, at);
      done();
    } catch (error) {
      done(error as Error);
    }
  };
}
