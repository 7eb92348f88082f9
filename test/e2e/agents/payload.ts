// SPDX-License-Identifier: Apache-2.0
// The payload of a transfer: blocks of random octets, each starting with its number so that no two are equal, with a
// marker every 64 octets, so that any plaintext frame contains at least one.
import { randomBytes } from 'node:crypto';

export const blockLength = 65_536;
const markerEvery = 64;

/** Yields blocks until `bytes` are reached. A buffer is valid only until the next one. */
export function* blocks(bytes: number, marker: string): Generator<Buffer> {
  const pattern = randomBytes(blockLength);
  for (let at = 8; at + marker.length <= blockLength; at += markerEvery) pattern.write(marker, at, 'latin1');
  for (let number = 0, left = bytes; left > 0; number++, left -= blockLength) {
    const block = Buffer.from(pattern);
    block.writeBigUInt64BE(BigInt(number));
    yield left < blockLength ? block.subarray(0, left) : block;
  }
}
