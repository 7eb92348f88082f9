// SPDX-License-Identifier: Apache-2.0
// An independent implementation of the key derivation from master keys: AES-256-CMAC (NIST SP 800-38B) over the AES
// block of node:crypto, and the counter mode of NIST SP 800-108 as the PSP specification defines it.
import { createCipheriv } from 'node:crypto';

const blockLength = 16;

function aesBlock(key: Buffer, block: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
  return Buffer.concat([cipher.update(block), cipher.final()]);
}

const toNumber = (block: Buffer): bigint => BigInt(`0x${block.toString('hex')}`);
const toBlock = (number: bigint): Buffer => Buffer.from(number.toString(16).padStart(32, '0'), 'hex');

/** Multiplies by x in GF(2^128) (SP 800-38B section 6.1). */
const double = (number: bigint): bigint => BigInt.asUintN(128, number << 1n) ^ (number >> 127n ? 0x87n : 0n);

/** AES-256-CMAC of a message of any length (SP 800-38B section 6.2). */
export function cmac(key: Buffer, message: Buffer): Buffer {
  const k1 = double(toNumber(aesBlock(key, Buffer.alloc(blockLength))));
  const last = Math.max(0, Math.ceil(message.length / blockLength) - 1) * blockLength;
  const tail = Buffer.alloc(blockLength);
  const tailLength = message.copy(tail, 0, last);
  if (tailLength < blockLength) tail.writeUInt8(0x80, tailLength);

  let state = 0n;
  for (let at = 0; at < last; at += blockLength)
    state = toNumber(aesBlock(key, toBlock(state ^ toNumber(message.subarray(at, at + blockLength)))));
  const mask = tailLength === blockLength ? k1 : double(k1);
  return aesBlock(key, toBlock(state ^ toNumber(tail) ^ mask));
}

/** The key of an SPI: 16 octets for versions 0 and 2, 32 for 1 and 3 (PSP specification, "Key Derivation"). */
export function deriveKey(master: Buffer, spi: number, version: number): Buffer {
  const bits = version % 2 === 0 ? 128 : 256;
  const blocks = Array.from({ length: bits / 128 }, (_, i) => {
    const block = Buffer.alloc(blockLength);
    block.writeUInt32BE(i + 1, 0);
    block.write(`Pv${version}\0`, 4, 'latin1');
    block.writeUInt32BE(spi, 8);
    block.writeUInt32BE(bits, 12);
    return cmac(master, block);
  });
  return Buffer.concat(blocks);
}

/** Finds the key of a packet from its header. */
export type KeyOf = (spi: number, version: number) => Buffer;

/** Master keys 0 and 1, as the top bit of the SPI selects them. */
export const fromMasterKeys =
  (masters: readonly [Buffer, Buffer]): KeyOf =>
  (spi, version) =>
    deriveKey(masters[spi >= 0x80000000 ? 1 : 0], spi, version);
