// SPDX-License-Identifier: Apache-2.0
// The Wireshark dissector (docs/wireshark/psp.lua) in a real tshark, with incomplete and invalid input: captures that
// contain a part of each packet, samples among them, and noise.
import { describe, expect, it } from 'vitest';
import { packetLength, writePacket } from '../../../services/shared/samples/pcapng.js';
import { packetOf, samplesHeader } from '../../../services/shared/samples/samples.js';
import { egressSample, ingressSample } from '../sampler/rig.js';
import { capture, cookie, expertsOf, fieldsOf, frameOf, inner, sealed, tshark } from './wireshark_rig.js';

/** A pseudo-random generator (mulberry32). @returns numbers below `limit`. */
function seeded(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

describe('a capture that contains a part of each packet', () => {
  it('is shown as far as it goes, with the lengths', () => {
    const { octets } = frameOf(sealed({ cookie }, Buffer.alloc(400, 7)));
    const cut = { octets: octets.subarray(0, 42 + 40), length: octets.length };
    const [row] = fieldsOf(capture([cut]), [
      ...['psp_sec.vc.encrypted', 'psp_sec.encrypted', 'psp_sec.encrypted.length', 'psp_sec.icv'],
      '_ws.expert.message',
    ]);
    expect(Object.values(row ?? {})).toEqual([
      ...['1', octets.subarray(58, 82).toString('hex'), '408', ''],
      'The capture contains 40 of 440 octets',
    ]);
    expect(tshark(capture([cut]), '-O', 'psp_sec')).toContain('(the first 24 of 408 octets)');
  });

  it('of any length causes no error', () => {
    for (const fields of [
      { cookie, cryptOffset: 3 },
      { version: 2, cookie },
    ]) {
      const { octets } = frameOf(sealed({ ...fields, extension: Buffer.alloc(16) }));
      const cuts = Array.from({ length: octets.length - 42 }, (_, i) => octets.subarray(0, 42 + i));
      const told = expertsOf(cuts.map((part) => ({ octets: part, length: octets.length })));
      expect(told.slice(1).every((message) => message.includes('The capture contains'))).toBe(true);
    }
  }, 120_000);

  it('has the form that the sampler writes for packets that leave, beside inner packets that arrived', () => {
    const blocks = [egressSample(0x80000007), ingressSample(9)].map((sample) => {
      const packet = packetOf(sample);
      const block = Buffer.alloc(packetLength(packet));
      writePacket(block, 0, packet);
      return block;
    });
    const file = Buffer.concat([samplesHeader('a', 128, '0.1.0'), ...blocks]);
    const names = ['frame.interface_name', 'psp_sec.spi', 'psp_sec.encrypted.length', 'udp.dstport'];
    expect(fieldsOf(file, names).map((row) => Object.values(row))).toEqual([
      ['egress_sealed', '0x80000007', '1426', '1000'],
      ['ingress_opened', '', '', '5001'],
    ]);
  });
});

describe('arbitrary input', () => {
  const random = seeded(20221117);
  const octets = (length: number): Buffer => Buffer.from(Array.from({ length }, () => random(256)));
  const nextHeaders = [1, 4, 6, 17, 41, 132, 58, 253];

  /** A header that leads further into the dissector than noise does. */
  function likely(): Buffer {
    const payload = octets(16 + random(200));
    const version = random(5);
    payload.writeUInt8(nextHeaders[random(nextHeaders.length)] as number, 0);
    payload.writeUInt8(random(5), 1);
    payload.writeUInt8(random(24), 2);
    payload.writeUInt8(version * 4 + random(2) * 2 + 1, 3);
    // An inner packet with valid first octets.
    if (payload.length > 40 && random(2) === 0) inner[4].copy(payload, 16, 0, 20 + random(8));
    return payload;
  }

  it('1000 random datagrams cause no error, however they are displayed', () => {
    const payloads = Array.from({ length: 1000 }, (_, i) => (i % 2 ? likely() : octets(random(200))));
    const frames = payloads.map((payload, i) => frameOf(payload, 1000, i % 3 === 0 ? 6 : 4));
    expect(expertsOf(frames)).toHaveLength(1000);
    const file = capture(frames);
    expect(tshark(file).split('\n')).toHaveLength(1001);
    expect(tshark(file, '-V')).toContain('PSP Security Protocol');
    expect(fieldsOf(file, ['frame.number'], '-2', '-R', 'psp_sec').length).toBeGreaterThan(900);
  }, 120_000);
});
