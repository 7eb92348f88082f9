// SPDX-License-Identifier: Apache-2.0
// Conversion between TunnelParameters of the peer protocol and offers of the bus. `readOffer` validates the parameters of
// a peer: an allowed version and a key of its length, an SPI whose low 31 bits are not zero (PSP specification, "SPI"), the
// configured mode, our outer address family, an address within the peer's underlay that is not ours, a unicast MAC address. Peers that
// do not send a mode, NVIDIA's application among them, use tunnel mode.
import { type Flow as FlowMessage, Mode, type Offer } from '../../../proto/gen/bus.js';
import type { TunnelParameters } from '../../../proto/gen/psp_gateway.js';
import {
  type Address,
  contains,
  familyOf,
  formatAddress,
  formatMac,
  isMapped,
  isReservedSpi,
  isUnicast,
  parseAddress,
  parseMac,
} from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { nameOfMode } from '../../shared/modes.js';
import { keyLengthOf } from '../../shared/protocols.js';
import type { Peer, Rules } from './rules.js';

/** Why parameters are rejected. */
export type Flaw =
  | { kind: 'version'; detail: string }
  | { kind: 'underlay'; detail: string }
  | { kind: 'mode'; detail: string; mode: Mode }
  | { kind: 'form'; detail: string };

/** Parses an address; undefined for anything else, and for IPv4-mapped IPv6 addresses. */
export function readAddress(text: string): Address | undefined {
  try {
    const address = parseAddress(text);
    return address.length === 16 && isMapped(address) ? undefined : address;
  } catch {
    return undefined;
  }
}

/** Parses a unicast MAC address that is not all zeros; undefined for anything else. */
function readUnicastMac(text: string): Uint8Array | undefined {
  try {
    const mac = parseMac(text);
    return ((mac[0] ?? 1) & 1) === 0 && mac.some((octet) => octet !== 0) ? mac : undefined;
  } catch {
    return undefined;
  }
}

/** The error for a peer that offers another mode than the configured one. */
export const modeMismatch = ({ name, mode }: Peer, offered: Mode): PspError =>
  new PspError('MODE_MISMATCH', {
    peer: name,
    offered: nameOfMode(offered) ?? offered,
    ours: nameOfMode(mode) ?? mode,
  });

/**
 * Validates the parameters of a peer.
 * @returns the offer, without its key, or the first flaw found.
 */
export function readOffer(
  parameters: TunnelParameters,
  peer: Peer,
  rules: Rules,
): { offer: Offer } | { flaw: Flaw } {
  const { pspVersion: version, encryptionKey, spi, encapType } = parameters;
  const malformed = (detail: string) => ({ flaw: { kind: 'form', detail } as const });
  if (!peer.versions.includes(version)) {
    const detail = `PSP version ${version}, allowed are [${peer.versions}]`;
    return { flaw: { kind: 'version', detail } };
  }
  if (encryptionKey.length !== keyLengthOf(version)) {
    return malformed(`a key of ${encryptionKey.length} octets for PSP version ${version}`);
  }
  if (isReservedSpi(spi)) return malformed('an SPI whose low 31 bits are zero');
  const mode: Mode = parameters.mode ?? Mode.MODE_TUNNEL;
  const modeName = nameOfMode(mode);
  if (modeName === undefined) return malformed(`mode ${mode}`);
  if (mode !== peer.mode) return { flaw: { kind: 'mode', detail: `${modeName} mode`, mode } };
  if (encapType !== rules.outerFamily) {
    return malformed(`encap_type ${encapType}, ours is ${rules.outerFamily}`);
  }
  const address = readAddress(parameters.ipAddr);
  if (address === undefined || familyOf(address) !== rules.outerFamily) {
    return malformed(`an ip_addr that is no IPv${rules.outerFamily} address`);
  }
  if (!isUnicast(address)) return malformed('an ip_addr that is no unicast address');
  const isOurs = formatAddress(address) === rules.outerAddress;
  if (isOurs || !peer.underlay.some((prefix) => contains(prefix, address))) {
    return { flaw: { kind: 'underlay', detail: formatAddress(address) } };
  }
  const mac = readUnicastMac(parameters.macAddr);
  if (mac === undefined) return malformed('a mac_addr that is no unicast MAC address');
  return {
    offer: {
      spi,
      version,
      number: parameters.offerNumber,
      cookie: parameters.virtCookie,
      mode,
      address: Buffer.from(address),
      mac: Buffer.from(mac),
    },
  };
}

/** Whether there is one offer for each flow, and all modes and addresses are valid, so that a seal can bind them. */
export function pairUp(flows: readonly FlowMessage[], offers: readonly Offer[]): boolean {
  const isAddress = ({ length }: Uint8Array) => length === 4 || length === 16;
  return (
    flows.length === offers.length &&
    flows.every(({ source, destination }) => isAddress(source) && source.length === destination.length) &&
    offers.every(
      ({ address, mac, mode }) => isAddress(address) && mac.length === 6 && nameOfMode(mode) !== undefined,
    )
  );
}

/** Whether two offers of a batch have one SPI: two tunnels would use one key. */
export const repeatsSpi = (offers: readonly Offer[]): boolean =>
  new Set(offers.map(({ spi }) => spi)).size !== offers.length;

/** Our offer as the parameters that the peer receives; `key` is not copied. */
export function parametersOf(offer: Offer, key: Buffer): TunnelParameters {
  return {
    macAddr: formatMac(offer.mac),
    ipAddr: formatAddress(offer.address),
    pspVersion: offer.version,
    spi: offer.spi,
    encryptionKey: key,
    virtCookie: offer.cookie,
    encapType: familyOf(offer.address),
    offerNumber: offer.number,
    mode: offer.mode,
  };
}
