// SPDX-License-Identifier: Apache-2.0
// Encoding of three blocks of a pcapng file (draft-ietf-opsawg-pcapng): section header, interface description, enhanced
// packet. Octets are little-endian, as the section header declares. Packets are written into the caller's buffer, because
// there are many of them.

/** The first header of an interface's packets: values of the LINKTYPE registry. */
export const linkTypes = { ethernet: 1, raw: 101 } as const;

export interface Interface {
  linkType: (typeof linkTypes)[keyof typeof linkTypes];
  name: string;
  description: string;
  /** Octets of a packet that are stored; 0: all. */
  snapBytes: number;
}

/** Low two bits of epb_flags. */
export const directions = { inbound: 1, outbound: 2 } as const;

export interface Packet {
  /** Index of its interface among those described before. */
  interface: number;
  /** Unix microseconds. */
  atUs: bigint;
  originalLength: number;
  direction: (typeof directions)[keyof typeof directions];
  /** ASCII. */
  comment: string;
  /** The octets that were stored. */
  copy: Uint8Array;
}

const blockTypes = { section: 0x0a0d0d0a, interface: 1, packet: 6 };
const byteOrderMagic = 0x1a2b3c4d;
const optionCodes = { end: 0, comment: 1, name: 2, description: 3, application: 4, resolution: 9, flags: 2 };
/** if_tsresol: 10^-6 s. */
const microseconds = Uint8Array.of(6);

const padded = (length: number): number => (length + 3) & ~3;

interface Option {
  code: number;
  value: Uint8Array;
}

const text = (code: number, value: string): Option => ({ code, value: Buffer.from(value, 'utf8') });

/** A complete block: type, length, body, options, length again. */
function block(type: number, body: Uint8Array, options: readonly Option[]): Buffer {
  const optionOctets = options.reduce((sum, { value }) => sum + 4 + padded(value.length), 4);
  const total = 12 + body.length + optionOctets;
  const octets = Buffer.alloc(total);
  octets.writeUInt32LE(type, 0);
  octets.writeUInt32LE(total, 4);
  octets.set(body, 8);
  let at = 8 + body.length;
  for (const { code, value } of options) {
    octets.writeUInt16LE(code, at);
    octets.writeUInt16LE(value.length, at + 2);
    octets.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  octets.writeUInt16LE(optionCodes.end, at);
  octets.writeUInt32LE(total, total - 4);
  return octets;
}

/** The first block of a file. @param comment about its content; @param application that wrote it. */
export function sectionHeader(application: string, comment: string): Buffer {
  const body = Buffer.alloc(16);
  body.writeUInt32LE(byteOrderMagic, 0);
  body.writeUInt16LE(1, 4);
  body.writeUInt16LE(0, 6);
  // The length of the section is unknown.
  body.writeBigInt64LE(-1n, 8);
  return block(blockTypes.section, body, [
    text(optionCodes.comment, comment),
    text(optionCodes.application, application),
  ]);
}

export function interfaceDescription({ linkType, name, description, snapBytes }: Interface): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt16LE(linkType, 0);
  body.writeUInt32LE(snapBytes, 4);
  return block(blockTypes.interface, body, [
    text(optionCodes.name, name),
    text(optionCodes.description, description),
    { code: optionCodes.resolution, value: microseconds },
  ]);
}

/** Octets around the copy and the comment of a packet: head, two option heads, flags, end of options, tail. */
const packetFrame = 28 + 4 + 8 + 4 + 4;

/** Octets that `writePacket` writes. */
export const packetLength = ({ copy, comment }: Pick<Packet, 'copy' | 'comment'>): number =>
  packetFrame + padded(copy.length) + padded(comment.length);

/** Writes an enhanced packet block. @param buffer has `packetLength` octets from `at` on. */
export function writePacket(buffer: Buffer, at: number, packet: Packet): void {
  const { copy, comment, atUs } = packet;
  const total = packetLength(packet);
  buffer.writeUInt32LE(blockTypes.packet, at);
  buffer.writeUInt32LE(total, at + 4);
  buffer.writeUInt32LE(packet.interface, at + 8);
  buffer.writeUInt32LE(Number(BigInt.asUintN(32, atUs >> 32n)), at + 12);
  buffer.writeUInt32LE(Number(BigInt.asUintN(32, atUs)), at + 16);
  buffer.writeUInt32LE(copy.length, at + 20);
  buffer.writeUInt32LE(packet.originalLength, at + 24);
  let next = at + 28;
  buffer.set(copy, next);
  next = pad(buffer, next, copy.length);
  buffer.writeUInt32LE(optionCodes.comment | (comment.length << 16), next);
  buffer.write(comment, next + 4, 'latin1');
  next = pad(buffer, next + 4, comment.length);
  buffer.writeUInt32LE(optionCodes.flags | (4 << 16), next);
  buffer.writeUInt32LE(packet.direction, next + 4);
  buffer.writeUInt32LE(optionCodes.end, next + 8);
  buffer.writeUInt32LE(total, next + 12);
}

/** Pads what was written at `at` with zeros to a multiple of 4. @returns the next offset. */
function pad(buffer: Buffer, at: number, length: number): number {
  const end = at + padded(length);
  for (let i = at + length; i < end; i++) buffer[i] = 0;
  return end;
}
