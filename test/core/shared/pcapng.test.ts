// SPDX-License-Identifier: Apache-2.0
// pcapng blocks octet by octet; test/adapters shows that other programs read them.
import { describe, expect, it } from 'vitest';
import {
  directions,
  interfaceDescription,
  linkTypes,
  packetLength,
  sectionHeader,
  writePacket,
} from '../../../services/shared/samples/pcapng.js';

const packet = {
  interface: 1,
  atUs: 0x0006_5432_89ab_cdefn,
  originalLength: 1500,
  direction: directions.outbound,
  comment: 'peer b',
  copy: Uint8Array.of(1, 2, 3, 4, 5),
};

/** Type, total length at both ends, body. */
function parts(block: Buffer) {
  const total = block.readUInt32LE(4);
  expect(total).toBe(block.length);
  expect(block.readUInt32LE(total - 4)).toBe(total);
  expect(total % 4).toBe(0);
  return { type: block.readUInt32LE(0), body: block.subarray(8, total - 4) };
}

/** Code and value of each option, until the end. */
function options(body: Buffer): [number, Buffer][] {
  const found: [number, Buffer][] = [];
  for (let at = 0; ; ) {
    const [code, length] = [body.readUInt16LE(at), body.readUInt16LE(at + 2)];
    if (code === 0) {
      expect([length, at + 4]).toEqual([0, body.length]);
      return found;
    }
    found.push([code, body.subarray(at + 4, at + 4 + length)]);
    at += 4 + Math.ceil(length / 4) * 4;
  }
}

describe('a section', () => {
  it('states its byte order, version 1.0, an unknown length, its content and its writer', () => {
    const { type, body } = parts(sectionHeader('psp 1', 'samples'));
    expect(type).toBe(0x0a0d0d0a);
    expect(body.subarray(0, 16).toString('hex')).toBe(`4d3c2b1a01000000${'ff'.repeat(8)}`);
    expect(options(body.subarray(16)).map(([code, value]) => [code, value.toString()])).toEqual([
      [1, 'samples'],
      [4, 'psp 1'],
    ]);
  });
});

describe('an interface', () => {
  it('has link type, snap length, name, description and microseconds', () => {
    const { type, body } = parts(
      interfaceDescription({ linkType: linkTypes.raw, name: 'n', description: 'dé', snapBytes: 128 }),
    );
    expect([type, body.readUInt16LE(0), body.readUInt32LE(4)]).toEqual([1, 101, 128]);
    expect(options(body.subarray(8)).map(([code, value]) => [code, value.toString('hex')])).toEqual([
      [2, '6e'],
      [3, '64c3a9'],
      [9, '06'],
    ]);
  });
});

describe('a packet', () => {
  it('has interface, time in two halves, both lengths, copy, comment and direction', () => {
    const block = Buffer.alloc(packetLength(packet), 0xee);
    writePacket(block, 0, packet);
    const { type, body } = parts(block);
    expect(type).toBe(6);
    expect([0, 4, 8, 12, 16].map((at) => body.readUInt32LE(at))).toEqual([1, 0x65432, 0x89abcdef, 5, 1500]);
    expect(body.subarray(20, 28).toString('hex')).toBe('0102030405000000');
    expect(options(body.subarray(28)).map(([code, value]) => [code, value.toString('hex')])).toEqual([
      [1, Buffer.from('peer b').toString('hex')],
      [2, '02000000'],
    ]);
  });

  it.each([0, 1, 2, 3, 4, 5])(
    'of %i octets fills exactly its length and writes nothing outside it',
    (octets) => {
      const one = { ...packet, copy: new Uint8Array(octets), comment: 'x'.repeat(octets) };
      const buffer = Buffer.alloc(packetLength(one) + 8, 0xee);
      writePacket(buffer, 4, one);
      parts(buffer.subarray(4, -4));
      expect([buffer.subarray(0, 4).toString('hex'), buffer.subarray(-4).toString('hex')]).toEqual([
        'eeeeeeee',
        'eeeeeeee',
      ]);
    },
  );
});
