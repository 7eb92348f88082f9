// SPDX-License-Identifier: Apache-2.0
// The counts of peers and of bypass entries across reloads. The engine counts by number: those of peers, and the place of an
// entry in the bypass. A number that another peer had before counts from zero for the new one, and an entry whose place
// changes keeps what it counted.

/** What counts of peers have in common. */
type PeerCounts = Record<string, bigint | number>;

interface BypassCounts {
  egressPackets: bigint;
  ingressPackets: bigint;
}

/** The part of the engine's counters that this concerns. */
interface Counters<Peer> {
  peers: Peer[];
  bypass: BypassCounts[];
}

/** These are not sums. */
const timesAndGauges = new Set(['lastEgressMs', 'lastIngressMs', 'keyedFlows', 'inboundFlows']);
const none: BypassCounts = { egressPackets: 0n, ingressPackets: 0n };

export class LiveCounts {
  /** What the engine had counted when a peer got its number. */
  readonly #peers = new Map<number, PeerCounts>();
  /** What is added to the engine's counts, by place. */
  #bypass: BypassCounts[] = [];

  /**
   * Packets are looked up in another configuration now.
   * @param before and after: the counters of the engine, and the entries of bypass. @param added peers with new numbers.
   */
  reconfigured<Peer extends object>(
    before: { counters: Counters<Peer>; bypass: readonly string[] },
    after: { counters: Counters<Peer>; bypass: readonly string[] },
    added: Iterable<number>,
  ): void {
    for (const peer of added) this.#peers.set(peer, { ...after.counters.peers[peer] } as PeerCounts);
    const shown = before.counters.bypass.map((counts, place) => sum(counts, this.#bypass[place] ?? none));
    this.#bypass = after.bypass.map((rule, place) => {
      const kept = shown[before.bypass.indexOf(rule)] ?? none;
      const counted = after.counters.bypass[place] ?? none;
      return {
        egressPackets: kept.egressPackets - counted.egressPackets,
        ingressPackets: kept.ingressPackets - counted.ingressPackets,
      };
    });
  }

  /** The counters as an operator sees them. */
  shown<Peer extends object, All extends Counters<Peer>>(counters: All): All {
    if (this.#peers.size === 0 && this.#bypass.length === 0) return counters;
    const peers = counters.peers.map((counts, peer) => {
      const from = this.#peers.get(peer);
      return from === undefined ? counts : since(counts, from);
    });
    const bypass = counters.bypass.map((counts, place) => sum(counts, this.#bypass[place] ?? none));
    return { ...counters, peers, bypass };
  }
}

const sum = (one: BypassCounts, other: BypassCounts): BypassCounts => ({
  egressPackets: one.egressPackets + other.egressPackets,
  ingressPackets: one.ingressPackets + other.ingressPackets,
});

/** What a peer counted since its number was given to it. */
function since<Peer extends object>(counts: Peer, from: PeerCounts): Peer {
  const entries = Object.entries(counts as PeerCounts).map(([name, value]) => {
    const before = from[name] ?? 0n;
    if (name.startsWith('last')) return [name, value === before ? 0n : value];
    if (timesAndGauges.has(name) || typeof value === 'number') return [name, value];
    return [name, value - BigInt(before)];
  });
  return Object.fromEntries(entries) as Peer;
}
