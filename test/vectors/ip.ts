// SPDX-License-Identifier: Apache-2.0
// IPv4, IPv6 and UDP for the vectors, from RFC 791, RFC 8200 and RFC 768 alone: written to be readable, not fast.
// Shares no line with the native code.

export const protocol = {
  hopByHop: 0,
  icmp: 1,
  ipv4: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  routing: 43,
  fragment: 44,
  gre: 47,
  esp: 50,
  noNextHeader: 59,
  destinationOptions: 60,
  sctp: 132,
} as const;

/** Sum of 16-bit words with end-around carry, not complemented (RFC 1071). */
function onesSum(...parts: Buffer[]): number {
  const octets = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < octets.length; i++) sum += i % 2 === 0 ? (octets[i] ?? 0) * 256 : (octets[i] ?? 0);
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

/** The Internet checksum (RFC 1071). */
export const checksum = (octets: Buffer): number => 0xffff - onesSum(octets);

/** Addresses of 4 or 16 octets, both of one family. */
export interface Ends {
  source: Buffer;
  destination: Buffer;
}

export interface IpFields extends Ends {
  /** DSCP and ECN. */
  trafficClass: number;
  /** TTL of IPv4. */
  hopLimit: number;
  /** IPv4 only. */
  dontFragment?: boolean;
  moreFragments?: boolean;
  /** In octets. */
  fragmentOffset?: number;
  identification?: number;
  /** A multiple of 4 octets. */
  options?: Buffer;
  /** IPv6 only. */
  flowLabel?: number;
}

/** The payload of an IP header: its protocol number and its octets. */
export interface Payload {
  protocol: number;
  octets: Buffer;
}

export function ipPacket(fields: IpFields, payload: Payload): Buffer {
  return fields.source.length === 4 ? ipv4(fields, payload) : ipv6(fields, payload);
}

function ipv4(fields: IpFields, payload: Payload): Buffer {
  const header = Buffer.concat([Buffer.alloc(20), fields.options ?? Buffer.alloc(0)]);
  const fragment =
    (fields.dontFragment ? 0x4000 : 0) +
    (fields.moreFragments ? 0x2000 : 0) +
    (fields.fragmentOffset ?? 0) / 8;
  header.writeUInt8(0x40 + header.length / 4, 0);
  header.writeUInt8(fields.trafficClass, 1);
  header.writeUInt16BE(header.length + payload.octets.length, 2);
  header.writeUInt16BE(fields.identification ?? 0, 4);
  header.writeUInt16BE(fragment, 6);
  header.writeUInt8(fields.hopLimit, 8);
  header.writeUInt8(payload.protocol, 9);
  fields.source.copy(header, 12);
  fields.destination.copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload.octets]);
}

function ipv6(fields: IpFields, payload: Payload): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(0x60000000 + fields.trafficClass * 0x100000 + (fields.flowLabel ?? 0), 0);
  header.writeUInt16BE(payload.octets.length, 4);
  header.writeUInt8(payload.protocol, 6);
  header.writeUInt8(fields.hopLimit, 7);
  return Buffer.concat([header, fields.source, fields.destination, payload.octets]);
}

/** Prepends an IPv6 extension header; its body is a multiple of 8 octets less 2 (RFC 8200 section 4). */
export function extended(type: number, body: Buffer, behind: Payload): Payload {
  const first = Buffer.of(behind.protocol, (body.length + 2) / 8 - 1);
  return { protocol: type, octets: Buffer.concat([first, body, behind.octets]) };
}

/** Prepends an IPv6 fragment header (RFC 8200 section 4.5). @param offset in octets */
export function fragmented(offset: number, more: boolean, behind: Payload): Payload {
  const header = Buffer.alloc(8);
  header.writeUInt8(behind.protocol, 0);
  header.writeUInt16BE(offset + (more ? 1 : 0), 2);
  header.writeUInt32BE(0x0badcafe, 4);
  return { protocol: protocol.fragment, octets: Buffer.concat([header, behind.octets]) };
}

/**
 * UDP checksum of a datagram whose checksum field is zero; the result is never zero (RFC 768, RFC 8200 section 8.1).
 */
function udpChecksum(ends: Ends, datagram: Buffer): number {
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(datagram.length, 0);
  pseudo.writeUInt32BE(protocol.udp, 4);
  return 0xffff - onesSum(ends.source, ends.destination, pseudo, datagram) || 0xffff;
}

/**
 * @param ends addresses for the checksum; without them the checksum is zero
 */
export function udp(source: number, destination: number, data: Buffer, ends?: Ends): Payload {
  const datagram = Buffer.concat([Buffer.alloc(8), data]);
  datagram.writeUInt16BE(source, 0);
  datagram.writeUInt16BE(destination, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  if (ends) datagram.writeUInt16BE(udpChecksum(ends, datagram), 6);
  return { protocol: protocol.udp, octets: datagram };
}

/** Whether a datagram has no checksum or a correct one. */
export function udpChecksumHolds(ends: Ends, datagram: Buffer): boolean {
  const given = datagram.readUInt16BE(6);
  if (given === 0) return true;
  const blank = Buffer.from(datagram);
  blank.writeUInt16BE(0, 6);
  return udpChecksum(ends, blank) === given;
}

export interface IpPacket extends Ends {
  /** Truncated to the length in the header: without link padding. */
  octets: Buffer;
  version: 4 | 6;
  trafficClass: number;
  hopLimit: number;
  /** A fragment of a packet; an atomic fragment (RFC 6946) counts as whole. */
  fragment: boolean;
  /** The headers that nodes on the path read (RFC 8200 section 4.1, "Unfragmentable part"). */
  unfragmentable: Part;
  /** These and the destination options after them. */
  all: Part;
}

/** The front of a packet up to `length`; the octet at `protocolAt` names the protocol that follows. */
export interface Part {
  length: number;
  protocolAt: number;
}

/**
 * @throws Error if the octets are no IP packet.
 */
export function readIp(octets: Buffer): IpPacket {
  const version = octets.readUInt8(0) >> 4;
  if (version === 4) return readIpv4(octets);
  if (version === 6) return readIpv6(octets);
  throw new Error(`IP version ${version}`);
}

/** The octets of a packet up to the length in its header. */
function cut(octets: Buffer, total: number, least: number): Buffer {
  if (total < least || total > octets.length) throw new Error(`${total} octets, ${octets.length} are there`);
  return octets.subarray(0, total);
}

function readIpv4(octets: Buffer): IpPacket {
  const part = { length: (octets.readUInt8(0) & 15) * 4, protocolAt: 9 };
  const packet = cut(octets, octets.readUInt16BE(2), Math.max(part.length, 20));
  if (part.length < 20) throw new Error('IPv4 header length');
  if (checksum(packet.subarray(0, part.length)) !== 0) throw new Error('IPv4 header checksum');
  return {
    octets: packet,
    version: 4,
    trafficClass: packet.readUInt8(1),
    hopLimit: packet.readUInt8(8),
    fragment: (packet.readUInt16BE(6) & 0x3fff) !== 0,
    source: packet.subarray(12, 16),
    destination: packet.subarray(16, 20),
    unfragmentable: part,
    all: part,
  };
}

function readIpv6(octets: Buffer): IpPacket {
  const packet = cut(octets, 40 + octets.readUInt16BE(4), 40);
  let all: Part = { length: 40, protocolAt: 6 };
  let unfragmentable = all;
  let fragment = false;
  for (;;) {
    const type = packet.readUInt8(all.protocolAt);
    if (type === protocol.fragment) fragment = (packet.readUInt16BE(all.length + 2) & 0xfff9) !== 0;
    const onTheWay = type === protocol.hopByHop || type === protocol.routing;
    if (!onTheWay && type !== protocol.destinationOptions) break;
    const length = all.length + (packet.readUInt8(all.length + 1) + 1) * 8;
    if (length > packet.length) throw new Error('IPv6 extension header');
    all = { length, protocolAt: all.length };
    if (onTheWay) unfragmentable = all;
  }
  return {
    octets: packet,
    version: 6,
    trafficClass: (packet.readUInt16BE(0) >> 4) & 0xff,
    hopLimit: packet.readUInt8(7),
    fragment,
    source: packet.subarray(8, 24),
    destination: packet.subarray(24, 40),
    unfragmentable,
    all,
  };
}

/** The front of a packet for another payload: protocol, lengths and header checksum corrected. */
export function withPayload(packet: IpPacket, part: Part, payload: Payload): Buffer {
  const whole = Buffer.concat([packet.octets.subarray(0, part.length), payload.octets]);
  whole.writeUInt8(payload.protocol, part.protocolAt);
  if (packet.version === 6) {
    whole.writeUInt16BE(whole.length - 40, 4);
  } else {
    whole.writeUInt16BE(whole.length, 2);
    whole.writeUInt16BE(0, 10);
    whole.writeUInt16BE(checksum(whole.subarray(0, part.length)), 10);
  }
  return whole;
}
