// SPDX-License-Identifier: Apache-2.0
// A virtual clock and a seeded source of chance. Everything that happens is work at a time; nothing else moves the clock,
// so a seed always gives the same run.
import { TimerQueue } from '../../services/dataplane/core/timer_queue.js';

export const startMs = 1_000_000;

export class World {
  /** Monotonic milliseconds, the same clock for all machines; they may be fractions. */
  nowMs = startMs;
  readonly #work = new TimerQueue<() => void>();
  #state: number;

  /** @param print receives what happens, for a person. */
  constructor(
    seed: number,
    private readonly print?: (line: string) => void,
  ) {
    this.#state = seed | 0;
  }

  trace(line: () => string): void {
    this.print?.(`${(this.nowMs - startMs).toFixed(1).padStart(9)} ${line()}`);
  }

  get nowNs(): bigint {
    return BigInt(Math.round(this.nowMs * 1e6));
  }

  after(ms: number, work: () => void): void {
    this.#work.add(work, this.nowMs + ms);
  }

  /** Does all work until then. */
  run(untilMs: number): void {
    for (let next = this.#work.next(untilMs); next !== undefined; next = this.#work.next(untilMs)) {
      this.nowMs = next.atMs;
      next.key();
    }
    this.nowMs = untilMs;
  }

  /** From 0 to 1 (mulberry32). */
  random(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  between(least: number, most: number): number {
    return least + this.random() * (most - least);
  }

  /** A whole number below `below`. */
  below(below: number): number {
    return Math.floor(this.random() * below);
  }

  oneOf<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}
