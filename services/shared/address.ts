// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes and flows as values. On the bus an address has 4 or 16 octets; a FlowKey is the 64 hex digits of
// source and destination, with IPv4 mapped into IPv6, so that both families share one map.
import { isIP, isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

export type Address = Uint8Array;

export interface Prefix {
  address: Address;
  length: number;
}

/** Source and destination of one direction of traffic. */
export interface Flow {
  source: Address;
  destination: Address;
}

/** 64 hex digits: source, then destination, each as 16 octets. */
export type FlowKey = string;

const zero = '0'.charCodeAt(0);
const mappedPrefix = 'ffff'.padStart(24, '0');

/** @throws Error if the text is no IPv4 or IPv6 address in its usual form. */
export function parseAddress(text: string): Address {
  if (!isAddress(text)) throw new Error(`${text} is no IP address`);
  return isIPv4(text) ? octetsOfIPv4(text) : octetsOfIPv6(text);
}

export const isAddress = (text: string): boolean => isIP(text) !== 0 && !text.includes('%');

/** Parses a valid IPv4 address in dotted decimal. */
function octetsOfIPv4(text: string): Uint8Array {
  const octets = new Uint8Array(4);
  let at = 0;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - zero;
    if (digit >= 0) value = 10 * value + digit;
    else {
      octets[at++] = value;
      value = 0;
    }
  }
  octets[at] = value;
  return octets;
}

/** Parses a valid IPv6 address: groups before and after `::`, the last four octets possibly in dotted decimal. */
function octetsOfIPv6(text: string): Uint8Array {
  const [front = '', back = ''] = text.split('::');
  const octets = new Uint8Array(16);
  const tail = octetsOfGroups(back);
  octets.set(octetsOfGroups(front));
  octets.set(tail, 16 - tail.length);
  return octets;
}

function octetsOfGroups(groups: string): number[] {
  const octets: number[] = [];
  for (const group of groups === '' ? [] : groups.split(':')) {
    const value = Number.parseInt(group, 16);
    if (group.includes('.')) octets.push(...octetsOfIPv4(group));
    else octets.push(value >> 8, value & 0xff);
  }
  return octets;
}

/** RFC 5952 for IPv6, dotted decimal for IPv4. */
export function formatAddress(address: Address): string {
  if (address.length === 4) return address.join('.');
  return (ipaddr.fromByteArray([...address]) as ipaddr.IPv6).toRFC5952String();
}

export const familyOf = (address: Address): 4 | 6 => (address.length === 4 ? 4 : 6);

/** fe80::/10 (RFC 4291, section 2.5.6): valid on its own link only. */
export const isLinkLocalIpv6 = (address: Address): boolean =>
  address.length === 16 && address[0] === 0xfe && ((address[1] ?? 0) & 0xc0) === 0x80;

/** Whether an address may be that of one host: neither unspecified, loopback, multicast nor broadcast. */
export function isUnicast(address: Address): boolean {
  const [first = 0] = address;
  if (address.length === 4) return first !== 0 && first !== 127 && first < 224;
  return first !== 0xff && !address.subarray(0, 15).every((octet) => octet === 0);
}

/** @throws Error if the text is no "address/length"; host bits may be set (see `networkOf`). */
export function parsePrefix(text: string): Prefix {
  const [address, length, ...rest] = text.split('/');
  if (address === undefined || length === undefined || rest.length > 0 || !/^\d{1,3}$/.test(length)) {
    throw new Error(`${text} is no prefix`);
  }
  const octets = parseAddress(address);
  if (Number(length) > octets.length * 8) throw new Error(`${text} is no prefix`);
  return { address: octets, length: Number(length) };
}

/** The prefix with its host bits cleared. */
export function networkOf({ address, length }: Prefix): Prefix {
  const octets = address.map((octet, i) => octet & (0xff00 >> Math.min(8, Math.max(0, length - i * 8))));
  return { address: octets, length };
}

export const formatPrefix = ({ address, length }: Prefix): string => `${formatAddress(address)}/${length}`;

export function contains({ address, length }: Prefix, candidate: Address): boolean {
  if (candidate.length !== address.length) return false;
  const whole = length >> 3;
  for (let i = 0; i < whole; i++) if (candidate[i] !== address[i]) return false;
  const mask = 0xff00 >> (length & 7);
  return (
    (length & 7) === 0 || ((candidate[whole] ?? 0) & mask & 0xff) === ((address[whole] ?? 0) & mask & 0xff)
  );
}

/** The address as 16 octets, IPv4 as ::ffff:a.b.c.d. */
export function mapped(address: Address): Uint8Array {
  if (address.length === 16) return address;
  const octets = new Uint8Array(16);
  octets.fill(0xff, 10, 12);
  octets.set(address, 12);
  return octets;
}

/** Whether 16 octets are an IPv4 address that is mapped into IPv6. */
export function isMapped(octets: Uint8Array): boolean {
  if (octets[10] !== 0xff || octets[11] !== 0xff) return false;
  for (let i = 0; i < 10; i++) if (octets[i] !== 0) return false;
  return true;
}

/** Undoes `mapped`: a copy of 4 octets for ::ffff:0:0/96, else of the 16 given. */
export const unmapped = (octets: Uint8Array): Address =>
  new Uint8Array(isMapped(octets) ? octets.subarray(12, 16) : octets.subarray(0, 16));

/** 32 hex digits: the address as 16 octets. */
export const addressKeyOf = (address: Address): string =>
  (address.length === 4 ? mappedPrefix : '') + hexOf(address);

const hexOf = ({ buffer, byteOffset, length }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, length).toString('hex');

export const flowKeyOf = ({ source, destination }: Flow): FlowKey =>
  addressKeyOf(source) + addressKeyOf(destination);

export function flowOf(key: FlowKey): Flow {
  const octets = Buffer.from(key, 'hex');
  return { source: unmapped(octets.subarray(0, 16)), destination: unmapped(octets.subarray(16, 32)) };
}

export const formatFlow = ({ source, destination }: Flow): string =>
  `${formatAddress(source)} -> ${formatAddress(destination)}`;

export interface Endpoint {
  host: string;
  port: number;
}

/** "host:port", "[v6]:port"; host is an address or a name. @throws Error otherwise. */
export function parseEndpoint(text: string): Endpoint {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port < 1 || port > 65535) throw new Error(`${text} is no host:port`);
  return { host, port };
}

/** "aa:bb:cc:dd:ee:ff" as 6 octets. @throws Error otherwise. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) throw new Error(`${text} is no MAC address`);
  return new Uint8Array(Buffer.from(text.replaceAll(':', ''), 'hex'));
}

export const formatMac = (mac: Uint8Array): string => hexOf(mac).replace(/..\B/g, '$&:');

/** An SPI whose low 31 bits are zero is reserved (PSP specification, "SPI"): no key exists under it. */
export const isReservedSpi = (spi: number): boolean => (spi & 0x7fffffff) === 0;

/** An epoch as it is shown everywhere: 0x and 16 hex digits. */
export const formatEpoch = (epoch: bigint): string => `0x${epoch.toString(16).padStart(16, '0')}`;

/** An SPI as it is shown everywhere: 0x and eight hex digits. */
export const formatSpi = (spi: number): string => `0x${(spi >>> 0).toString(16).padStart(8, '0')}`;
