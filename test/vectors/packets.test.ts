// SPDX-License-Identifier: Apache-2.0
// Seals and opens the packets of tunnel.txt and transport.txt with the TypeScript implementation, from the cells of a
// row alone. test/native/psp/vectors_test.cc does the same with the native one.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { fromMasterKeys, type KeyOf } from './derivation.js';
import { readIp } from './ip.js';
import { type Mode, openPacket, sealPacket } from './packet.js';
import { pspHeader, Refused } from './psp.js';
import { absent, cell, hex, type Row, readTable, unhex } from './table.js';

const rows = (['tunnel', 'transport'] as const).flatMap((mode) =>
  readTable(readFileSync(fromPackageRoot(`test/vectors/${mode}.txt`), 'utf8')),
);
const named = (some: readonly Row[]) => some.map((row) => [cell(row, 'name'), row] as const);
const sent = rows.filter((row) => cell(row, 'direction') === 'both');

const octets = (row: Row, key: string): Buffer => unhex(cell(row, key).replace(absent, ''));
const isSet = (row: Row, key: string): boolean => cell(row, key) === '1';
const number = (row: Row, key: string): number => Number(cell(row, key));
const modeOf = (row: Row): Mode => (cell(row, 'mode') === 'tunnel' ? 'tunnel' : 'transport');
const keyOf = (row: Row): KeyOf => fromMasterKeys([octets(row, 'master0'), octets(row, 'master1')]);
const spiOf = (row: Row): number => Number.parseInt(cell(row, 'spi'), 16);

/** The options of a row, as a sender would receive them. */
function sealed(row: Row): Buffer {
  const clear = octets(row, 'clear');
  const inner = (clear.readUInt8(0) >> 4 === 4 ? clear.readUInt8(1) : clear.readUInt16BE(0) >> 4) & 0xff;
  const dscp = cell(row, 'dscp');
  return sealPacket(clear, {
    key: octets(row, 'key'),
    header: {
      version: number(row, 'version'),
      spi: spiOf(row),
      iv: BigInt(`0x${cell(row, 'iv')}`),
      cookie: cell(row, 'cookie') === absent ? undefined : octets(row, 'cookie'),
      cryptOffset: number(row, 'crypt_offset'),
      sample: isSet(row, 'sample'),
      drop: isSet(row, 'drop'),
      extension: octets(row, 'extension'),
      reserved: 0,
    },
    udpSource: number(row, 'udp_source'),
    udpChecksum: cell(row, 'udp_checksum') === 'computed',
    ...(modeOf(row) === 'transport'
      ? {}
      : {
          outer: {
            source: octets(row, 'outer_source'),
            destination: octets(row, 'outer_destination'),
            hopLimit: number(row, 'hop_limit'),
            trafficClass: dscp === absent ? inner : Number(dscp) * 4 + (inner & 3),
            dontFragment: isSet(row, 'dont_fragment'),
            identification: number(row, 'identification'),
          },
        }),
  });
}

/** The verdict on a packet: `opened`, or the reason for the refusal. */
function verdictOn(packet: Buffer, key: KeyOf, mode: Mode): string {
  try {
    openPacket(packet, key, mode);
    return 'opened';
  } catch (error) {
    if (error instanceof Refused) return error.verdict;
    throw error;
  }
}

describe('the packet vectors', () => {
  it('cover every combination of mode, families, version, cookie and kind of crypt offset', () => {
    const combinations = new Set(
      sent
        .map((row) => cell(row, 'name'))
        .filter((name) => /^(tunnel_v[46]_in|transport)_v[46]_[0-3](_vc)?_offset\d+$/.test(name)),
    );
    const offsets = (mode: Mode, family: string, vc: boolean): number[] => {
      const words = { tunnel: { v4: [5, 13], v6: [10, 18] }, transport: { v4: [2, 8], v6: [2, 8] } }[mode];
      return [0, 1, ...words[family as 'v4' | 'v6'].map((word) => word + (vc ? 2 : 0))];
    };
    const wanted = ['v4', 'v6'].flatMap((inner) =>
      ['tunnel_v4', 'tunnel_v6', 'transport'].flatMap((way) =>
        [0, 1, 2, 3].flatMap((version) =>
          [false, true].flatMap((vc) => {
            const mode = way === 'transport' ? 'transport' : 'tunnel';
            const front = mode === 'tunnel' ? `tunnel_${inner}_in_${way.slice(-2)}` : `transport_${inner}`;
            const own = version < 2 ? offsets(mode, inner, vc) : [0];
            return own.map((offset) => `${front}_${version}${vc ? '_vc' : ''}_offset${offset}`);
          }),
        ),
      ),
    );
    expect(wanted).toHaveLength(120);
    expect(wanted.filter((name) => !combinations.has(name))).toEqual([]);
  });

  it('have unique names and SPIs', () => {
    for (const key of ['name', 'spi']) {
      const values = rows.map((row) => cell(row, key));
      expect(values.filter((value, at) => values.indexOf(value) !== at)).toEqual([]);
    }
  });

  it('describe their packets correctly in their cells', () => {
    for (const row of sent) {
      const clear = octets(row, 'clear');
      const wire = octets(row, 'sealed');
      const family = (packet: Buffer): string => `v${packet.readUInt8(0) >> 4}`;
      const name = cell(row, 'name');
      expect(name).toMatch(
        modeOf(row) === 'tunnel'
          ? `tunnel_${family(clear)}_in_${family(wire)}_${cell(row, 'version')}`
          : `transport_${family(clear)}_${cell(row, 'version')}`,
      );
      expect(name.includes('_vc'), name).toBe(cell(row, 'cookie') !== absent);
    }
  });
});

describe('the PSP header', () => {
  it('has the layout of the specification', () => {
    const header = pspHeader({
      nextHeader: 41,
      cryptOffset: 13,
      sample: true,
      drop: false,
      version: 3,
      spi: 0x9a345678,
      iv: 0x0102030405060708n,
      cookie: unhex('c00c1e5500112233'),
      extension: unhex('e1e2e3e4e5e6e7e8'),
      reserved: 2,
    });
    expect(hex(header)).toBe('29038d8f9a3456780102030405060708c00c1e5500112233e1e2e3e4e5e6e7e8');
  });
});

describe('the key of', () => {
  it.each(named(rows))('%s', (_, row) => {
    expect(hex(keyOf(row)(spiOf(row), number(row, 'version')))).toBe(cell(row, 'key'));
  });
});

describe('sealing', () => {
  it.each(named(sent))('%s', (_, row) => {
    expect(hex(sealed(row))).toBe(cell(row, 'sealed'));
  });
});

describe('opening', () => {
  it.each(named(rows))('%s', (_, row) => {
    const wire = octets(row, 'sealed');
    expect(verdictOn(wire, keyOf(row), modeOf(row))).toBe(cell(row, 'verdict'));
    if (cell(row, 'verdict') !== 'opened') return;
    const { packet, header, udpSource, udpChecksum } = openPacket(wire, keyOf(row), modeOf(row));
    expect(hex(packet)).toBe(cell(row, 'clear'));
    expect({
      spi: header.spi,
      iv: header.iv.toString(16).padStart(16, '0'),
      cookie: header.cookie ? hex(header.cookie) : absent,
      extension: hex(header.extension) || absent,
      offset: header.cryptOffset,
      sample: header.sample,
      drop: header.drop,
      udpSource,
      udpChecksum: udpChecksum === 0 ? 'zero' : 'computed',
    }).toEqual({
      spi: spiOf(row),
      iv: cell(row, 'iv'),
      cookie: cell(row, 'cookie'),
      extension: cell(row, 'extension'),
      offset: number(row, 'crypt_offset'),
      sample: isSet(row, 'sample'),
      drop: isSet(row, 'drop'),
      udpSource: number(row, 'udp_source'),
      udpChecksum: cell(row, 'udp_checksum'),
    });
  });

  it('replaces a UDP checksum of zero with ffff', () => {
    const row = rows.find((one) => one.name === 'tunnel_v4_in_v6_0_udp_checksum_ffff') as Row;
    expect(openPacket(octets(row, 'sealed'), keyOf(row), modeOf(row)).udpChecksum).toBe(0xffff);
  });

  it('needs no master key if the key of the SA is known', () => {
    const row = sent[0] as Row;
    const { packet } = openPacket(octets(row, 'sealed'), () => octets(row, 'key'), modeOf(row));
    expect(hex(packet)).toBe(cell(row, 'clear'));
  });

  it('in the other mode refuses a payload that is no packet of that mode', () => {
    for (const row of sent) {
      const other: Mode = modeOf(row) === 'tunnel' ? 'transport' : 'tunnel';
      expect(verdictOn(octets(row, 'sealed'), keyOf(row), other), cell(row, 'name')).toBe('trailer');
    }
  });
});

describe('a packet that is truncated or has wrong outer headers', () => {
  it('gets a verdict like any other', () => {
    const verdicts = new Set<string>();
    for (const row of [...sent.slice(0, 40), ...rows.filter((one) => one.name?.includes('outer_options'))]) {
      const wire = octets(row, 'sealed');
      for (let length = 0; length < wire.length; length++)
        expect(verdictOn(wire.subarray(0, length), keyOf(row), modeOf(row))).toBe('udp');
      for (let bit = 0; bit < 48 * 8; bit++) {
        const wrong = Buffer.from(wire);
        wrong.writeUInt8(wrong.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        verdicts.add(verdictOn(wrong, keyOf(row), modeOf(row)));
      }
    }
    expect(verdicts).toContain('opened'); // no one verifies the hop limit of IPv6
    expect(verdicts).toContain('udp');
  });
});

describe('one wrong bit from the first octet of the PSP header to the last of the ICV is refused in', () => {
  const opened = rows.filter(
    (row) => cell(row, 'verdict') === 'opened' && octets(row, 'sealed').length <= 1000,
  );

  it.each(named(opened))('%s', (_, row) => {
    const wire = octets(row, 'sealed');
    const udp = readIp(wire).all.length;
    const psp = udp + 8;
    const end = udp + wire.readUInt16BE(udp + 4);
    const key = keyOf(row);
    expect(verdictOn(wire, key, modeOf(row))).toBe('opened');
    const accepted: string[] = [];
    for (let at = psp; at < end; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const wrong = Buffer.from(wire);
        wrong.writeUInt8(wrong.readUInt8(at) ^ (1 << bit), at);
        if (verdictOn(wrong, key, modeOf(row)) === 'opened') accepted.push(`octet ${at - psp}, bit ${bit}`);
      }
    }
    expect(accepted).toEqual([]);
  });
});
