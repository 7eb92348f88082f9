// SPDX-License-Identifier: Apache-2.0
// Nodes whose master keys are known, and the keys that follow from them. The addon that draws them is
// test/native/known_keys; the shipped one has no such source.
import { createHash } from 'node:crypto';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { deriveKey } from '../vectors/derivation.js';

/** Takes the place of the shipped addon, see GatewayOptions.addon. */
export const knownKeysAddon = fromPackageRoot('build/native/psp_addon_known_keys.node');

/** The master key of a generation, from 1, of a dataplane with that addon. */
export const masterKey = (generation: number): Buffer =>
  createHash('sha256')
    .update(`psp known master key ${generation - 1}`)
    .digest();

/**
 * Keys by a name for messages: the master keys of generations 1 to `generations`, and what each SPI's key can be in
 * versions 0 and 1. A generation has one slot of the two, which the top bit of an SPI names.
 */
export function knownKeys(generations: number, spis: Iterable<number>): Map<string, Buffer> {
  const all = Array.from({ length: generations }, (_, i) => i + 1);
  const keys = new Map(all.map((generation) => [`master key ${generation}`, masterKey(generation)]));
  for (const spi of spis) {
    for (const generation of all.filter((each) => (each - 1) % 2 === spi >>> 31)) {
      for (const version of [0, 1]) {
        const name = `key of SPI 0x${spi.toString(16).padStart(8, '0')}, generation ${generation}, version ${version}`;
        keys.set(name, deriveKey(masterKey(generation), spi, version));
      }
    }
  }
  return keys;
}
