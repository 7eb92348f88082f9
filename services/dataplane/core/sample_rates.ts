// SPDX-License-Identifier: Apache-2.0
// The sampling rate of egress packets towards each peer. A rate is the log2 of N where one of N packets is sampled, or
// undefined when none is. A peer has the general rate or a rate of its own. Setting the general rate sets it for every
// peer.

export type Rate = number | undefined;

export class SampleRates {
  #general: Rate;
  /** The peers with a rate of their own; undefined: no packet towards this peer is sampled. */
  readonly #own = new Map<number, Rate>();

  /** @param own by peer; undefined: the peer has the general rate. */
  constructor(general: Rate, own: readonly (number | 'off' | undefined)[] = []) {
    this.#general = general;
    for (const [peer, rate] of own.entries()) {
      if (rate !== undefined) this.#own.set(peer, rate === 'off' ? undefined : rate);
    }
  }

  /** The rate of one peer, or the general rate. */
  of(peer?: number): Rate {
    return peer !== undefined && this.#own.has(peer) ? this.#own.get(peer) : this.#general;
  }

  /** The peer has the general rate from now on. */
  forget(peer: number): void {
    this.#own.delete(peer);
  }

  /** Sets the rate of one peer, or the general rate. @returns whether anything changed. */
  set(rate: Rate, peer?: number): boolean {
    if (peer !== undefined) {
      const changed = this.of(peer) !== rate;
      this.#own.set(peer, rate);
      return changed;
    }
    const changed = this.#general !== rate || [...this.#own.values()].some((own) => own !== rate);
    this.#general = rate;
    this.#own.clear();
    return changed;
  }
}
