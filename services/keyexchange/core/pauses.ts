// SPDX-License-Identifier: Apache-2.0
// Peers that limit the rate of our requests. Such a peer did nothing with the request and said when to come back, so this
// is neither a refusal of the flow nor an unknown outcome: until then wants for that peer are dropped, and their dataplane
// publishes them again.

/** The longest pause, whatever the peer says: as long as the longest hold-down of a flow. */
export const longestPauseMs = 30_000;

export class Pauses {
  readonly #untilMs = new Map<string, number>();

  /** The peer accepts no request for retryMs. */
  pause(peer: string, retryMs: number, nowMs: number): void {
    this.#untilMs.set(peer, nowMs + Math.min(retryMs, longestPauseMs));
  }

  isPaused(peer: string, nowMs: number): boolean {
    if (nowMs < (this.#untilMs.get(peer) ?? nowMs)) return true;
    this.#untilMs.delete(peer);
    return false;
  }
}
