// SPDX-License-Identifier: Apache-2.0
// How many more tunnels a peer can be offered. NVIDIA's DOCA PSP Gateway takes an id for every offer that it accepts, also
// for one that replaces an older offer, never gives an id back, and reads beyond its table once all are taken. So every
// offer that such a peer answered, refused or received in our answer counts, and offers on their way are reserved. An
// attempt that nobody answered does not count: usually it did not arrive. The count begins at the start of this process.

/** A peer whose number of tunnels is limited. */
interface Budget {
  readonly most: number;
  spent: number;
}

/** What is left for a peer. */
export interface TunnelsLeft {
  left: number;
  most: number;
  /** Little enough that the operator should act now. */
  isLow: boolean;
}

/** The warning comes at this share of the limit, or earlier where less than two rotations are left. */
const lowShare = 0.2;
const rotationsLeft = 2;

export class TunnelBudgets {
  #peers: ReadonlyMap<number, Budget>;

  /** @param limits by peer, only for peers that have one. @param inFlightOf tunnels on their way to a peer. */
  constructor(
    limits: ReadonlyMap<number, number>,
    private readonly inFlightOf: (peer: number) => number,
  ) {
    this.#peers = new Map(Array.from(limits, ([peer, most]) => [peer, { most, spent: 0 }]));
  }

  /** The limits were changed; what a peer was offered stays counted. @param added peers with new numbers. */
  reconfigured(limits: ReadonlyMap<number, number>, added: ReadonlySet<number>): void {
    const spentOf = (peer: number) => (added.has(peer) ? 0 : (this.#peers.get(peer)?.spent ?? 0));
    this.#peers = new Map(Array.from(limits, ([peer, most]) => [peer, { most, spent: spentOf(peer) }]));
  }

  /** The peers that have a limit. */
  get limited(): Iterable<number> {
    return this.#peers.keys();
  }

  /** How many tunnels may be offered now; Infinity without a limit. */
  left(peer: number): number {
    const budget = this.#peers.get(peer);
    if (budget === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(0, budget.most - budget.spent - this.inFlightOf(peer));
  }

  spend(peer: number, tunnels: number): void {
    const budget = this.#peers.get(peer);
    if (budget !== undefined) budget.spent += tunnels;
  }

  /** Tunnels that were counted and never reached the peer. */
  giveBack(peer: number, tunnels: number): void {
    this.spend(peer, -tunnels);
  }

  /** @param flows that the next rotation offers to the peer anew. @returns undefined without a limit. */
  of(peer: number, flows: number): TunnelsLeft | undefined {
    const budget = this.#peers.get(peer);
    if (budget === undefined) return undefined;
    const left = Math.max(0, budget.most - budget.spent);
    return { left, most: budget.most, isLow: left < Math.max(lowShare * budget.most, rotationsLeft * flows) };
  }
}
