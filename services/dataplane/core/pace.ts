// SPDX-License-Identifier: Apache-2.0
// How many flows may be in flight towards one peer (its window), and the timeout of an exchange with it. Both follow the
// measured latency, so that a slow machine or a slow peer receives less at a time and has more time to answer, instead
// of receiving the same flows again just before it answers. The latency is estimated as in RFC 6298. The window grows
// by a batch for each window that was answered in time. It is halved, once for each window, when an exchange took
// longer than it should or was not answered (as in RFC 5681). A flow without space in the window waits.

/** How many flows share an exchange when few wait. */
export const batchLimit = 64;
/** The most flows of one message; keyexchange accepts no larger batch from a peer. */
const longestBatch = 1024;
/** An exchange occupies at least the space of this many flows. */
export const exchangeCost = 16;
const firstWindow = 4 * batchLimit;
/** Fewer than keyexchange processes at a time for one peer, because it may still process some that timed out. */
const widestWindow = 3072;

const costOf = (flows: number): number => Math.max(flows, exchangeCost);

export class Pace {
  /** In flows, like `#inFlight`. */
  #window = firstWindow;
  #inFlight = 0;
  #latencyMs: number | undefined;
  #variationMs = 0;
  /** Doubles with each window without an answer; 1 after an answer. */
  #backoff = 1;
  /** Exchanges that began before this time do not narrow the window again. */
  #narrowedMs = Number.NEGATIVE_INFINITY;

  /**
   * @param leastMs the shortest timeout, and the longest time that an exchange should take.
   * @param mostMs the longest timeout.
   */
  constructor(
    private readonly leastMs: number,
    private readonly mostMs: number,
  ) {}

  /**
   * How many more flows may be in flight now. Space for less than a batch counts as none, so that the flows that wait
   * share the next exchange. Misses do not wait for re-offers, so they may exceed the window by a batch.
   */
  space(of: 'misses' | 'others'): number {
    const space = this.#window - this.#inFlight + (of === 'misses' ? batchLimit : 0);
    return space < batchLimit ? 0 : space;
  }

  /** How many flows may share an exchange. */
  get batch(): number {
    return Math.min(longestBatch, Math.max(batchLimit, this.#window >> 2));
  }

  /** How long an exchange is expected to take; 0 before the first answer. */
  get latencyMs(): number {
    return this.#latencyMs ?? 0;
  }

  /** After this long without an answer the next attempt for a flow may begin. */
  get attemptMs(): number {
    const expectedMs = Math.ceil(this.latencyMs + 4 * this.#variationMs);
    return Math.min(this.mostMs, Math.max(this.leastMs, expectedMs));
  }

  /**
   * How long the answer of an exchange that begins now is of use. While a peer does not answer, this is longer than an
   * attempt, because an answer that is always too late would never be measured.
   */
  get timeoutMs(): number {
    return Math.min(this.mostMs, this.attemptMs * this.#backoff);
  }

  /** An exchange with so many flows is in flight. */
  began(flows: number): void {
    this.#inFlight += costOf(flows);
  }

  /** An exchange with so many flows is no longer in flight: answered, timed out, or never published. */
  ended(flows: number): void {
    this.#inFlight -= costOf(flows);
  }

  /** The peer answered or refused, in time or late. */
  answered(flows: number, startedMs: number, nowMs: number): void {
    const tookMs = nowMs - startedMs;
    this.#backoff = 1;
    if (this.#latencyMs === undefined) {
      this.#latencyMs = tookMs;
      this.#variationMs = tookMs / 2;
    } else {
      this.#variationMs += (Math.abs(this.#latencyMs - tookMs) - this.#variationMs) / 4;
      this.#latencyMs += (tookMs - this.#latencyMs) / 8;
    }
    if (tookMs > this.leastMs) this.#narrow(startedMs, nowMs);
    else this.#window = Math.min(widestWindow, this.#window + (batchLimit * costOf(flows)) / this.#window);
  }

  /** The peer restarted: earlier attempts without an answer say nothing about it any more. A wider window stays. */
  peerRestarted(): void {
    this.#window = Math.max(this.#window, firstWindow);
    this.#backoff = 1;
  }

  /** The peer did not answer an attempt in time. */
  unanswered(startedMs: number, nowMs: number): void {
    if (this.#narrow(startedMs, nowMs)) this.#backoff = Math.min(16, 2 * this.#backoff);
  }

  #narrow(startedMs: number, nowMs: number): boolean {
    if (startedMs < this.#narrowedMs) return false;
    this.#narrowedMs = nowMs;
    this.#window = Math.max(batchLimit, this.#window / 2);
    return true;
  }
}
