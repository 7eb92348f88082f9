// SPDX-License-Identifier: Apache-2.0
// How many samples may be on their way to a sampler, of one subject. They go in batches, in the order in which
// they were taken. While a batch is unanswered, samples gather until the next is full; while none is, they go at
// once. So many batches may be unanswered; what comes beyond is dropped, newest first, and nothing ever waits
// for room. A batch that nobody could take empties the window, and for restMs nothing is kept. After a batch that
// nobody answered, batches go one at a time until one is answered again; not so while others are answered, because
// then one sampler of several is stuck and the rest should have their work.

export interface WindowLimits {
  /** Samples of one batch. */
  batch: number;
  /** Batches that may be unanswered. */
  batches: number;
  restMs: number;
  /** Samplers are silent once none has answered for so long: the time after which a batch is given up. */
  silentMs: number;
}

/**
 * What became of a batch: taken by a sampler; refused by one; not answered in time, so that nobody knows; or there
 * was nobody to take it.
 */
export type BatchOutcome = 'taken' | 'refused' | 'unanswered' | 'absent';

export class SampleWindow {
  /** Samples, by what became of them. */
  readonly counters = { delivered: 0, dropped: 0, unanswered: 0 };
  #waiting = 0;
  #open = 0;
  #doubtful = false;
  #takenMs = Number.NEGATIVE_INFINITY;
  #restUntilMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly limits: WindowLimits) {}

  /** Batches on their way. */
  get open(): number {
    return this.#open;
  }

  /** `count` samples were taken. @returns how many of them, the first ones, wait from now on; the rest is dropped. */
  keep(count: number, nowMs: number): number {
    const { batch } = this.limits;
    const room = nowMs < this.#restUntilMs ? 0 : this.#free * batch - this.#waiting;
    const kept = Math.max(0, Math.min(count, room));
    this.#waiting += kept;
    this.counters.dropped += count - kept;
    return kept;
  }

  /** Opens the next batch if one may go. @returns how many of those that wait, oldest first, it takes; 0: none goes. */
  next(): number {
    const size = Math.min(this.#waiting, this.limits.batch);
    if (this.#free <= 0 || (size < this.limits.batch && this.#open > 0)) return 0;
    if (size > 0) this.#open++;
    this.#waiting -= size;
    return size;
  }

  /** What became of a batch of `count`. @returns how many of those that wait, all or none, are dropped with it. */
  ended(outcome: BatchOutcome, count: number, nowMs: number): number {
    this.#open--;
    if (outcome === 'taken') this.counters.delivered += count;
    else if (outcome === 'unanswered') this.counters.unanswered += count;
    else this.counters.dropped += count;
    if (outcome === 'taken') this.#takenMs = nowMs;
    const silent = nowMs - this.#takenMs >= this.limits.silentMs;
    if (outcome === 'unanswered' && silent) this.#doubtful = true;
    if (outcome === 'taken') this.#doubtful = false;
    if (outcome !== 'absent') return 0;
    this.#restUntilMs = nowMs + this.limits.restMs;
    const gone = this.#waiting;
    this.#waiting = 0;
    this.counters.dropped += gone;
    return gone;
  }

  /** Batches that may still be opened. */
  get #free(): number {
    return (this.#doubtful ? 1 : this.limits.batches) - this.#open;
  }
}
