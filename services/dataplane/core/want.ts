// SPDX-License-Identifier: Apache-2.0
// One flow's wish for an exchange with its peer, and when it is tried next. A want has up to three reasons: a
// packet is held (tried each second until holdMs is over), the node file names the flow (1, 2, 4 ... 30 s
// apart, until it has a key), a rotation made the peer's key for us old (likewise until answered, but the
// first ten attempts a second apart when the peer is known to have used a key of ours). A bus that was away and
// came back ends the back-off. One exchange serves them all; one is in flight at a time, and the next attempt takes
// its place.
import type { Reason } from './facts.js';
import type { Pace } from './pace.js';

/** Between attempts at least; more where the peer is slower. */
const repeatMs = 1000;
const longestBackoffMs = 30_000;
/** How many re-offers follow one another without back-off to a peer that proved to be there. */
const promptReoffers = 10;

export class Want {
  /** When the packet missed that has been held longest. */
  missedMs: number | undefined;
  configured = false;
  /** How many flows may share its exchange: fewer after it was refused together with others, until a key comes. */
  together = Number.POSITIVE_INFINITY;
  /** The exchange in flight. */
  exchange: bigint | undefined;
  nextMs = 0;
  #stale = false;
  #attempts = 0;
  #triedMs = Number.NEGATIVE_INFINITY;

  constructor(
    readonly peer: number,
    private readonly pace: Pace,
  ) {}

  get stale(): boolean {
    return this.#stale;
  }

  /** The peer's offer of ours is old; attempts are frequent again. */
  becomeStale(): void {
    this.#stale = true;
    this.beginAnew();
  }

  /** Attempts are frequent again. */
  beginAnew(): void {
    this.#attempts = 0;
  }

  fresh(): void {
    this.#stale = false;
  }

  /** undefined: nothing is wanted any more. */
  get reason(): Reason | undefined {
    if (this.missedMs !== undefined) return 'miss';
    if (this.configured) return 'configured';
    return this.#stale ? 'stale' : undefined;
  }

  /** When an attempt that is in flight has had its time. */
  get spareMs(): number {
    return this.exchange === undefined ? 0 : this.#triedMs + this.#attemptMs;
  }

  /** Only a held packet waits for it, and not as long as an exchange takes: it is not worth beginning. */
  isLate(holdMs: number, nowMs: number): boolean {
    if (this.missedMs === undefined || this.configured || this.#stale) return false;
    return this.missedMs + holdMs - nowMs < Math.min(this.pace.latencyMs, holdMs / 2);
  }

  /**
   * A new attempt begins.
   * @param proven the peer once answered an offer of this flow, or used one.
   */
  attempt(exchange: bigint, nowMs: number, proven: boolean): void {
    this.#attempts++;
    this.exchange = exchange;
    this.#triedMs = nowMs;
    this.nextMs = nowMs + Math.max(this.#attemptMs, this.#backoffMs(proven));
  }

  /** An egress key came: what waited for one is satisfied, and no exchange is in flight any more. */
  keyed(): void {
    this.missedMs = undefined;
    this.configured = false;
    this.together = Number.POSITIVE_INFINITY;
    this.exchange = undefined;
  }

  get #attemptMs(): number {
    return Math.max(repeatMs, this.pace.attemptMs);
  }

  #backoffMs(proven: boolean): number {
    if (this.reason === 'miss') return 0;
    const prompt = this.#stale && proven ? promptReoffers : 1;
    const doublings = Math.min(Math.max(0, this.#attempts - prompt), 16);
    return Math.min(longestBackoffMs, repeatMs * 2 ** doublings);
  }
}
