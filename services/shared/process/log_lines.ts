// SPDX-License-Identifier: Apache-2.0
// Lines for stderr. `write` only copies a line into a bounded backlog; the backlog is written as fast as the reader accepts
// it. Lines that find no space are dropped and counted, and once there is space again one line reports
// how many. Nothing here waits, so a stalled reader delays nothing.
import { Backlog, type Chunk } from '../backlog.js';
import { type Outlet, Pump } from './outlet.js';

/** Lines that wait, in octets. */
const limitBytes = 1024 * 1024;
/** Lines that are written at once; a line that is longer is cut. */
const chunkBytes = 64 * 1024;
const retryMs = 1000;

export class LogLines {
  readonly #backlog = new Backlog(limitBytes, chunkBytes);
  readonly #pump: Pump;
  /** Dropped lines that a line has reported. */
  #reported = 0;
  #droppedFurther = 0;

  /** @param noticeOf the line that reports so many dropped lines. */
  constructor(
    private readonly outlet: Outlet,
    private readonly noticeOf: (dropped: number) => string,
  ) {
    const write = async (chunk: Chunk): Promise<void> => {
      await outlet.write(chunk);
      this.#report();
    };
    this.#pump = new Pump(this.#backlog, { write }, { retryMs, onState: () => undefined });
  }

  /** Lines that were dropped here, or by `psp up`, which passes them on. */
  get dropped(): number {
    return this.#backlog.dropped + this.#droppedFurther;
  }

  /** Counts lines of ours that the reader of our stderr had to drop. */
  addDropped(lines: number): void {
    this.#droppedFurther += lines;
  }

  /** Accepts one line with its line feed. @returns false if it was dropped. */
  write(line: string): boolean {
    const isTaken = this.#put(line);
    this.#pump.kick();
    return isTaken;
  }

  /** Resolves once all lines are written. */
  finish(): Promise<void> {
    return this.#pump.finish();
  }

  /** Writes what can be written at once; the rest is lost. For the end of a process. */
  writeLast(): void {
    for (let chunk = this.#backlog.take(); chunk !== undefined; chunk = this.#backlog.take()) {
      this.#backlog.release(chunk, this.outlet.writeNow?.(chunk) ?? false);
    }
  }

  #put(line: string): boolean {
    let octets = Buffer.from(line);
    if (octets.length > chunkBytes) octets = Buffer.concat([octets.subarray(0, chunkBytes - 1), lineFeed]);
    const room = this.#backlog.reserve(octets.length);
    if (room === undefined) return false;
    octets.copy(room.octets, room.at);
    return true;
  }

  /** The reader accepted something: as soon as there is space, a line reports what was dropped. */
  #report(): void {
    const dropped = this.#backlog.dropped - this.#reported;
    if (dropped === 0) return;
    const notice = this.noticeOf(dropped);
    if (this.#backlog.queuedBytes + notice.length > limitBytes) return;
    this.#reported = this.#backlog.dropped;
    this.#put(notice);
  }
}

const lineFeed = Buffer.from('\n');
