// SPDX-License-Identifier: Apache-2.0
// Histograms of durations. The buckets are the same in all replicas and versions, so that they can be added: from half a
// millisecond to the longest useful deadline of an exchange.
import type { Histogram } from '../../../proto/gen/bus.js';

/** Seconds. */
export const upperBounds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5] as const;

export class Durations {
  /** Not cumulative; the last bucket is above all bounds. */
  readonly #counts = new Array<bigint>(upperBounds.length + 1).fill(0n);
  #sum = 0;

  constructor(private readonly name: string) {}

  took(seconds: number): void {
    const found = upperBounds.findIndex((bound) => seconds <= bound);
    const bucket = found < 0 ? upperBounds.length : found;
    this.#counts[bucket] = (this.#counts[bucket] as bigint) + 1n;
    this.#sum += seconds;
  }

  read(): Histogram {
    let below = 0n;
    const counts = this.#counts.map((count) => {
      below += count;
      return below;
    });
    return { name: this.name, upperBounds: [...upperBounds], counts, sum: this.#sum };
  }
}
