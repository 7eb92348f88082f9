// SPDX-License-Identifier: Apache-2.0
// A bounded buffer for a slow reader: entries (lines, packets) packed into large chunks in the order of their arrival. An
// entry that exceeds the limit is dropped and counted. Chunks are reused, so that a steady stream allocates no memory. It
// never waits and never writes: see outlet.ts.

/** Entries that are written together. */
export interface Chunk {
  /** The whole buffer; only the first `length` octets are used. */
  octets: Buffer;
  length: number;
  entries: number;
}

/** Empty chunks kept for the next entries. */
const spareChunks = 4;

export class Backlog {
  /** Entries that exceeded the limit, or whose chunk could not be written. */
  dropped = 0;
  readonly #full: Chunk[] = [];
  readonly #spare: Chunk[] = [];
  #open: Chunk | undefined;
  #queued = 0;
  #entries = 0;

  /**
   * @param limitBytes octets that may wait, those of the chunk being written among them.
   * @param chunkBytes the most octets that are written together; no entry may be longer.
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
   * Reserves space for an entry of so many octets after all others.
   * @returns the chunk and the offset of the entry in it; undefined if the entry is dropped and counted.
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

  /** Ends what `take` began: the chunk was written, or its entries are dropped. */
  release(chunk: Chunk, written: boolean): void {
    if (!written) this.dropped += chunk.entries;
    this.#queued -= chunk.length;
    this.#entries -= chunk.entries;
    chunk.length = 0;
    chunk.entries = 0;
    if (this.#spare.length < spareChunks) this.#spare.push(chunk);
  }

  /** Drops everything that waits. */
  clear(): void {
    for (let chunk = this.take(); chunk !== undefined; chunk = this.take()) this.release(chunk, false);
  }
}
