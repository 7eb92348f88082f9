// SPDX-License-Identifier: Apache-2.0
// How fast one peer is asked, and how long an exchange with it is given. Both follow what was measured, so that a
// slow machine or a slow peer is asked for less at a time and waited for longer, instead of being asked again for
// what it was about to answer. The estimate of the latency is that of RFC 6298. The window grows by a batch for each
// window that was answered in time, and is halved, once for each window, when an exchange took longer than it should
// or was not answered (as in RFC 5681). What finds no room in the window is not begun.

/** Flows that share an exchange where few wait. */
export const batchLimit = 64;
/** Flows of one message at most; keyexchange takes no larger batch from a peer. */
const longestBatch = 1024;
/** An exchange costs at least as much as this many of its flows. */
export const exchangeCost = 16;
const firstWindow = 4 * batchLimit;
/** Less than keyexchange works on at a time for one peer, which still works on some that timed out. */
const widestWindow = 3072;

const costOf = (flows: number): number => Math.max(flows, exchangeCost);

export class Pace {
  /** In flows, as `#inFlight`. */
  #window = firstWindow;
  #inFlight = 0;
  #latencyMs: number | undefined;
  #variationMs = 0;
  /** Twice as much each time that nothing is answered; 1: the last that ended was. */
  #backoff = 1;
  /** Exchanges begun before this do not narrow the window again. */
  #narrowedMs = Number.NEGATIVE_INFINITY;

  /**
   * @param leastMs what an exchange is given at least, and should take at most.
   * @param mostMs what it is given at most.
   */
  constructor(
    private readonly leastMs: number,
    private readonly mostMs: number,
  ) {}

  /**
   * How many flows may be asked for now. Less room than a batch takes is none: what waits meanwhile shares the next
   * exchange. A miss waits for no re-offer, so a batch of misses finds room beyond the window.
   */
  room(of: 'misses' | 'others'): number {
    const room = this.#window - this.#inFlight + (of === 'misses' ? batchLimit : 0);
    return room < batchLimit ? 0 : room;
  }

  /** How many of them may share an exchange. */
  get batch(): number {
    return Math.min(longestBatch, Math.max(batchLimit, this.#window >> 2));
  }

  /** How long an exchange is expected to take; 0 before the first answer. */
  get latencyMs(): number {
    return this.#latencyMs ?? 0;
  }

  /** After this long without an answer a flow is asked for again. */
  get attemptMs(): number {
    const twiceMs = 2 * (this.latencyMs + 4 * this.#variationMs);
    return Math.min(this.mostMs, Math.max(this.leastMs, Math.ceil(twiceMs)));
  }

  /**
   * How long the answer of an exchange that begins now is of use. Where nothing is answered this is longer than an
   * attempt, because an answer that always comes too late would never be measured.
   */
  get timeoutMs(): number {
    return Math.min(this.mostMs, this.attemptMs * this.#backoff);
  }

  began(flows: number): void {
    this.#inFlight += costOf(flows);
  }

  /** It is in flight no more: answered, timed out, or never sent. */
  ended(flows: number): void {
    this.#inFlight -= costOf(flows);
  }

  /** The peer answered, be it late or with a refusal. */
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

  /** Nobody answered within timeoutMs. */
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
