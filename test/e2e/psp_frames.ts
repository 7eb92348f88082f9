// SPDX-License-Identifier: Apache-2.0
// Parses captured frames of the wire as PSP packets with the parser of the vectors: outer headers, UDP, the PSP
// header. Reassembles fragments of an outer packet.
import { type IpPacket, ipPacket, protocol, readIp, udpChecksumHolds } from '../vectors/ip.js';
import type { Frame } from './capture.js';

const pspPort = 1000;
const ethernetLength = 14;
const fixedLength = 16;
const icvLength = 16;

/** A frame whose outer packet is complete and UDP to port 1000. */
export interface PspFrame {
  outer: IpPacket;
  /** Without separators: 4 or 16 octets as hex. */
  source: string;
  destination: string;
  udpSource: number;
  /** As in the header, 0 for none. */
  udpChecksum: number;
  udpChecksumHolds: boolean;
  nextHeader: number;
  /** Length of the whole PSP header in octets. */
  headerLength: number;
  reserved: number;
  cryptOffset: number;
  sample: boolean;
  drop: boolean;
  version: number;
  hasCookie: boolean;
  spi: number;
  iv: bigint;
  /** From the end of the IV up to the ICV, including the cookie. */
  body: Buffer;
}

const ipOf = ({ octets }: Frame): IpPacket | undefined => {
  const type = octets.readUInt16BE(12);
  return type === 0x0800 || type === 0x86dd ? readIp(octets.subarray(ethernetLength)) : undefined;
};

/**
 * @returns undefined for a frame that is no complete PSP packet. @throws Error if lengths or checksums are wrong
 */
function readPsp(outer: IpPacket): PspFrame | undefined {
  const { length, protocolAt } = outer.unfragmentable;
  if (outer.fragment || outer.octets.readUInt8(protocolAt) !== protocol.udp) return undefined;
  const datagram = outer.octets.subarray(length);
  if (datagram.readUInt16BE(2) !== pspPort) return undefined;
  if (datagram.readUInt16BE(4) !== datagram.length) throw new Error('UDP length');
  const psp = datagram.subarray(8);
  const flags = psp.readUInt8(3);
  if ((flags & 1) === 0) throw new Error('the lowest bit of octet 3 is zero');
  return {
    outer,
    source: outer.source.toString('hex'),
    destination: outer.destination.toString('hex'),
    udpSource: datagram.readUInt16BE(0),
    udpChecksum: datagram.readUInt16BE(6),
    udpChecksumHolds: udpChecksumHolds(outer, datagram),
    nextHeader: psp.readUInt8(0),
    headerLength: 8 + 8 * psp.readUInt8(1),
    reserved: psp.readUInt8(2) >> 6,
    cryptOffset: psp.readUInt8(2) & 63,
    sample: (flags & 0x80) !== 0,
    drop: (flags & 0x40) !== 0,
    version: (flags >> 2) & 15,
    hasCookie: (flags & 2) !== 0,
    spi: psp.readUInt32BE(4),
    iv: psp.readBigUInt64BE(8),
    body: psp.subarray(fixedLength, psp.length - icvLength),
  };
}

/** The PSP packets among captured frames, in order, without fragments. */
export const pspFrames = (frames: readonly Frame[]): PspFrame[] =>
  frames.flatMap((frame) => {
    const ip = ipOf(frame);
    return (ip && readPsp(ip)) ?? [];
  });

/** A fragment of an outer packet. */
export interface OuterFragment {
  ip: IpPacket;
  identification: number;
  /** In octets. */
  offset: number;
  more: boolean;
  data: Buffer;
  protocol: number;
}

/** The fragments among captured frames, in order. */
export const outerFragments = (frames: readonly Frame[]): OuterFragment[] =>
  frames.flatMap((frame) => {
    const ip = ipOf(frame);
    return ip?.fragment ? readFragment(ip) : [];
  });

function readFragment(ip: IpPacket): OuterFragment {
  const { octets } = ip;
  if (ip.version === 4) {
    const place = octets.readUInt16BE(6);
    return {
      ip,
      identification: octets.readUInt16BE(4),
      offset: (place & 0x1fff) * 8,
      more: (place & 0x2000) !== 0,
      data: octets.subarray(ip.all.length),
      protocol: octets.readUInt8(9),
    };
  }
  const at = ip.all.length;
  const place = octets.readUInt16BE(at + 2);
  return {
    ip,
    identification: octets.readUInt32BE(at + 4),
    offset: place & 0xfff8,
    more: (place & 1) !== 0,
    data: octets.subarray(at + 8),
    protocol: octets.readUInt8(at),
  };
}

/** Reassembles the fragments of one outer packet. @throws Error if one is missing or they are no PSP packet */
export function joined(fragments: readonly OuterFragment[]): PspFrame {
  const sorted = [...fragments].sort((left, right) => left.offset - right.offset);
  const [first, last] = [sorted[0], sorted.at(-1)];
  if (first === undefined || last?.more !== false) throw new Error('the last fragment is missing');
  let end = 0;
  for (const { offset, data } of sorted) {
    if (offset !== end) throw new Error(`no fragment from octet ${end}`);
    end += data.length;
  }
  const octets = Buffer.concat(sorted.map(({ data }) => data));
  const whole = readPsp(readIp(ipPacket(first.ip, { protocol: first.protocol, octets })));
  if (whole === undefined) throw new Error('the fragments are of no PSP packet');
  return whole;
}
