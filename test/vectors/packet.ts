// SPDX-License-Identifier: Apache-2.0
// A second implementation of a PSP gateway's processing of whole IP packets, in transport and tunnel mode, from the
// PSP specification and node:crypto alone. It shares no line with the native code and is written to be readable, not
// fast. It makes the vectors, and opens packets captured on a wire.
import type { KeyOf } from './derivation.js';
import {
  type IpFields,
  type IpPacket,
  ipPacket,
  protocol,
  readIp,
  udp,
  udpChecksumHolds,
  withPayload,
} from './ip.js';
import { openPsp, type PspFields, Refused, sealPsp } from './psp.js';

export const pspPort = 1000;

export type Mode = 'tunnel' | 'transport';

const tunnelled = { 4: protocol.ipv4, 6: protocol.ipv6 };

export interface Sealing {
  key: Buffer;
  header: Omit<PspFields, 'nextHeader'> & {
    /** By default the number that the packet needs. */
    nextHeader?: number;
  };
  udpSource: number;
  /** Whether the UDP checksum is computed; zero otherwise. */
  udpChecksum: boolean;
  /** Tunnel mode: the outer header. Without it: transport mode. */
  outer?: IpFields;
}

/** Seals a whole IP packet. @throws Error if transport mode cannot carry it. */
export function sealPacket(packet: Buffer, how: Sealing): Buffer {
  const sealed = (nextHeader: number, payload: Buffer): Buffer =>
    sealPsp({ ...how.header, nextHeader: how.header.nextHeader ?? nextHeader }, how.key, payload);

  if (how.outer) {
    const version = packet.readUInt8(0) >> 4 === 4 ? 4 : 6;
    const ends = how.udpChecksum ? how.outer : undefined;
    return ipPacket(how.outer, udp(how.udpSource, pspPort, sealed(tunnelled[version], packet), ends));
  }

  const inner = readIp(packet);
  if (inner.fragment) throw new Error('transport mode carries no fragment');
  const part = inner.unfragmentable;
  const psp = sealed(inner.octets.readUInt8(part.protocolAt), inner.octets.subarray(part.length));
  return withPayload(inner, part, udp(how.udpSource, pspPort, psp, how.udpChecksum ? inner : undefined));
}

export interface Opened {
  /** The plaintext IP packet, as the sender's host made it. */
  packet: Buffer;
  header: PspFields;
  /** The outer header on the wire in tunnel mode. */
  outer: IpPacket;
  udpSource: number;
  /** As in the packet; zero is valid (RFC 6935, RFC 6936). */
  udpChecksum: number;
}

/**
 * Opens a whole PSP packet, from its first octet of IP; octets after its end are ignored. The mode is the one that
 * both ends agreed on.
 * @throws Refused if a receiver must drop it.
 */
export function openPacket(octets: Buffer, keyOf: KeyOf, mode: Mode): Opened {
  const outer = readWire(octets);
  const datagram = datagramOf(outer);
  const { header, payload } = openPsp(datagram.subarray(8), keyOf);
  const packet =
    mode === 'tunnel' ? innerOf(header.nextHeader, payload) : restored(outer, header.nextHeader, payload);
  return {
    packet,
    header,
    outer,
    udpSource: datagram.readUInt16BE(0),
    udpChecksum: datagram.readUInt16BE(6),
  };
}

/** The UDP datagram of a packet, truncated to its length field. */
function datagramOf(outer: IpPacket): Buffer {
  const all = outer.octets.subarray(outer.all.length);
  return all.subarray(0, all.readUInt16BE(4));
}

/** The packet on the wire, which contains one datagram to the PSP port. */
function readWire(octets: Buffer): IpPacket {
  const outer = attempt('udp', () => readIp(octets));
  const there = outer.octets.length - outer.all.length;
  const isDatagram = outer.octets.readUInt8(outer.all.protocolAt) === protocol.udp && !outer.fragment;
  if (!isDatagram || there < 8) throw new Refused('udp', 'no UDP datagram');
  const datagram = datagramOf(outer);
  const claimed = outer.octets.readUInt16BE(outer.all.length + 4);
  if (claimed < 8 || claimed > there) throw new Refused('udp', `a length of ${claimed}`);
  if (datagram.readUInt16BE(2) !== pspPort) throw new Refused('udp', 'not to the port of PSP');
  if (!udpChecksumHolds(outer, datagram)) throw new Refused('udp', 'checksum');
  return outer;
}

/** Tunnel mode: the payload must be one whole packet of the family that Next Header names. */
function innerOf(nextHeader: number, payload: Buffer): Buffer {
  const inner = attempt('trailer', () => readIp(payload));
  if (nextHeader !== tunnelled[inner.version]) throw new Refused('trailer', `next header ${nextHeader}`);
  if (inner.octets.length !== payload.length) throw new Refused('trailer', 'octets behind the inner packet');
  if (isMapped(inner.source) || isMapped(inner.destination)) throw new Refused('trailer', 'mapped address');
  return payload;
}

/** Addresses of ::ffff:0:0/96 represent IPv4 inside a machine and must not appear on the wire. */
const isMapped = (address: Buffer): boolean =>
  address.length === 16 && address.toString('hex').startsWith('00000000000000000000ffff');

/** Transport mode: the whole packet as it was before UDP and PSP were inserted. */
function restored(outer: IpPacket, nextHeader: number, payload: Buffer): Buffer {
  if (nextHeader === protocol.ipv4 || nextHeader === protocol.ipv6)
    throw new Refused('trailer', `next header ${nextHeader} in transport mode`);
  const packet = withPayload(outer, outer.all, { protocol: nextHeader, octets: payload });
  if (attempt('trailer', () => readIp(packet)).fragment) throw new Refused('trailer', 'a fragment');
  return packet;
}

function attempt<T>(verdict: 'udp' | 'trailer', read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new Refused(verdict, cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
