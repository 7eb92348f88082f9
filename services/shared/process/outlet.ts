// SPDX-License-Identifier: Apache-2.0
// Places that take octets when they can: standard output and standard error, and what stands behind a Backlog in general. Whoever
// writes here never waits for them: one chunk at a time is under way, the rest waits in the backlog, and what
// overflows it is counted. An outlet that fails for now (a full disk) is tried again; one that is gone (a closed
// pipe) is left alone, and everything for it is dropped.
import { constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isatty } from 'node:tty';
import type { Backlog, Chunk } from '../backlog.js';

/** Takes chunks one after another; rejects with an Error that has a `code`. */
export interface Outlet {
  /** Resolves once all octets of the chunk are taken. Called again with the same chunk after a failure. */
  write(chunk: Chunk): Promise<void>;
  /** Takes the chunk at once, for the end of a process. @returns false when it could not, or another is under way. */
  writeNow?(chunk: Chunk): boolean;
}

/** Nothing will ever be written there again. */
export class Gone extends Error {
  constructor(readonly code: string) {
    super(code);
  }
}

export interface PumpOptions {
  /** Between attempts at an outlet that failed. */
  retryMs: number;
  /** The outlet failed, with a code such as ENOSPC; undefined: it works again. */
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

  /** Something was put into the backlog. */
  kick(): void {
    if (this.#gone) this.backlog.clear();
    else this.#running ??= this.#run();
  }

  /** Resolves when the backlog is empty. An outlet that fails from now on is not tried again. */
  async finish(): Promise<void> {
    this.#hurry.abort();
    this.kick();
    await this.#running;
  }

  async #run(): Promise<void> {
    // What arrives in the same turn leaves together.
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
/** Between attempts at a terminal or pipe that takes nothing. */
const fullMs = 5;

/**
 * Standard output or standard error, such that no reader can hold this process up. Call it while the process may
 * still open what it inherited, and only once for each. A closed pipe is Gone.
 */
export function standardOutlet(descriptor: 1 | 2 = standardOutput): Outlet {
  const stat = fstatSync(descriptor);
  if (stat.isFIFO() || stat.isSocket()) return new PipeOutlet(descriptor);
  // Of its own and not blocking: a stopped terminal would hold up whoever writes to the inherited one.
  if (isatty(descriptor)) return new DescriptorOutlet(reopened(descriptor), true);
  return new DescriptorOutlet(descriptor, false);
}

/** An open file. */
export const fileOutlet = (descriptor: number): Outlet => new DescriptorOutlet(descriptor, true);

/** The same file, not blocking where that can be; else the descriptor itself. */
export function reopened(descriptor: number): number {
  try {
    return openSync(`/proc/self/fd/${descriptor}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return descriptor;
  }
}

/** Node writes to pipes and sockets as they take it, and says so in the callback. */
class PipeOutlet implements Outlet {
  readonly #stream: NodeJS.WriteStream;
  #isBusy = false;

  constructor(private readonly descriptor: 1 | 2) {
    this.#stream = descriptor === standardError ? process.stderr : process.stdout;
    // Told to the callback too.
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

/** Files and terminals. A chunk is written once, whatever failed in between. */
class DescriptorOutlet implements Outlet {
  #chunk: Chunk | undefined;
  #done = 0;

  /** @param endsWithEio an input or output error is the end of it, as of a terminal that was closed. */
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
    // A write to a file that is under way is carried out whole when the process ends.
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
