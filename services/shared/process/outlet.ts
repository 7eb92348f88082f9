// SPDX-License-Identifier: Apache-2.0
// Destinations of octets that may be slow: standard output, standard error, files. A writer never waits for them: one chunk
// at a time is in progress, the rest waits in a backlog, and what exceeds it is counted. An outlet that fails temporarily
// (a full disk) is retried; one that is gone (a closed pipe) is not, and everything for it is dropped.
import { constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isatty } from 'node:tty';
import type { Backlog, Chunk } from '../backlog.js';

/** Writes chunks one after another; rejects with an Error that has a `code`. */
export interface Outlet {
  /** Resolves once all octets of the chunk are written. Called again with the same chunk after a failure. */
  write(chunk: Chunk): Promise<void>;
  /** Writes the chunk at once, for the end of a process. @returns false if it could not, or another is in progress. */
  writeNow?(chunk: Chunk): boolean;
}

/** The outlet is gone for good. */
export class Gone extends Error {
  constructor(readonly code: string) {
    super(code);
  }
}

export interface PumpOptions {
  /** Between attempts at an outlet that failed. */
  retryMs: number;
  /** Called when the outlet fails, with a code such as ENOSPC, and with undefined when it works again. */
  onState: (code: string | undefined, gone: boolean) => void;
}

/** Moves a backlog into an outlet. */
export class Pump {
  /** Entries that were written. */
  written = 0;
  /** Attempts that failed. */
  failures = 0;
  #running: Promise<void> | undefined;
  #failed = false;
  #gone = false;
  readonly #hurry = new AbortController();

  constructor(
    private readonly backlog: Backlog,
    private readonly outlet: Outlet,
    private readonly options: PumpOptions,
  ) {}

  /** Call it after something was put into the backlog. */
  kick(): void {
    if (this.#gone) this.backlog.clear();
    else this.#running ??= this.#run();
  }

  /** Resolves when the backlog is empty. An outlet that fails from now on is not retried. */
  async finish(): Promise<void> {
    this.#hurry.abort();
    this.kick();
    await this.#running;
  }

  async #run(): Promise<void> {
    // Entries that arrive in the same turn are written together.
    await Promise.resolve();
    for (let chunk = this.backlog.take(); chunk !== undefined; chunk = this.backlog.take()) {
      const { entries } = chunk;
      const written = await this.#write(chunk);
      this.backlog.release(chunk, written);
      if (written) this.written += entries;
      if (this.#gone) this.backlog.clear();
    }
    this.#running = undefined;
  }

  async #write(chunk: Chunk): Promise<boolean> {
    for (;;) {
      try {
        await this.outlet.write(chunk);
        if (this.#failed) this.options.onState(undefined, false);
        this.#failed = false;
        return true;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === undefined) throw error;
        this.failures++;
        this.#failed = true;
        this.#gone = error instanceof Gone;
        this.options.onState(code, this.#gone);
        if (this.#gone || this.#hurry.signal.aborted) return false;
        await delay(this.options.retryMs, undefined, { signal: this.#hurry.signal }).catch(() => undefined);
      }
    }
  }
}

const standardOutput = 1;
const standardError = 2;
/** Between attempts to write to a terminal or pipe that accepts nothing. */
const fullMs = 5;

/**
 * Standard output or standard error, so that no reader can delay this process. Call it while the process may still open its
 * inherited files, and only once for each. A closed pipe is Gone.
 */
export function standardOutlet(descriptor: 1 | 2 = standardOutput): Outlet {
  const stat = fstatSync(descriptor);
  if (stat.isFIFO() || stat.isSocket()) return new PipeOutlet(descriptor);
  // A description of its own that does not block: a stopped terminal would block the inherited one.
  if (isatty(descriptor)) return new DescriptorOutlet(reopened(descriptor), true);
  return new DescriptorOutlet(descriptor, false);
}

/** An open file. */
export const fileOutlet = (descriptor: number): Outlet => new DescriptorOutlet(descriptor, true);

/** The same file, opened again without blocking if possible; else the descriptor itself. */
export function reopened(descriptor: number): number {
  try {
    return openSync(`/proc/self/fd/${descriptor}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return descriptor;
  }
}

/** A pipe or a socket: Node writes as fast as it accepts octets, and calls back afterwards. */
class PipeOutlet implements Outlet {
  readonly #stream: NodeJS.WriteStream;
  #isBusy = false;

  constructor(private readonly descriptor: 1 | 2) {
    this.#stream = descriptor === standardError ? process.stderr : process.stdout;
    // The callback receives it, too.
    this.#stream.on('error', () => undefined);
  }

  write({ octets, length }: Chunk): Promise<void> {
    this.#isBusy = true;
    return new Promise((resolve, reject) => {
      this.#stream.write(octets.subarray(0, length), (error) => {
        this.#isBusy = false;
        if (error) reject(new Gone((error as NodeJS.ErrnoException).code ?? 'EPIPE'));
        else resolve();
      });
    });
  }

  writeNow(chunk: Chunk): boolean {
    return !this.#isBusy && writeAtOnce(this.descriptor, chunk);
  }
}

/** A file or a terminal. Each octet of a chunk is written once, also after a failure in between. */
class DescriptorOutlet implements Outlet {
  #chunk: Chunk | undefined;
  #done = 0;

  /** @param endsWithEio EIO means that it is gone, as for a terminal that was closed. */
  constructor(
    private readonly descriptor: number,
    private readonly endsWithEio: boolean,
  ) {}

  async write(chunk: Chunk): Promise<void> {
    if (this.#chunk !== chunk) this.#done = 0;
    this.#chunk = chunk;
    while (this.#done < chunk.length) {
      try {
        this.#done += await writeSome(this.descriptor, chunk.octets, this.#done, chunk.length - this.#done);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EPIPE' || (code === 'EIO' && this.endsWithEio)) throw new Gone(code);
        if (code !== 'EAGAIN') throw error;
        await delay(fullMs);
      }
    }
    this.#chunk = undefined;
  }

  writeNow(chunk: Chunk): boolean {
    // A write to a file that is in progress is completed even if the process ends.
    return (this.#chunk === undefined || !this.endsWithEio) && writeAtOnce(this.descriptor, chunk);
  }
}

function writeAtOnce(descriptor: number, { octets, length }: Chunk): boolean {
  try {
    for (let done = 0; done < length; ) done += writeSync(descriptor, octets, done, length - done);
    return true;
  } catch {
    return false;
  }
}

const writeSome = (descriptor: number, octets: Buffer, at: number, length: number): Promise<number> =>
  new Promise((resolve, reject) => {
    write(descriptor, octets, at, length, null, (error, written) =>
      error ? reject(error) : resolve(written),
    );
  });
