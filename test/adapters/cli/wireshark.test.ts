// SPDX-License-Identifier: Apache-2.0
// The Wireshark dissector (docs/wireshark/psp.lua) in a real tshark: it shows the fields of packets correctly and
// reports faults.
import { describe, expect, it } from 'vitest';
import { ipPacket, protocol, udp } from '../../vectors/ip.js';
import { type PspFields, sealPsp } from '../../vectors/psp.js';
import {
  type Captured,
  capture,
  cookie,
  expertsOf,
  fieldsOf,
  frameOf,
  gateways,
  inner,
  keyOf,
  sealed,
  tshark,
} from './wireshark_rig.js';

describe('for a packet the dissector shows', () => {
  const names = [
    ...['next_header', 'hdr_ext_len', 'header_length', 'reserved', 'crypt_offset', 'crypt_offset.octets'],
    ...['sample', 'drop', 'version', 'vc_present', 'always_1', 'spi', 'spi.master_key', 'iv'],
    ...['vc', 'vc.encrypted', 'extension', 'clear', 'clear.length', 'encrypted', 'encrypted.length', 'icv'],
  ].map((name) => `psp_sec.${name}`);

  /** The expected values, from the fields and the sealed octets. */
  function expected(fields: PspFields, octets: Buffer): Record<string, string> {
    const header = 16 + (fields.cookie?.length ?? 0) + fields.extension.length;
    const end = octets.length - 16;
    const clear = fields.version < 2 ? 16 + 4 * fields.cryptOffset : end;
    const hex = (from: number, to: number) => octets.subarray(from, Math.max(from, to)).toString('hex');
    const hasCookie = fields.cookie !== undefined;
    return {
      'psp_sec.next_header': String(fields.nextHeader),
      'psp_sec.hdr_ext_len': String(header / 8 - 1),
      'psp_sec.header_length': String(header),
      'psp_sec.reserved': String(fields.reserved),
      'psp_sec.crypt_offset': String(fields.cryptOffset),
      'psp_sec.crypt_offset.octets': String(4 * fields.cryptOffset),
      'psp_sec.sample': fields.sample ? '1' : '0',
      'psp_sec.drop': fields.drop ? '1' : '0',
      'psp_sec.version': String(fields.version),
      'psp_sec.vc_present': hasCookie ? '1' : '0',
      'psp_sec.always_1': '1',
      'psp_sec.spi': `0x${fields.spi.toString(16).padStart(8, '0')}`,
      'psp_sec.spi.master_key': fields.spi >= 0x80000000 ? '1' : '0',
      'psp_sec.iv': `0x${fields.iv.toString(16).padStart(16, '0')}`,
      'psp_sec.vc': hasCookie ? hex(16, 24) : '',
      'psp_sec.vc.encrypted': hasCookie ? (clear < 24 ? '1' : '0') : '',
      'psp_sec.extension': hex(header - fields.extension.length, header),
      'psp_sec.clear': hex(header, clear),
      'psp_sec.clear.length': String(Math.max(0, clear - header)),
      'psp_sec.encrypted': hex(clear, end),
      'psp_sec.encrypted.length': String(end - clear),
      'psp_sec.icv': hex(end, octets.length),
    };
  }

  it('every field, in every version, with and without cookie, extension and crypt offset', () => {
    const cases: { fields: PspFields; octets: Buffer; family: 4 | 6 }[] = [];
    const offsets = (version: number, extra: number) => (version < 2 ? [0, 1, 2, 7, (extra + 40) / 4] : [0]);
    for (const version of [0, 1, 2, 3])
      for (const has of [undefined, cookie])
        for (const words of [0, 1, 3])
          for (const cryptOffset of offsets(version, (has?.length ?? 0) + 8 * words)) {
            const n = cases.length;
            const fields: PspFields = {
              // No payload for another dissector, so that no field of another packet is shown.
              ...{ nextHeader: 253, version, cryptOffset, cookie: has, reserved: n % 4 },
              ...{ sample: n % 2 === 1, drop: n % 3 === 1, spi: n % 2 ? 0x9a345678 : 0x12345678 + n },
              ...{
                iv: BigInt.asUintN(64, 0xfedcba9876543210n * BigInt(n + 1)),
                extension: Buffer.alloc(8 * words, 0xee),
              },
            };
            const octets = sealPsp(fields, keyOf(version), Buffer.alloc(40, 0x70 + (n % 10)));
            cases.push({ fields, octets, family: n % 5 === 0 ? 6 : 4 });
          }
    const file = capture(cases.map(({ octets, family }) => frameOf(octets, 1000, family)));
    expect(cases.length).toBeGreaterThan(60);
    expect(fieldsOf(file, names)).toEqual(cases.map(({ fields, octets }) => expected(fields, octets)));
  });

  it('by name: version and next header; and that a cookie is encrypted, or from which octet on', () => {
    const shown = ({ octets }: Captured) => tshark(capture([{ octets }]), '-O', 'psp_sec');
    expect(shown(frameOf(sealed({ version: 1, cookie })))).toMatch(
      /AES-GCM-256 \(1\)[\s\S]*cookie: [0-9a-f]{16} \(encrypted\)\n/,
    );
    expect(shown(frameOf(sealed({ cookie, cryptOffset: 1 })))).toMatch(
      /Next Header: IPv4 \(4\)[\s\S]*Crypt Offset: 1 \(4 octets\)[\s\S]*AES-GCM-128 \(0\)[\s\S]*cookie: c0c1c2c3[0-9a-f]{8} \(encrypted from octet 4 on\)\n/,
    );
    const clear = shown(frameOf(sealed({ version: 3, cookie, nextHeader: protocol.ipv6 }, inner[6])));
    expect(clear).toMatch(
      /Next Header: IPv6 \(41\)[\s\S]*AES-GMAC-256 \(3\)[\s\S]*cookie: c0c1c2c3c4c5c6c7\n/,
    );
    expect(shown(frameOf(sealed({ version: 2 })))).toContain('AES-GMAC-128 (2)');
  });

  it('in the summary line of a packet: SPI, version and next header', () => {
    expect(tshark(capture([frameOf(sealed())]))).toMatch(/ PSP \d+ SPI 0x80000001, AES-GCM-128, IPv4$/m);
  });
});

describe('a payload', () => {
  const names = ['ip.src', 'ipv6.src', 'udp.dstport', 'tcp.dstport', 'udp.length', '_ws.malformed'];
  const shown = (...packets: Buffer[]): string[][] =>
    fieldsOf(capture(packets.map((octets) => frameOf(octets))), names).map((row) => Object.values(row));

  it.each([2, 3])('of version %d is dissected by its protocol', (version) => {
    const tcp = Buffer.from('13891f900000000100000000500220000000000068656c6c6f', 'hex');
    const datagram = udp(40001, 40002, Buffer.from('x')).octets;
    expect(
      shown(
        sealed({ version }),
        sealed({ version, cookie, nextHeader: protocol.ipv6 }, inner[6]),
        sealed({ version, nextHeader: protocol.tcp }, tcp),
        sealed({ version, nextHeader: protocol.udp }, datagram),
      ),
    ).toEqual([
      ['192.0.2.1,10.1.0.7', '', '1000,5002', '', '80,20', ''],
      ['192.0.2.1', 'fd00:1::7', '1000,5002', '', '108,20', ''],
      ['192.0.2.1', '', '1000', '8080', '65', ''],
      ['192.0.2.1', '', '1000,40002', '', '49,9', ''],
    ]);
  });

  it('that is encrypted is not dissected, nor one that begins in plaintext', () => {
    const packets = [0, 5, 7].map((cryptOffset) => sealed({ cryptOffset }));
    expect(shown(...packets).map(([source]) => source)).toEqual(packets.map(() => '192.0.2.1'));
  });

  it('that the crypt offset leaves in plaintext completely is dissected', () => {
    expect(shown(sealed({ cryptOffset: inner[4].length / 4 }))[0]?.[0]).toBe('192.0.2.1,10.1.0.7');
  });

  it('that is PSP again is dissected, up to a nesting limit', () => {
    let octets = sealed({ version: 2 });
    for (let i = 0; i < 300; i++)
      octets = sealed({ version: 2 }, ipPacket(gateways[4], udp(0xc001, 1000, octets)));
    const [row] = fieldsOf(capture([frameOf(octets)]), ['psp_sec.spi', '_ws.expert.message']);
    expect(row?.['psp_sec.spi']?.split(',')).toHaveLength(5);
    expect(row?.['_ws.expert.message']).toContain('PSP in PSP, nested too deeply');
  });
});

describe('a fault is reported', () => {
  const changed = (octet: number, value: number, octets = sealed()): Captured => {
    octets.writeUInt8(value, octet);
    return frameOf(octets);
  };
  const noSpi = sealed({ spi: 0x80000001 });
  noSpi.writeUInt32BE(0x80000000, 4);

  const faults: [string, Captured, string][] = [
    ['a version above 3', changed(3, (4 << 2) | 1), 'The version is reserved: receivers discard the packet'],
    [
      'the lowest bit clear',
      changed(3, 0),
      'The lowest bit of octet 3 is zero: receivers discard the packet',
    ],
    ['an SPI without low bits', frameOf(noSpi), 'The low 31 bits of the SPI are zero'],
    [
      'an offset one unit past the payload',
      changed(2, inner[4].length / 4 + 1),
      'The crypt offset is past the payload',
    ],
    ['a header too short for the IV', changed(1, 0), 'Hdr Ext Len is too small for the IV or the cookie'],
    ['a header too short for the cookie', changed(3, 3), 'Hdr Ext Len is too small for the IV or the cookie'],
    ['a header longer than the packet', changed(1, 255), 'Truncated: too short for the header and the ICV'],
    ['R', changed(2, 0x40), 'R is not zero; receivers ignore it'],
    ['a part in clear', frameOf(sealed({ cryptOffset: 5 })), 'A part of the payload is not encrypted'],
    ['version 2', frameOf(sealed({ version: 2 })), 'Not encrypted: this version authenticates only'],
    ['version 3', frameOf(sealed({ version: 3 })), 'Not encrypted: this version authenticates only'],
  ];

  it('alone, of each kind', () => {
    const told = expertsOf(faults.map(([, frame]) => frame));
    expect(faults.map(([name], i) => [name, told[i]])).toEqual(
      faults.map(([name, , message]) => [name, message]),
    );
  });

  it('not in a valid packet', () => {
    const good = [{}, { version: 1, cookie }, { cookie, cryptOffset: 2 }, { sample: true, drop: true }];
    expect(expertsOf(good.map((fields) => frameOf(sealed(fields))))).toEqual(good.map(() => ''));
  });

  it('a crypt offset in a version that has none', () => {
    expect(expertsOf([frameOf(sealed({ version: 2, cryptOffset: 60 }))])).toEqual([
      expect.stringContaining('This version has no crypt offset'),
    ]);
  });

  it('in a truncated packet, however short, and in no other', () => {
    const whole = sealed({ cookie });
    const least = 24 + 16;
    const frames = Array.from({ length: least + 4 }, (_, i) => frameOf(whole.subarray(0, i + 1)));
    const told = expertsOf(frames).map((message) => message.includes('Truncated'));
    expect(told).toEqual(frames.map((_, i) => i + 1 < least));
  });
});

describe('the port', () => {
  const frames = [frameOf(sealed(), 1000), frameOf(sealed(), 2000), frameOf(sealed(), 2000, 4, 1000)];
  const which = (...args: string[]) =>
    fieldsOf(capture(frames), ['psp_sec.version'], ...args).map((row) => row['psp_sec.version'] !== '');

  it('is 1000, as destination', () => expect(which()).toEqual([true, false, false]));
  it('is a preference', () => expect(which('-o', 'psp_sec.port:2000')).toEqual([false, true, true]));
  it('can be none', () => expect(which('-o', 'psp_sec.port:0')).toEqual([false, false, false]));
  it('may be added by Decode As', () =>
    expect(which('-d', 'udp.port==2000,psp_sec').slice(0, 2)).toEqual([true, true]));
});
