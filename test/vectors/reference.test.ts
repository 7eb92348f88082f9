// SPDX-License-Identifier: Apache-2.0
// Checks the TypeScript implementation with captures of google/psp, if these are available beside the repository
// (../shared/vectors): it opens them, and seals to the same octets from the PSP header to the ICV.
// test/native/psp/reference_vectors_test.cc does the same with the native one.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { fromMasterKeys } from './derivation.js';
import { type Mode, openPacket, sealPacket } from './packet.js';
import { hex, unhex } from './table.js';

const folder = fromPackageRoot('../shared/vectors');
const ethernetHeader = 14;
const pcapHeader = 24;
const pcapRecord = 16;

/** IP packets of a capture in the byte order of a little-endian machine. */
function packetsOf(name: string): Buffer[] {
  const file = readFileSync(`${folder}/${name}.pcap`);
  const packets: Buffer[] = [];
  for (let at = pcapHeader; at < file.length; ) {
    const length = file.readUInt32LE(at + 8);
    packets.push(file.subarray(at + pcapRecord + ethernetHeader, at + pcapRecord + length));
    at += pcapRecord + length;
  }
  return packets;
}

interface Configuration {
  masters: readonly [Buffer, Buffer];
  spi: number;
  mode: Mode;
  version: number;
  /** Transport mode, an IPv4 tunnel and an IPv6 tunnel. */
  offsets: readonly [number, number, number];
  cookie: Buffer | undefined;
}

function configurationOf(name: string): Configuration {
  const lines = readFileSync(`${folder}/encrypt_${name}.cfg`, 'utf8').trim().split('\n');
  const line = (at: number): string => lines[at]?.trim() ?? '';
  const master = (at: number): Buffer => unhex(line(at).replaceAll(' ', ''));
  return {
    masters: [master(0), master(1)],
    spi: Number.parseInt(line(2), 16),
    mode: line(3) === 'tunnel' ? 'tunnel' : 'transport',
    version: line(4) === 'aes-gcm-128' ? 0 : 1,
    offsets: [Number(line(5)), Number(line(6)), Number(line(7))],
    cookie: line(8) === 'vc' ? Buffer.alloc(8) : undefined,
  };
}

const captures = [
  ['v4', 'tunnel_crypt_off_128'],
  ['v6', 'tunnel_crypt_off_256_vc'],
  ['v4', 'transport_crypt_off_128_vc'],
  ['v6', 'transport_no_crypt_off_256'],
] as const;

describe("google/psp's packets", () => {
  it.for(captures)('%s_%s open, and are sealed to the same octets', ([family, name], { skip }) => {
    if (!existsSync(folder)) skip('no vectors are kept beside the repository');
    const { masters, spi, mode, version, offsets, cookie } = configurationOf(name);
    const keyOf = fromMasterKeys(masters);
    const clear = packetsOf(`${family}_cleartext`);
    const wire = packetsOf(`${family}_${name}`);
    expect(wire.length).toBe(clear.length);
    expect(wire.length).toBeGreaterThan(0);

    wire.forEach((packet, i) => {
      const opened = openPacket(packet, keyOf, mode);
      expect(hex(opened.packet)).toBe(hex(clear[i] as Buffer));
      const sealed = sealPacket(clear[i] as Buffer, {
        key: keyOf(spi, version),
        header: {
          version,
          spi,
          iv: BigInt(i + 1),
          cookie,
          cryptOffset: mode === 'transport' ? offsets[0] : offsets[family === 'v4' ? 1 : 2],
          sample: false,
          drop: false,
          extension: Buffer.alloc(0),
          reserved: 0,
        },
        udpSource: opened.udpSource,
        udpChecksum: false,
        ...(mode === 'tunnel' ? { outer: { ...opened.outer, dontFragment: true } } : {}),
      });
      const psp = (family === 'v4' ? 20 : 40) + 8;
      expect(hex(sealed.subarray(psp))).toBe(hex(packet.subarray(psp)));
    });
  });
});
