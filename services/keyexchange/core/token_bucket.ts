// SPDX-License-Identifier: Apache-2.0
// Limits how often an event is reported that a peer can cause at will: 32 at once, then one every ten seconds.

export const bucketSize = 32;
export const refillMs = 10_000;

export class TokenBucket {
  #left = bucketSize;
  #filledMs: number;

  constructor(nowMs: number) {
    this.#filledMs = nowMs;
  }

  /** Takes a token. @returns false if there is none. */
  take(nowMs: number): boolean {
    const refills = Math.floor((nowMs - this.#filledMs) / refillMs);
    this.#left = Math.min(bucketSize, this.#left + refills);
    this.#filledMs += refills * refillMs;
    if (this.#left === 0) return false;
    this.#left--;
    return true;
  }
}
