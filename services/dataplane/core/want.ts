// SPDX-License-Identifier: Apache-2.0
// One flow for which an exchange with its peer is wanted, and when the next attempt is due. A want has up to four
// reasons: a packet is held (attempts each second until holdMs have passed); the node file names the flow (attempts
// 1, 2, 4 ... 30 s apart until it has a key); the egress key must be replaced while it stays in use (attempts as for
// a configured flow until a newer key arrives, but the first ten are a second apart); a rotation made the peer's offer
// stale (attempts as for a configured flow until a new offer is answered, but the first ten are a second apart when
// the peer is known to have used an offer of this flow). When the bus returns, the back-off starts anew. One exchange serves all reasons. One exchange of a flow
// is in flight at a time, and the next attempt replaces it.
import type { Reason } from './facts.js';
import type { Pace } from './pace.js';

/** Shortest time between attempts; it is longer where the peer is slower. */
const repeatMs = 1000;
const longestBackoffMs = 30_000;
/** How many attempts follow one another without back-off for a flow that is known to be in use. */
const promptAttempts = 10;

export class Want {
  /** When the engine reported that it holds a packet of the flow; undefined when it holds none. */
  missedMs: number | undefined;
  configured = false;
  /** The flow has an egress key, which must be replaced. */
  renewing = false;
  stale = false;
  /** How many flows may share its exchange: fewer after it was refused together with others, until a key arrives. */
  shareLimit = Number.POSITIVE_INFINITY;
  /** The exchange in flight. */
  exchange: bigint | undefined;
  nextMs = 0;
  #attempts = 0;
  #attemptedMs = Number.NEGATIVE_INFINITY;

  constructor(
    readonly peer: number,
    private readonly pace: Pace,
  ) {}

  /** The strongest reason; undefined when no exchange is wanted any more. */
  get reason(): Reason | undefined {
    if (this.missedMs !== undefined) return 'miss';
    if (this.configured) return 'configured';
    if (this.renewing) return 'renew';
    return this.stale ? 'stale' : undefined;
  }

  /** Attempts are frequent again. */
  resetBackoff(): void {
    this.#attempts = 0;
  }

  /** When the attempt in flight times out; 0 without one. */
  get attemptEndMs(): number {
    return this.exchange === undefined ? 0 : this.#attemptedMs + this.#attemptMs;
  }

  /** Only a held packet needs the exchange, and it will probably be dropped before the answer arrives. */
  isTooLate(holdMs: number, nowMs: number): boolean {
    if (this.missedMs === undefined || this.configured || this.renewing || this.stale) return false;
    return this.missedMs + holdMs - nowMs < Math.min(this.pace.latencyMs, holdMs / 2);
  }

  /**
   * A new attempt begins.
   * @param proven the peer once answered an offer of this flow, or used one.
   */
  attempt(exchange: bigint, nowMs: number, proven: boolean): void {
    this.#attempts++;
    this.exchange = exchange;
    this.#attemptedMs = nowMs;
    this.nextMs = nowMs + Math.max(this.#attemptMs, this.#backoffMs(proven));
  }

  /** An egress key arrived, perhaps an old one: a renewal or a stale offer may be left, but no exchange is in flight. */
  keyed(): void {
    this.missedMs = undefined;
    this.configured = false;
    this.shareLimit = Number.POSITIVE_INFINITY;
    this.exchange = undefined;
  }

  get #attemptMs(): number {
    return Math.max(repeatMs, this.pace.attemptMs);
  }

  #backoffMs(proven: boolean): number {
    if (this.reason === 'miss') return 0;
    const prompt = this.renewing || (this.stale && proven) ? promptAttempts : 1;
    const doublings = Math.min(Math.max(0, this.#attempts - prompt), 16);
    return Math.min(longestBackoffMs, repeatMs * 2 ** doublings);
  }
}
