// SPDX-License-Identifier: Apache-2.0
// Conversion of flows and offers between rows, which travel on the bus, and columns, which cross the border to C++. An
// address has 4 or 16 octets in a row and always 16 in a column.
import type { FlowPage, OfferColumns, SealFields } from '../../../native/addon/engine.js';
import type { FlowRow, Mode, Offer, Seal } from '../../../proto/gen/bus.js';
import { type FlowKey, flowOf, mapped, unmapped } from '../../shared/address.js';

const flowOctets = 32;
const macOctets = 6;

export const columnOf = (flows: readonly FlowKey[]): Buffer => Buffer.from(flows.join(''), 'hex');

export const flowsIn = (column: Uint8Array): FlowKey[] =>
  Array.from({ length: column.length / flowOctets }, (_, i) => flowAt(column, i));

export const flowAt = ({ buffer, byteOffset }: Uint8Array, i: number): FlowKey =>
  Buffer.from(buffer, byteOffset + i * flowOctets, flowOctets).toString('hex');

export function columnsOf(offers: readonly Offer[]): OfferColumns {
  return {
    spis: Uint32Array.from(offers, ({ spi }) => spi),
    versions: Uint8Array.from(offers, ({ version }) => version),
    numbers: BigUint64Array.from(offers, ({ number }) => number ?? 0n),
    numbered: Uint8Array.from(offers, ({ number }) => Number(number !== undefined)),
    cookies: BigUint64Array.from(offers, ({ cookie }) => cookie),
    modes: Uint8Array.from(offers, ({ mode }) => mode),
    addresses: Buffer.concat(offers.map(({ address }) => mapped(address))),
    macs: Buffer.concat(offers.map(({ mac }) => mac)),
  };
}

export const offersIn = (columns: OfferColumns): Offer[] =>
  Array.from(columns.spis, (spi, i) => ({
    spi,
    version: columns.versions[i] as number,
    number: columns.numbered[i] === 1 ? columns.numbers[i] : undefined,
    cookie: columns.cookies[i] as bigint,
    mode: columns.modes[i] as Mode,
    address: Buffer.from(unmapped(columns.addresses.subarray(i * 16, (i + 1) * 16))),
    mac: Buffer.from(columns.macs.subarray(i * macOctets, (i + 1) * macOctets)),
  }));

export const sealOf = ({ start, counter, box }: SealFields): Seal => ({
  start: Buffer.from(start),
  counter,
  box: Buffer.from(box),
});

/** By number, as in native/addon/engine.ts. */
const states = [
  { direction: 'egress', state: 'wanted' },
  { direction: 'egress', state: 'keyed' },
  { direction: 'egress', state: 'refused' },
  { direction: 'ingress', state: 'offered' },
  { direction: 'ingress', state: 'seen' },
] as const;

export const rowsIn = (page: FlowPage, peers: readonly string[]): FlowRow[] =>
  Array.from(page.states, (state, i) => {
    const { source, destination } = flowOf(flowAt(page.flows, i));
    return {
      ...(states[state] as (typeof states)[number]),
      flow: { source: Buffer.from(source), destination: Buffer.from(destination) },
      peer: peers[page.peers[i] as number] ?? '',
      spi: page.spis[i] as number,
      version: page.versions[i] as number,
      mode: page.modes[i] as Mode,
      pathMtu: page.pathMtus[i] as number,
      packets: page.packets[i] as bigint,
      bytes: page.bytes[i] as bigint,
      held: page.held[i] as number,
      liveSpis: page.liveSpis[i] as number,
    };
  });
