// SPDX-License-Identifier: Apache-2.0
// At what rate packets that leave are sampled, towards each peer: log2 of one in how many, undefined for none. A
// peer has the general rate or one of its own. The general rate, when it is set, is that of every peer again.

export type Rate = number | undefined;

export class SampleRates {
  #general: Rate;
  /** By peer number; undefined stands for a rate of its own that is none. */
  readonly #own = new Map<number, Rate>();

  /** @param own by peer number; undefined: it has none of its own. */
  constructor(general: Rate, own: readonly (number | 'off' | undefined)[] = []) {
    this.#general = general;
    for (const [peer, rate] of own.entries()) {
      if (rate !== undefined) this.#own.set(peer, rate === 'off' ? undefined : rate);
    }
  }

  /** Of peers without one of their own; or that of one peer. */
  of(peer?: number): Rate {
    return peer !== undefined && this.#own.has(peer) ? this.#own.get(peer) : this.#general;
  }

  /** @returns whether that changed anything. */
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
