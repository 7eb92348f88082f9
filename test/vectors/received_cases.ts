// SPDX-License-Identifier: Apache-2.0
// Packets that our sender never makes but a receiver can get: packets that others may send and that must be opened,
// and packets that must be refused (name ends in _err). Their rows follow those of their mode.
import { type Case, cookieOf, families, hostPacket, hostUdp, pattern, usualPacket } from './cases.js';
import {
  checksum,
  extended,
  fragmented,
  ipPacket,
  type Payload,
  protocol,
  readIp,
  udp,
  withPayload,
} from './ip.js';
import type { Mode } from './packet.js';
import { unhex } from './table.js';

const modes: Mode[] = ['tunnel', 'transport'];

/** The beginning of a case of either mode: the front of its name, and v4 with version 0 or v6 with version 1. */
const base = {
  tunnel: { v4: 'tunnel_v4_in_v4_0', v6: 'tunnel_v6_in_v6_1' },
  transport: { v4: 'transport_v4_0', v6: 'transport_v6_1' },
};

function received(
  mode: Mode,
  family: 'v4' | 'v6',
  suffix: string,
  description: string,
  more: Partial<Case>,
): Case {
  return {
    name: `${base[mode][family]}_${suffix}`,
    description,
    mode,
    version: family === 'v4' ? 0 : 1,
    packet: usualPacket(family),
    openOnly: true,
    ...more,
  };
}

const inBoth = (make: (mode: Mode) => Case[]): Case[] => modes.flatMap(make);

const headers = inBoth((mode) => [
  ...[2, 3, 5].flatMap((words) =>
    [false, true]
      .filter((vc) => words > 2 || !vc)
      .map((vc) => {
        const suffix = `hdrextlen${words}${vc ? '_vc' : ''}`;
        return received(mode, words === 5 ? 'v6' : 'v4', suffix, 'opaque extension words are stepped over', {
          header: {
            extension: pattern(8 * (words - 1) - (vc ? 8 : 0)),
            cookie: vc ? cookieOf(`${mode}_${suffix}`) : undefined,
          },
        });
      }),
  ),
  received(mode, 'v6', 'hdrextlen4_vc_offset4', 'the crypt offset lies between two extension words', {
    header: { extension: pattern(16), cookie: cookieOf(`${mode}_hdrextlen4`), cryptOffset: 4 },
  }),
  ...[1, 2, 3].map((reserved) =>
    received(mode, 'v4', `reserved${reserved}`, 'R is not zero: ignored, and authenticated', {
      header: { reserved },
    }),
  ),
  ...[2, 3].flatMap((version) =>
    [5, 63].map((cryptOffset) => ({
      ...received(mode, 'v4', '', 'the crypt offset means nothing in this version, even past the payload', {
        version,
        header: { cryptOffset },
      }),
      name: `${base[mode].v4.slice(0, -1)}${version}_offset${cryptOffset}`,
    })),
  ),
  {
    ...received(mode, 'v4', '', 'extension words are authenticated too', {
      version: 2,
      header: { extension: pattern(16), cookie: cookieOf(`${mode}_2_hdrextlen4`) },
    }),
    name: `${base[mode].v4.slice(0, -1)}2_hdrextlen4_vc`,
  },
]);

/** Appends octets to the IP packet, as a link does with short frames. */
const padded = (sealed: Buffer): Buffer => Buffer.concat([sealed, Buffer.alloc(9, 0x55)]);

/** Makes the IP packet longer than the UDP datagram in it. */
function surplus(sealed: Buffer): Buffer {
  const packet = readIp(sealed);
  const datagram = packet.octets.subarray(packet.all.length);
  return withPayload(packet, packet.all, {
    protocol: protocol.udp,
    octets: Buffer.concat([datagram, Buffer.alloc(6, 0x55)]),
  });
}

/** Inserts IPv6 extension headers before UDP. */
function withOuterOptions(sealed: Buffer): Buffer {
  const packet = readIp(sealed);
  const datagram = { protocol: protocol.udp, octets: packet.octets.subarray(40) };
  const options = unhex('010400000000');
  return withPayload(
    packet,
    packet.all,
    extended(protocol.hopByHop, options, extended(protocol.destinationOptions, options, datagram)),
  );
}

const wires: Case[] = [
  ...inBoth((mode) => [
    received(mode, 'v4', 'padded', 'octets lie behind the end of the IP packet', { wire: padded }),
    received(mode, 'v6', 'surplus', 'octets lie behind the end of the UDP datagram', { wire: surplus }),
    received(mode, 'v4', 'udp_checksum_err', 'the UDP checksum is wrong', {
      udpChecksum: true,
      verdict: 'udp',
      wire: (sealed, psp) => flip(sealed, psp - 1, 1),
    }),
  ]),
  received('tunnel', 'v4', 'outer_options', 'the outer IPv4 header carries options', {
    outerFields: { options: unhex('0204b68e01010100') },
  }),
  received(
    'tunnel',
    'v6',
    'outer_options',
    'the outer IPv6 header carries hop-by-hop and destination options',
    {
      wire: withOuterOptions,
    },
  ),
];

/** A copy with bits of one octet flipped. */
function flip(sealed: Buffer, at: number, bits: number): Buffer {
  const copy = Buffer.from(sealed);
  copy.writeUInt8(copy.readUInt8(at) ^ bits, at);
  return copy;
}

/** Removes octets of the UDP payload and corrects the lengths. */
function shortened(sealed: Buffer, left: number): Buffer {
  const packet = readIp(sealed);
  const datagram = packet.octets.subarray(packet.all.length);
  const payload = udp(datagram.readUInt16BE(0), 1000, datagram.subarray(8, 8 + left));
  return withPayload(packet, packet.all, payload);
}

/** A refusal because of one octet of the PSP header. */
const said = (at: number, bits: number, verdict: Case['verdict']): Partial<Case> => ({
  ...(verdict ? { verdict } : {}),
  wire: (sealed, psp) => flip(sealed, psp + at, bits),
});

const refused = inBoth((mode) => [
  received(mode, 'v4', 'icv_err', 'the last bit of the ICV is wrong', {
    verdict: 'icv',
    wire: (sealed) => flip(sealed, sealed.length - 1, 1),
  }),
  received(mode, 'v4', 'sample_err', 'S was set on the way', said(3, 0x80, 'icv')),
  received(mode, 'v4', 'drop_err', 'D was set on the way', said(3, 0x40, 'icv')),
  received(mode, 'v4', 'reserved_err', 'a bit of R was set on the way', said(2, 0x80, 'icv')),
  received(mode, 'v4', 'next_header_err', 'the next header was changed on the way', said(0, 1, 'icv')),
  received(mode, 'v6', 'spi_err', 'the SPI was changed on the way', said(7, 1, 'icv')),
  received(
    mode,
    'v6',
    'master_key_err',
    'the SPI was made to select the other master key',
    said(4, 0x80, 'icv'),
  ),
  received(mode, 'v4', 'gmac_err', 'version 0 was made version 2 on the way', said(3, 2 << 2, 'icv')),
  received(mode, 'v4', 'version4_err', 'version 4 is reserved', said(3, 4 << 2, 'version')),
  received(mode, 'v4', 'version15_err', 'version 15 is reserved', said(3, 15 << 2, 'version')),
  received(mode, 'v4', 'lowest_bit_err', 'the lowest bit of octet 3 is zero', said(3, 1, 'malformed')),
  received(mode, 'v4', 'vc_err', 'V, and no room for a cookie', said(3, 2, 'malformed')),
  received(mode, 'v6', 'hdrextlen0_err', 'a header that ends before the IV', said(1, 1, 'malformed')),
  received(
    mode,
    'v6',
    'hdrextlen255_err',
    'a header that ends behind the packet',
    said(1, 0xfe, 'truncated'),
  ),
  received(
    mode,
    'v4',
    'crypt_offset_err',
    'the crypt offset points past the payload',
    said(2, 63, 'crypt_offset'),
  ),
  ...[0, 31].map((left) =>
    received(mode, 'v4', `octets${left}_err`, 'too short for a header and an ICV', {
      verdict: 'truncated',
      wire: (sealed) => shortened(sealed, left),
    }),
  ),
]);

/** IPv4 with another total length and a corrected header checksum. */
function claiming(packet: Buffer, change: number): Buffer {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(packet.length + change, 2);
  copy.writeUInt16BE(0, 10);
  copy.writeUInt16BE(checksum(copy.subarray(0, 20)), 10);
  return copy;
}

const mapped = {
  source: unhex('00000000000000000000ffff0a010005'),
  destination: unhex('00000000000000000000ffff0a020009'),
  trafficClass: 0,
  hopLimit: 63,
};

const trailer = (
  mode: Mode,
  family: 'v4' | 'v6',
  suffix: string,
  description: string,
  more: Partial<Case>,
): Case => received(mode, family, `${suffix}_err`, description, { verdict: 'trailer', ...more });

const behindOptions: Payload = { protocol: protocol.destinationOptions, octets: unhex('11ff010400000000') };

const trailers: Case[] = [
  trailer('tunnel', 'v4', 'next_header41', 'the next header says IPv6, an IPv4 packet is inside', {
    header: { nextHeader: protocol.ipv6 },
  }),
  trailer('tunnel', 'v6', 'next_header4', 'the next header says IPv4, an IPv6 packet is inside', {
    header: { nextHeader: protocol.ipv4 },
  }),
  trailer('tunnel', 'v4', 'transport', 'transport mode where a tunnel was agreed', {
    header: { nextHeader: protocol.udp },
  }),
  trailer('tunnel', 'v4', 'long', 'the inner packet claims an octet that is not there', {
    packet: claiming(usualPacket('v4'), 1),
  }),
  trailer('tunnel', 'v4', 'trailing', 'an octet lies behind the end of the inner packet', {
    packet: claiming(usualPacket('v4'), -1),
  }),
  trailer('tunnel', 'v4', 'header_checksum', 'the checksum of the inner header is wrong', {
    packet: flip(usualPacket('v4'), 10, 1),
  }),
  trailer(
    'tunnel',
    'v6',
    'mapped',
    'an IPv6 packet between mapped IPv4 addresses would pass for an IPv4 flow',
    {
      packet: ipPacket(mapped, hostUdp('v6', 24)),
    },
  ),
  ...families.flatMap((family) =>
    [protocol.ipv4, protocol.ipv6].map((number) =>
      trailer('transport', family, `next_header${number}`, 'a tunnel where transport mode was agreed', {
        header: { nextHeader: number },
      }),
    ),
  ),
  trailer('transport', 'v6', 'fragment', 'a fragment, which transport mode does not carry', {
    packet: hostPacket('v6', { ...fragmented(8, true, hostUdp('v6', 16)), protocol: 253 }),
    header: { nextHeader: protocol.fragment },
  }),
  trailer('transport', 'v6', 'options', 'destination options that end behind the packet', {
    packet: hostPacket('v6', { ...behindOptions, protocol: 253 }),
    header: { nextHeader: protocol.destinationOptions },
  }),
];

/** All of them, of both modes. */
export const receivedCases = (): Case[] => [...headers, ...wires, ...refused, ...trailers];
