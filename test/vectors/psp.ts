// SPDX-License-Identifier: Apache-2.0
// PSP header, payload and ICV, sealed and opened with node:crypto alone, from the PSP specification ("PSP Packet
// Format", "Packet Encryption"). Independent of IP.
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { KeyOf } from './derivation.js';

const fixedLength = 16;
const cookieLength = 8;
const icvLength = 16;

/** The reasons for a refusal, by the names of the vectors. */
export type Refusal = 'truncated' | 'malformed' | 'version' | 'crypt_offset' | 'icv' | 'trailer' | 'udp';

export class Refused extends Error {
  constructor(
    readonly verdict: Refusal,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`${verdict}: ${message}`, options);
  }
}

export interface PspFields {
  nextHeader: number;
  /** In units of 4 octets from the end of the IV: the cookie and the extension count. */
  cryptOffset: number;
  /** S */
  sample: boolean;
  /** D */
  drop: boolean;
  version: number;
  spi: number;
  iv: bigint;
  /** The virtualization cookie, 8 octets; present: V is set. */
  cookie: Buffer | undefined;
  /** Opaque octets after the cookie, a multiple of 8. */
  extension: Buffer;
  /** The two R bits; we send zero. */
  reserved: number;
}

/** Versions 2 and 3 authenticate and do not encrypt. */
const isAuthOnly = (version: number): boolean => version >= 2;

const algorithmOf = (version: number) => (version % 2 === 0 ? 'aes-128-gcm' : 'aes-256-gcm');

/** The header, before any of it is encrypted. */
export function pspHeader(fields: PspFields): Buffer {
  const fixed = Buffer.alloc(fixedLength);
  const words = (fields.cookie?.length ?? 0) + fields.extension.length;
  const flags =
    (fields.sample ? 0x80 : 0) + (fields.drop ? 0x40 : 0) + fields.version * 4 + (fields.cookie ? 2 : 0) + 1;
  fixed.writeUInt8(fields.nextHeader, 0);
  fixed.writeUInt8(1 + words / 8, 1);
  fixed.writeUInt8(fields.reserved * 64 + fields.cryptOffset, 2);
  fixed.writeUInt8(flags, 3);
  fixed.writeUInt32BE(fields.spi, 4);
  fixed.writeBigUInt64BE(fields.iv, 8);
  return Buffer.concat([fixed, fields.cookie ?? Buffer.alloc(0), fields.extension]);
}

/** Authenticates a header and its payload, and encrypts the octets from `clear` on. Appends the ICV. */
function seal(version: number, key: Buffer, octets: Buffer, clear: number): Buffer {
  const cipher = createCipheriv(algorithmOf(version), key, octets.subarray(4, 16));
  cipher.setAAD(octets.subarray(0, clear));
  const encrypted = Buffer.concat([cipher.update(octets.subarray(clear)), cipher.final()]);
  return Buffer.concat([octets.subarray(0, clear), encrypted, cipher.getAuthTag()]);
}

/** PSP header, payload and ICV: the payload of a UDP datagram. */
export function sealPsp(fields: PspFields, key: Buffer, payload: Buffer): Buffer {
  const octets = Buffer.concat([pspHeader(fields), payload]);
  const clear = isAuthOnly(fields.version) ? octets.length : fixedLength + 4 * fields.cryptOffset;
  if (clear > octets.length) throw new Error('the crypt offset points past the payload');
  return seal(fields.version, key, octets, clear);
}

export interface OpenedPsp {
  header: PspFields;
  payload: Buffer;
}

/**
 * Opens the payload of a UDP datagram.
 * @throws Refused if it is no PSP packet, or its ICV does not match.
 */
export function openPsp(sealed: Buffer, keyOf: KeyOf): OpenedPsp {
  const end = sealed.length - icvLength;
  if (end < fixedLength) throw new Refused('truncated', `${sealed.length} octets`);
  const flags = sealed.readUInt8(3);
  const version = (flags >> 2) & 15;
  const hasCookie = (flags & 2) !== 0;
  const headerLength = 8 + 8 * sealed.readUInt8(1);
  const cryptOffset = sealed.readUInt8(2) & 63;
  if ((flags & 1) === 0) throw new Refused('malformed', 'the lowest bit of octet 3 is zero');
  if (version > 3) throw new Refused('version', `version ${version} is reserved`);
  if (headerLength < fixedLength + (hasCookie ? cookieLength : 0))
    throw new Refused('malformed', `a header of ${headerLength} octets`);
  if (headerLength > end) throw new Refused('truncated', `a header of ${headerLength} octets`);
  const clear = isAuthOnly(version) ? end : fixedLength + 4 * cryptOffset;
  if (clear > end) throw new Refused('crypt_offset', `crypt offset ${cryptOffset}`);

  const spi = sealed.readUInt32BE(4);
  const octets = decrypt(version, keyOf(spi, version), sealed, clear);
  return {
    header: {
      nextHeader: octets.readUInt8(0),
      cryptOffset,
      sample: (flags & 0x80) !== 0,
      drop: (flags & 0x40) !== 0,
      version,
      spi,
      iv: octets.readBigUInt64BE(8),
      cookie: hasCookie ? octets.subarray(fixedLength, fixedLength + cookieLength) : undefined,
      extension: octets.subarray(fixedLength + (hasCookie ? cookieLength : 0), headerLength),
      reserved: octets.readUInt8(2) >> 6,
    },
    payload: octets.subarray(headerLength),
  };
}

/** The plaintext octets, without the ICV. */
function decrypt(version: number, key: Buffer, sealed: Buffer, clear: number): Buffer {
  const nonce = sealed.subarray(4, 16);
  try {
    const decipher = createDecipheriv(algorithmOf(version), key, nonce, { authTagLength: icvLength });
    decipher.setAAD(sealed.subarray(0, clear));
    decipher.setAuthTag(sealed.subarray(-icvLength));
    const opened = decipher.update(sealed.subarray(clear, -icvLength));
    return Buffer.concat([sealed.subarray(0, clear), opened, decipher.final()]);
  } catch (cause) {
    throw new Refused('icv', 'the ICV does not match', { cause });
  }
}
