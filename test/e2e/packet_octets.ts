// SPDX-License-Identifier: Apache-2.0
// Builds frames and packets octet by octet, with correct lengths and checksums by default: the building blocks of
// packet_kinds.ts.

/** One end of a conversation on a link. */
export interface End {
  /** Six octets. */
  mac: Buffer;
  v4: string;
  v6: string;
}

export const macOf = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');

export const u8 = (...values: number[]): Buffer => Buffer.from(values);
export const u16 = (...values: number[]): Buffer =>
  Buffer.from(values.flatMap((v) => [(v >> 8) & 255, v & 255]));

/** `length` octets of the repeated `marker`. */
export const filled = (marker: string, length: number): Buffer =>
  length === 0 ? Buffer.alloc(0) : Buffer.alloc(length, marker, 'latin1');

export const octetsOf4 = (address: string): Buffer => Buffer.from(address.split('.').map(Number));

/** Parses any IPv6 address without an IPv4 tail. */
export function octetsOf6(address: string): Buffer {
  const [front = '', back] = address.split('::');
  const groups = (text = '') =>
    text
      .split(':')
      .filter(Boolean)
      .map((group) => Number.parseInt(group, 16));
  const head = groups(front);
  const tail = groups(back);
  return u16(...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail);
}

/** RFC 1071. */
export function checksum(...parts: Buffer[]): number {
  const all = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i + 1 < all.length; i += 2) sum += all.readUInt16BE(i);
  if (all.length % 2 === 1) sum += (all[all.length - 1] ?? 0) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export const frame = (to: Buffer, from: Buffer, type: number, payload: Buffer): Buffer =>
  Buffer.concat([to, from, u16(type), payload]);

export interface Ipv4 {
  from: string;
  to: string;
  protocol: number;
  payload: Buffer;
  /** A multiple of 4 octets. */
  options?: Buffer;
  /** Flags and offset: 0x4000 is DF, 0x2000 more fragments, the rest counts units of 8 octets. */
  fragment?: number;
  id?: number;
  ttl?: number;
  tos?: number;
  /** A length field other than the correct one. */
  length?: number;
}

/** RFC 791. */
export function ipv4(packet: Ipv4): Buffer {
  const { options = Buffer.alloc(0), payload, fragment = 0, id = 7, ttl = 64, tos = 0 } = packet;
  const header = Buffer.concat([
    u8(0x40 | (5 + options.length / 4), tos),
    u16(packet.length ?? 20 + options.length + payload.length, id, fragment),
    u8(ttl, packet.protocol),
    u16(0),
    octetsOf4(packet.from),
    octetsOf4(packet.to),
    options,
  ]);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

/** Fragments the payload of an IPv4 packet at these offsets, which are multiples of 8. */
export function fragments4(packet: Ipv4, ...offsets: number[]): Buffer[] {
  return [0, ...offsets].map((start, i) => {
    const end = offsets[i] ?? packet.payload.length;
    const more = end < packet.payload.length ? 0x2000 : 0;
    return ipv4({ ...packet, payload: packet.payload.subarray(start, end), fragment: more | (start / 8) });
  });
}

/** Extension headers in order: their protocol and their octets. The first octet is filled in. */
export type Extensions = [protocol: number, octets: Buffer][];

export interface Ipv6 {
  from: string;
  to: string;
  protocol: number;
  payload: Buffer;
  extensions?: Extensions;
  hopLimit?: number;
  length?: number;
}

/** RFC 8200. */
export function ipv6(packet: Ipv6): Buffer {
  const { extensions = [], payload } = packet;
  const chain = extensions.map(([, octets], i) => {
    const header = Buffer.from(octets);
    header.writeUInt8(extensions[i + 1]?.[0] ?? packet.protocol);
    return header;
  });
  const behind = Buffer.concat([...chain, payload]);
  return Buffer.concat([
    u8(0x60, 0, 0, 0),
    u16(packet.length ?? behind.length),
    u8(extensions[0]?.[0] ?? packet.protocol, packet.hopLimit ?? 64),
    octetsOf6(packet.from),
    octetsOf6(packet.to),
    behind,
  ]);
}

/** An extension header of options or of segments, `length` octets in total, a multiple of 8. */
export function extension(protocol: number, length: number, body: Buffer = u8(1, length - 4)): Extensions[0] {
  const octets = Buffer.alloc(length);
  octets.writeUInt8(length / 8 - 1, 1);
  body.copy(octets, 2);
  return [protocol, octets];
}

export const fragmentHeader = (offset: number, more: boolean, id = 7): Extensions[0] => [
  44,
  Buffer.concat([u8(0, 0), u16(offset | (more ? 1 : 0), 0, id)]),
];

/** Fragments the payload of an IPv6 packet after its extension headers, at offsets that are multiples of 8. */
export function fragments6(packet: Ipv6, ...offsets: number[]): Buffer[] {
  return [0, ...offsets].map((start, i) => {
    const end = offsets[i] ?? packet.payload.length;
    const header = fragmentHeader(start, end < packet.payload.length);
    const extensions = [...(packet.extensions ?? []), header];
    return ipv6({ ...packet, extensions, payload: packet.payload.subarray(start, end) });
  });
}

/** RFC 768; without addresses the checksum is 0. */
export function udp(port: number, payload: Buffer, addresses?: [Buffer, Buffer]): Buffer {
  const datagram = Buffer.concat([u16(40_000, port, 8 + payload.length, 0), payload]);
  if (addresses) datagram.writeUInt16BE(layer4Checksum(17, datagram, addresses) || 0xffff, 6);
  return datagram;
}

/** RFC 9293: no options. */
export function tcp(port: number, flags: number, payload: Buffer, addresses: [Buffer, Buffer]): Buffer {
  const segment = Buffer.concat([u16(40_000, port, 0, 1, 0, 0, 0x5000 | flags, 1024, 0, 0), payload]);
  segment.writeUInt16BE(layer4Checksum(6, segment, addresses), 16);
  return segment;
}

/** RFC 792, RFC 4443: the four octets after the checksum, then the body. ICMPv6 needs addresses. */
export function icmp(
  type: number,
  code: number,
  rest: Buffer,
  body: Buffer,
  addresses?: [Buffer, Buffer],
): Buffer {
  const message = Buffer.concat([u8(type, code, 0, 0), rest, body]);
  message.writeUInt16BE(addresses ? layer4Checksum(58, message, addresses) : checksum(message), 2);
  return message;
}

/** Includes the pseudo-header (RFC 793, RFC 8200 section 8.1). */
const layer4Checksum = (protocol: number, octets: Buffer, [from, to]: [Buffer, Buffer]): number =>
  checksum(from, to, u16(0, protocol, 0, octets.length), octets);
