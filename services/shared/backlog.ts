// SPDX-License-Identifier: Apache-2.0
// What waits for a slow reader: entries (a line, a packet) packed into large chunks in the order in which they
// came, bounded in octets. What finds no room is dropped and counted by the entry. Chunks are used again, so that
// a steady stream allocates nothing. Never waits, never writes: see outlet.ts.

/** Entries that leave together. */
export interface Chunk {
  /** Whole; only the first `length` octets count. */
  octets: Buffer;
  length: number;
  entries: number;
}

/** Empty chunks kept for the next entries. */
const spareChunks = 4;

export class Backlog {
  /** Entries that found no room, or whose chunk could not be written. */
  dropped = 0;
  readonly #full: Chunk[] = [];
  readonly #spare: Chunk[] = [];
  #open: Chunk | undefined;
  #queued = 0;
  #entries = 0;

  /**
   * @param limitBytes octets that may wait, those of the chunk being written among them.
   * @param chunkBytes octets that leave together at most; no entry may be longer.
   */
  constructor(
    private readonly limitBytes: number,
    private readonly chunkBytes: number,
  ) {}

  /** Octets that wait or are being written. */
  get queuedBytes(): number {
    return this.#queued;
  }

  /** Entries in them. */
  get queuedEntries(): number {
    return this.#entries;
  }

  /**
   * Makes room for an entry of so many octets behind all others.
   * @returns the chunk and, as its `length` before, where the entry goes; undefined: dropped and counted.
   */
  reserve(length: number): { octets: Buffer; at: number } | undefined {
    if (this.#queued + length > this.limitBytes || length > this.chunkBytes) {
      this.dropped++;
      return undefined;
    }
    if (this.#open !== undefined && this.#open.length + length > this.chunkBytes) {
      this.#full.push(this.#open);
      this.#open = undefined;
    }
    this.#open ??= this.#spare.pop() ?? {
      octets: Buffer.allocUnsafeSlow(this.chunkBytes),
      length: 0,
      entries: 0,
    };
    const at = this.#open.length;
    this.#open.length += length;
    this.#open.entries++;
    this.#queued += length;
    this.#entries++;
    return { octets: this.#open.octets, at };
  }

  /** The oldest chunk, full or not; it counts as waiting until `release`. */
  take(): Chunk | undefined {
    const chunk = this.#full.shift() ?? this.#open;
    if (chunk === this.#open) this.#open = undefined;
    return chunk;
  }

  /** Ends what `take` began: the chunk is written, or given up and its entries dropped. */
  release(chunk: Chunk, written: boolean): void {
    if (!written) this.dropped += chunk.entries;
    this.#queued -= chunk.length;
    this.#entries -= chunk.entries;
    chunk.length = 0;
    chunk.entries = 0;
    if (this.#spare.length < spareChunks) this.#spare.push(chunk);
  }

  /** Gives up everything that waits. */
  clear(): void {
    for (let chunk = this.take(); chunk !== undefined; chunk = this.take()) this.release(chunk, false);
  }
}
