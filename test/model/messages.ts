// SPDX-License-Identifier: Apache-2.0
// Messages of the bus and of the peer protocol as the model carries them: as objects, with keys beside them as in a seal.
import type { FlowWanted, InstallResult, Offer } from '../../proto/gen/bus.js';
import type { MultiTunnelResponse } from '../../proto/gen/psp_gateway.js';
import type { EgressKey } from '../../services/dataplane/core/facts.js';
import { type FlowKey, mapped } from '../../services/shared/address.js';
import type { Key } from './engine.js';

export const times = { holdMs: 3000, exchangeMs: 1000, callMs: 700, drainMs: 500, rotateGraceMs: 3_600_000 };

/** Key octets of an offer, of the right length for version 0; the model's key belongs to them. */
const modelKeys = new WeakMap<Buffer, Key>();
export const octetsOf = (key: Key): Buffer => {
  const octets = Buffer.alloc(16);
  modelKeys.set(octets, key);
  return octets;
};
export const keyIn = (octets: Buffer): Key => modelKeys.get(octets) as Key;

/** FlowWanted with its keys, as its seal carries them. */
export interface Want {
  id: number;
  message: FlowWanted;
  keys: Buffer[];
}

export interface Accept {
  id: number;
  epoch: bigint;
  flows: FlowKey[];
  egress: Offer[];
  keys: Buffer[];
  peerEpoch: bigint | undefined;
}
export type Accepted = { code: string; epoch: bigint; offers: Offer[]; keys: Buffer[] };

export interface Install extends Accept {
  exchange: bigint;
}
export type Installed = { code: string; results: readonly InstallResult[] };

export const peerNumber = 0;
let lastMessage = 0;
/** Numbers a message whose seal can be opened once. */
export const nextMessage = (): number => ++lastMessage;

export const keysOf = (egress: readonly Offer[], epoch: bigint | undefined): EgressKey[] =>
  egress.map(({ spi, version, number, address }) => ({
    epoch,
    number,
    spi,
    version,
    address: hexOf(address),
  }));

/** The end of a call to a peer, as its application chose it. */
export type Answered = { response: MultiTunnelResponse } | { error: Error };

/** An address as the dataplane's core names it: the hex digits of its 16 octets. */
export const hexOf = (address: Uint8Array): string => Buffer.from(mapped(address)).toString('hex');
