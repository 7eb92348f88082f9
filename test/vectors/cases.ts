// SPDX-License-Identifier: Apache-2.0
// The definition of a case of the packet vectors, the hosts and gateways in them, and the conversion of a case to a
// row. Numbers that a packet only needs to have (SPI, IV, cookie, UDP source port) are derived from the case's name,
// so that a new case changes no other row.
import { createHash } from 'node:crypto';
import { fromMasterKeys } from './derivation.js';
import { type IpFields, ipPacket, type Payload, udp } from './ip.js';
import { type Mode, type Sealing, sealPacket } from './packet.js';
import type { PspFields, Refusal } from './psp.js';
import { absent, hex, type Row, unhex } from './table.js';

export type Family = 'v4' | 'v6';
export const families: Family[] = ['v4', 'v6'];
const versions = [0, 1, 2, 3];

const masterKeys = [
  unhex('a8c1f0537be2946d0f3358cc1d72be9604e5da3b7790c24f61ab08f7352d9ce1'),
  unhex('17d94e60b3258afc49c60e93f1a87d5220bb6cd5839ef1044a7c32e8905fb6d7'),
] as const;

export const hosts = {
  v4: { source: unhex('0a010005'), destination: unhex('0a020009') },
  v6: {
    source: unhex('fd0100000000000000000000000000a5'),
    destination: unhex('fd020000000000000000000000000019'),
  },
};
const gateways = {
  v4: { source: unhex('c0000201'), destination: unhex('c0000202') },
  v6: {
    source: unhex('20010db8000000000000000000000a01'),
    destination: unhex('20010db8000000000000000000000b02'),
  },
};

export interface Case {
  name: string;
  description: string;
  mode: Mode;
  version: number;
  /** In plaintext. */
  packet: Buffer;
  /** Family of the outer header in tunnel mode; the inner packet's by default. */
  outer?: Family;
  /** Differences from the usual outer header: hop limit 64, DSCP of the inner packet, DF. */
  outerFields?: Partial<IpFields>;
  /** The DSCP of the outer header; the inner packet's by default. */
  dscp?: number;
  header?: Partial<PspFields>;
  udpSource?: number;
  udpChecksum?: boolean;
  /** Only to be opened: our sender makes no such packet. */
  openOnly?: boolean;
  /** Changes the sealed packet. @param psp offset of the PSP header */
  wire?: (sealed: Buffer, psp: number) => Buffer;
  verdict?: Refusal;
}

/** Octets derived from a name. */
const seeded = (name: string): Buffer => createHash('sha256').update(name).digest();

export const cookieOf = (name: string): Buffer => seeded(name).subarray(14, 22);

export const pattern = (length: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => (i * 7 + 3) % 256));

/** A packet from host to host. */
export const hostPacket = (family: Family, payload: Payload, fields: Partial<IpFields> = {}): Buffer =>
  ipPacket({ ...hosts[family], trafficClass: 0xb9, hopLimit: 63, ...fields }, payload);

export const hostUdp = (family: Family, length: number): Payload =>
  udp(40000, 7, pattern(length), hosts[family]);

/** UDP with 24 octets of data. */
export const usualPacket = (family: Family): Buffer => hostPacket(family, hostUdp(family, 24));

/**
 * Cases for every combination of version, cookie and the relevant crypt offsets.
 * @param first what offset 1 leaves in plaintext @param further offsets without a cookie, by their effect
 */
export function combinations(
  prefix: string,
  base: Pick<Case, 'mode' | 'packet' | 'outer'>,
  first: string,
  further: Record<string, number>,
): Case[] {
  const described = (version: number, vc: boolean): [number, string][] => {
    if (version >= 2) return [[0, 'authenticated, in the clear']];
    return [
      [0, 'all behind the IV is encrypted'],
      [1, vc ? 'the cookie is encrypted from its fifth octet on' : `${first} in the clear`],
      ...Object.entries(further).map(([what, words]): [number, string] => [words + (vc ? 2 : 0), what]),
    ];
  };
  return versions.flatMap((version) =>
    [false, true].flatMap((vc) =>
      described(version, vc).map(([cryptOffset, description]) => {
        const name = `${prefix}_${version}${vc ? '_vc' : ''}_offset${cryptOffset}`;
        const header = { cryptOffset, cookie: vc ? cookieOf(name) : undefined };
        return { ...base, name, description, version, header };
      }),
    ),
  );
}

function outerOf(one: Case): IpFields {
  const family = one.outer ?? (one.packet.readUInt8(0) >> 4 === 4 ? 'v4' : 'v6');
  const inner = (one.packet.readUInt16BE(0) >> (one.packet.readUInt8(0) >> 4 === 4 ? 0 : 4)) & 0xff;
  return {
    ...gateways[family],
    trafficClass: one.dscp === undefined ? inner : one.dscp * 4 + (inner & 3),
    hopLimit: 64,
    dontFragment: family === 'v4',
    ...one.outerFields,
  };
}

export function rowOf(one: Case): Row {
  const seed = seeded(one.name);
  const header = {
    version: one.version,
    spi: seed.readUInt32BE(0),
    iv: seed.readBigUInt64BE(4),
    cryptOffset: 0,
    sample: false,
    drop: false,
    cookie: undefined,
    extension: Buffer.alloc(0),
    reserved: 0,
    ...one.header,
  };
  const sealing: Sealing = {
    key: fromMasterKeys(masterKeys)(header.spi, header.version),
    header,
    udpSource: one.udpSource ?? 0xc000 + (seed.readUInt16BE(12) & 0x3fff),
    udpChecksum: one.udpChecksum ?? false,
    ...(one.mode === 'tunnel' ? { outer: outerOf(one) } : {}),
  };
  const sealed = sealPacket(one.packet, sealing);
  const { key, outer } = sealing;
  const flag = (value: boolean | undefined): string => (value ? '1' : '0');
  return {
    name: one.name,
    description: one.description,
    direction: one.openOnly ? 'open' : 'both',
    verdict: one.verdict ?? 'opened',
    mode: one.mode,
    version: String(one.version),
    master0: hex(masterKeys[0]),
    master1: hex(masterKeys[1]),
    spi: header.spi.toString(16).padStart(8, '0'),
    key: hex(key),
    iv: header.iv.toString(16).padStart(16, '0'),
    cookie: header.cookie ? hex(header.cookie) : absent,
    crypt_offset: String(header.cryptOffset),
    sample: flag(header.sample),
    drop: flag(header.drop),
    extension: hex(header.extension) || absent,
    outer_source: outer ? hex(outer.source) : absent,
    outer_destination: outer ? hex(outer.destination) : absent,
    hop_limit: outer ? String(outer.hopLimit) : absent,
    dscp: one.dscp === undefined ? absent : String(one.dscp),
    dont_fragment: outer ? flag(outer.dontFragment) : absent,
    identification: outer ? String(outer.identification ?? 0) : absent,
    udp_source: String(sealing.udpSource),
    udp_checksum: sealing.udpChecksum ? 'computed' : 'zero',
    clear: hex(one.packet),
    sealed: hex(one.wire ? one.wire(sealed, pspStart(sealed)) : sealed),
  };
}

/** The offset of the PSP header in a sealed packet without IPv6 extension headers. */
const pspStart = (sealed: Buffer): number => {
  const first = sealed.readUInt8(0);
  return (first >> 4 === 4 ? (first & 15) * 4 : 40) + 8;
};
