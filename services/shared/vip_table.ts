// SPDX-License-Identifier: Apache-2.0
// The owner of an address: this gateway or a peer. The longest prefix over our own VIPs and those of all peers decides, so
// that a more specific prefix of one gateway overrides a shorter one of another.
import { type Address, networkOf, type Prefix } from './address.js';

/** This gateway among the owners; no peer can have this name. */
export const ourselves = Symbol('ourselves');
export type Owner = string | typeof ourselves;

const networkKey = (address: Address, length: number): string =>
  `${Buffer.from(networkOf({ address, length }).address).toString('hex')}/${length}`;

export class VipTable {
  readonly #owners = new Map<string, Owner>();
  /** Prefix lengths in use, longest first, by the octets of an address. */
  readonly #lengths = new Map<number, number[]>();

  constructor(owned: Iterable<[Owner, readonly Prefix[]]>) {
    for (const [owner, prefixes] of owned) {
      for (const { address, length } of prefixes) {
        this.#owners.set(networkKey(address, length), owner);
        const lengths = new Set(this.#lengths.get(address.length)).add(length);
        this.#lengths.set(
          address.length,
          [...lengths].sort((a, b) => b - a),
        );
      }
    }
  }

  ownerOf(address: Address): Owner | undefined {
    for (const length of this.#lengths.get(address.length) ?? []) {
      const owner = this.#owners.get(networkKey(address, length));
      if (owner !== undefined) return owner;
    }
    return undefined;
  }
}
