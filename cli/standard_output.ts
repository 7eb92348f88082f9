// SPDX-License-Identifier: Apache-2.0
// Standard output as commands write to it. A command is done only when all that it printed was taken: a full disk fails
// it. A reader that goes away, as `head` does, ends it without a word, as SIGPIPE ends other tools.
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
   * Waits until all that was printed is taken.
   * @returns 141 when the reader went away. @throws PspError FILE_UNWRITABLE when anything else kept it from being taken.
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
      const remedy = 'make room or send it elsewhere; what was written is not whole';
      throw new PspError('FILE_UNWRITABLE', { file: 'standard output', detail, remedy }, { cause });
    }
  }
}

/** Node's own stream for files and devices takes a write that was cut short, as by a full disk, for a whole one. */
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
