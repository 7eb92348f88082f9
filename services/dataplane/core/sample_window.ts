// SPDX-License-Identifier: Apache-2.0
// How many samples of one subject may be in flight to the samplers. Samples are sent in batches, in the order in which
// they were taken. While a batch is unanswered, samples are queued until the next batch is full; while none is
// unanswered, they are sent at once. The number of unanswered batches is limited; samples beyond it are dropped, newest
// first, and never block. When no sampler exists to receive a batch, the queue is emptied and for restMs all samples
// are dropped. After a batch without an answer, one batch is sent at a time until one is answered. This does not apply
// while other batches are answered, because then only one of several samplers hangs.

export interface WindowLimits {
  /** Samples in one batch. */
  batch: number;
  /** Batches that may be unanswered. */
  batches: number;
  restMs: number;
  /** Without an answer for this long all samplers count as silent. It is the timeout of a batch. */
  silentMs: number;
}

/**
 * The result of a batch: accepted by a sampler; refused by one; not answered in time, so that its result is unknown;
 * or there was no sampler to receive it.
 */
export type BatchOutcome = 'taken' | 'refused' | 'unanswered' | 'absent';

export class SampleWindow {
  /** Samples by result. */
  readonly counters = { delivered: 0, dropped: 0, unanswered: 0 };
  #waiting = 0;
  #open = 0;
  #doubtful = false;
  #takenMs = Number.NEGATIVE_INFINITY;
  #restUntilMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly limits: WindowLimits) {}

  /** Batches in flight. */
  get open(): number {
    return this.#open;
  }

  /** `count` samples were taken. @returns how many of them, the first ones, are queued; the others are dropped. */
  keep(count: number, nowMs: number): number {
    const { batch } = this.limits;
    const space = nowMs < this.#restUntilMs ? 0 : this.#free * batch - this.#waiting;
    const kept = Math.max(0, Math.min(count, space));
    this.#waiting += kept;
    this.counters.dropped += count - kept;
    return kept;
  }

  /** Begins the next batch if one may be sent. @returns its number of samples, the oldest of the queue; 0: none. */
  next(): number {
    const size = Math.min(this.#waiting, this.limits.batch);
    if (this.#free <= 0 || (size < this.limits.batch && this.#open > 0)) return 0;
    if (size > 0) this.#open++;
    this.#waiting -= size;
    return size;
  }

  /** A batch of `count` ended. @returns how many queued samples are dropped with it: all or none. */
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

  /** How many more batches may begin. */
  get #free(): number {
    return (this.#doubtful ? 1 : this.limits.batches) - this.#open;
  }
}
