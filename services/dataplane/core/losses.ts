// SPDX-License-Identifier: Apache-2.0
// How much a counter of losses rose in the last minute, so that a passing loss is shown for a minute and not for ever.

/** How long a rise is shown. */
const shownMs = 60_000;
/** Rises within this time are stored as one. */
const grainMs = 1000;

export class Losses {
  #total = 0n;
  /** Oldest first. */
  readonly #rises: { by: bigint; atMs: number }[] = [];

  /** The number of rises that are stored. */
  get size(): number {
    return this.#rises.length;
  }

  /** @param total the counter now. @returns by how much it rose within the last minute. */
  recent(total: bigint, nowMs: number): bigint {
    const by = total - this.#total;
    this.#total = total;
    const last = this.#rises.at(-1);
    if (by > 0n && last !== undefined && nowMs - last.atMs < grainMs) last.by += by;
    else if (by > 0n) this.#rises.push({ by, atMs: nowMs });
    while (nowMs - (this.#rises[0]?.atMs ?? nowMs) >= shownMs) this.#rises.shift();
    return this.#rises.reduce((sum, rise) => sum + rise.by, 0n);
  }
}
