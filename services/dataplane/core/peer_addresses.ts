// SPDX-License-Identifier: Apache-2.0
// Which peers may have sent a packet, by its outer source address. A peer's address is known from its offers. In
// transport mode the source is a VIP of the peer. Otherwise the source may belong to each peer whose underlay contains
// it and whose own address is not known yet. An address is the 32 hex digits of its 16 octets, IPv4 mapped into IPv6.
import { contains, type Prefix, unmapped } from '../../shared/address.js';

/** The sources that a peer may have, by its configuration. */
export interface PeerNetworks {
  /** Prefixes of its secured address. */
  underlay: readonly Prefix[];
  /** Prefixes of the hosts behind it whose addresses are outer sources: its VIPs in transport mode, else none. */
  hosts: readonly Prefix[];
}

/** The peers that a packet may have come from. */
export interface Senders {
  peers: readonly number[];
  /** Whether one of them certainly sent the packet, unless its source is forged. */
  isCertain: boolean;
}

export class PeerAddresses {
  /** By peer. */
  readonly #addresses = new Map<number, string>();
  readonly #peers = new Map<string, Set<number>>();

  /** @param networks by peer. */
  constructor(private networks: ReadonlyMap<number, PeerNetworks>) {}

  /** The peers changed; those that are not there any more are forgotten, and so are those with a new number. */
  reconfigured(networks: ReadonlyMap<number, PeerNetworks>, added: ReadonlySet<number>): void {
    this.networks = networks;
    for (const peer of this.#addresses.keys()) if (!networks.has(peer) || added.has(peer)) this.#forget(peer);
  }

  /** The peer made an offer with this address; its former address is forgotten. */
  learned(peer: number, address: string): void {
    if (this.#addresses.get(peer) === address) return;
    this.#forget(peer);
    this.#addresses.set(peer, address);
    this.#peers.set(address, (this.#peers.get(address) ?? new Set()).add(peer));
  }

  sendersAt(source: string): Senders {
    const known = this.#peers.get(source);
    if (known !== undefined) return { peers: [...known], isCertain: true };
    const octets = unmapped(Buffer.from(source, 'hex'));
    const includes = (prefixes: readonly Prefix[]) => prefixes.some((prefix) => contains(prefix, octets));
    const all = [...this.networks.keys()];
    const owners = all.filter((peer) => includes(this.networks.get(peer)?.hosts ?? []));
    if (owners.length > 0) return { peers: owners, isCertain: true };
    const unknown = all.filter(
      (peer) => !this.#addresses.has(peer) && includes(this.networks.get(peer)?.underlay ?? []),
    );
    return { peers: unknown, isCertain: false };
  }

  #forget(peer: number): void {
    const address = this.#addresses.get(peer);
    if (address === undefined) return;
    this.#addresses.delete(peer);
    const sharing = this.#peers.get(address);
    sharing?.delete(peer);
    if (sharing?.size === 0) this.#peers.delete(address);
  }
}
