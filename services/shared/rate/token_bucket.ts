// SPDX-License-Identifier: Apache-2.0
// Limits how often something happens that a peer can cause at will. A bucket is full at first; what is taken from it
// comes back at a steady rate.

export interface BucketRate {
  /** Tokens in a full bucket: the most that are taken at once. */
  size: number;
  /** Time in which one token comes back. */
  refillMs: number;
}

/** For events that are recorded: 32 at once, then one every ten seconds. */
export const bucketSize = 32;
export const refillMs = 10_000;

/** More than the error of sums of fractions of a millisecond. */
const roundingMs = 1e-6;

export class TokenBucket {
  readonly #rate: BucketRate;
  /** The tokens in the bucket, in units of the time in which they come back. */
  #heldMs: number;
  #atMs: number;

  constructor(nowMs: number, rate: BucketRate = { size: bucketSize, refillMs }) {
    this.#rate = rate;
    this.#heldMs = rate.size * rate.refillMs;
    this.#atMs = nowMs;
  }

  /** Takes tokens. @returns false, and takes none, if there are too few. */
  take(nowMs: number, count = 1): boolean {
    if (this.waitMs(nowMs, count) > 0) return false;
    this.#heldMs = Math.max(0, this.#heldMs - count * this.#rate.refillMs);
    return true;
  }

  /** Whole milliseconds until there are enough tokens. A count beyond the size of the bucket waits until it is full. */
  waitMs(nowMs: number, count = 1): number {
    const { size, refillMs } = this.#rate;
    this.#heldMs = Math.min(size * refillMs, this.#heldMs + Math.max(0, nowMs - this.#atMs));
    this.#atMs = nowMs;
    const missingMs = Math.min(count, size) * refillMs - this.#heldMs;
    return Math.max(0, Math.ceil(missingMs - roundingMs));
  }
}
