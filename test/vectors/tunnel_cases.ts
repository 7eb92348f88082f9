// SPDX-License-Identifier: Apache-2.0
// The cases of tunnel.txt, named by axes: tunnel_<inner>_in_<outer>_<version>, _vc with a virtualization cookie,
// _offset<crypt offset>; then other special features.
import {
  type Case,
  combinations,
  families,
  hostPacket,
  hosts,
  hostUdp,
  pattern,
  usualPacket,
} from './cases.js';
import { extended, fragmented, ipPacket, type Payload, protocol, udp } from './ip.js';
import { unhex } from './table.js';

const matrix = (): Case[] =>
  families.flatMap((inner) =>
    families.flatMap((outer) => {
      const packet = usualPacket(inner);
      return combinations(
        `tunnel_${inner}_in_${outer}`,
        { mode: 'tunnel', packet, outer },
        'the first word stays',
        {
          'the inner IP header stays in the clear': inner === 'v4' ? 5 : 10,
          'nothing is left to encrypt': packet.length / 4,
        },
      );
    }),
  );

const v4 = { mode: 'tunnel', version: 0, outer: 'v4', packet: usualPacket('v4') } as const;
const v6 = { mode: 'tunnel', version: 1, outer: 'v6', packet: usualPacket('v6') } as const;

const lengths: Case[] = [
  {
    ...v4,
    name: 'tunnel_v4_in_v4_0_header_alone',
    description: 'an inner packet that is nothing but its header',
    packet: hostPacket('v4', { protocol: 253, octets: Buffer.alloc(0) }),
  },
  {
    ...v6,
    name: 'tunnel_v6_in_v6_1_header_alone',
    description: 'an inner packet with no next header',
    packet: hostPacket('v6', { protocol: protocol.noNextHeader, octets: Buffer.alloc(0) }),
  },
  {
    ...v4,
    name: 'tunnel_v4_in_v4_0_empty',
    description: 'UDP without data',
    packet: hostPacket('v4', hostUdp('v4', 0)),
  },
  ...[1, 4, 5, 19].map((length, version) => ({
    ...v4,
    version,
    name: `tunnel_v4_in_v4_${version}_data${length}`,
    description: `${length} octets of data, which end before, at or behind the end of a cipher block`,
    packet: hostPacket('v4', hostUdp('v4', length)),
  })),
  {
    ...v6,
    name: 'tunnel_v6_in_v6_1_offset19',
    description: 'the crypt offset leaves three octets encrypted',
    packet: hostPacket('v6', hostUdp('v6', 31)),
    header: { cryptOffset: 19 },
  },
  {
    ...v4,
    name: 'tunnel_v4_in_v4_0_offset63',
    description: 'the greatest crypt offset that there is',
    packet: hostPacket('v4', hostUdp('v4', 261)),
    header: { cryptOffset: 63 },
  },
  {
    ...v6,
    outer: 'v4',
    name: 'tunnel_v6_in_v4_1_9000',
    description: 'a packet of 9000 octets',
    packet: hostPacket('v6', hostUdp('v6', 9000 - 48)),
  },
];

const numbers: Case[] = [
  ...[0x00000001, 0x7fffffff, 0x80000001, 0xffffffff].map((spi, version) => ({
    ...v4,
    version,
    name: `tunnel_v4_in_v4_${version}_spi_${spi.toString(16).padStart(8, '0')}`,
    description: `the top bit selects master key ${spi >= 0x80000000 ? 1 : 0}`,
    header: { spi },
  })),
  { ...v4, name: 'tunnel_v4_in_v4_0_iv_zero', description: 'IV 0', header: { iv: 0n } },
  {
    ...v6,
    name: 'tunnel_v6_in_v6_1_iv_greatest',
    description: 'all bits of the IV are set',
    header: { iv: 0xffffffffffffffffn },
  },
  {
    ...v4,
    name: 'tunnel_v4_in_v4_0_vc_zero',
    description: 'a cookie of zeros is a cookie',
    header: { cookie: Buffer.alloc(8) },
  },
  { ...v4, name: 'tunnel_v4_in_v4_0_sample', description: 'S', header: { sample: true } },
  { ...v6, name: 'tunnel_v6_in_v6_1_drop', description: 'D', header: { drop: true } },
  {
    ...v4,
    version: 2,
    name: 'tunnel_v4_in_v4_2_sample_drop',
    description: 'S and D',
    header: { sample: true, drop: true },
  },
];

const outers: Case[] = [
  ...families.map((outer) => ({
    ...v4,
    outer,
    name: `tunnel_v4_in_${outer}_0_udp_checksum`,
    description: 'the UDP checksum is computed, over an odd number of octets',
    packet: hostPacket('v4', hostUdp('v4', 25)),
    udpChecksum: true,
  })),
  {
    ...v4,
    outer: 'v6',
    name: 'tunnel_v4_in_v6_0_udp_checksum_ffff',
    description: 'a UDP checksum of zero would say that there is none: it is sent as ffff',
    udpSource: 0xece9,
    udpChecksum: true,
  },
  {
    ...v4,
    name: 'tunnel_v4_in_v4_0_fragmentable',
    description: 'DF is clear, and the identification counts',
    outerFields: { dontFragment: false, identification: 0xbeef },
  },
  ...families.map((outer) => ({
    ...v4,
    outer,
    name: `tunnel_v4_in_${outer}_0_dscp_hidden`,
    description: 'the outer DSCP is 0, ECN is copied',
    dscp: 0,
  })),
  {
    ...v6,
    name: 'tunnel_v6_in_v6_1_dscp46',
    description: 'the outer DSCP is configured, ECN is copied',
    dscp: 46,
    outerFields: { hopLimit: 255 },
  },
  {
    ...v6,
    outer: 'v4',
    name: 'tunnel_v6_in_v4_1_hop_limit1',
    description: 'the outer hop limit has nothing to do with the inner one',
    outerFields: { hopLimit: 1 },
  },
];

const options = Buffer.concat([unhex('0204b68e'), Buffer.alloc(4)]);
const icmp: Payload = { protocol: protocol.icmp, octets: Buffer.concat([unhex('08000000'), pattern(20)]) };

const carried: Case[] = [
  ...(
    [
      ['esp', protocol.esp],
      ['sctp', protocol.sctp],
      ['gre', protocol.gre],
      ['ipv4', protocol.ipv4],
      ['protocol253', 253],
    ] as const
  ).map(([name, number]) => ({
    ...v4,
    name: `tunnel_v4_in_v4_0_${name}`,
    description: `protocol ${number}, carried without a look into it`,
    packet: hostPacket('v4', { protocol: number, octets: number === 4 ? usualPacket('v4') : pattern(28) }),
  })),
  {
    ...v4,
    name: 'tunnel_v4_in_v4_0_options',
    description: 'IPv4 options stay inside',
    packet: hostPacket('v4', icmp, { options }),
  },
  {
    ...v6,
    name: 'tunnel_v6_in_v6_1_extension_headers',
    description: 'hop-by-hop options, routing header and destination options stay inside',
    packet: hostPacket(
      'v6',
      extended(
        protocol.hopByHop,
        unhex('050200000100'),
        extended(
          protocol.routing,
          Buffer.alloc(22),
          extended(protocol.destinationOptions, unhex('010400000000'), hostUdp('v6', 16)),
        ),
      ),
    ),
  },
  {
    ...v4,
    name: 'tunnel_v4_in_v4_0_first_fragment',
    description: 'the first fragment of a UDP datagram',
    packet: hostPacket('v4', udp(40000, 7, pattern(32)), { moreFragments: true, identification: 7 }),
  },
  {
    ...v4,
    outer: 'v6',
    name: 'tunnel_v4_in_v6_0_last_fragment',
    description: 'the last fragment of a UDP datagram',
    packet: hostPacket('v4', { protocol: protocol.udp, octets: pattern(21) }, { fragmentOffset: 40 }),
  },
  {
    ...v6,
    name: 'tunnel_v6_in_v6_1_first_fragment',
    description: 'the first fragment of a UDP datagram',
    packet: hostPacket('v6', fragmented(0, true, udp(40000, 7, pattern(32)))),
  },
  {
    ...v6,
    outer: 'v4',
    name: 'tunnel_v6_in_v4_1_last_fragment',
    description: 'the last fragment of a UDP datagram',
    packet: hostPacket('v6', fragmented(40, false, { protocol: protocol.udp, octets: pattern(21) })),
  },
  ...families.map((family) => ({
    ...v4,
    outer: family,
    name: `tunnel_${family}_in_${family}_0_multicast`,
    description: 'to a group',
    packet: ipPacket(
      {
        source: hosts[family].source,
        destination: unhex(family === 'v4' ? 'e00000fb' : 'ff0200000000000000000000000000fb'),
        trafficClass: 0,
        hopLimit: 1,
      },
      udp(5353, 5353, pattern(12)),
    ),
  })),
];

export const tunnelCases = (): Case[] => [...matrix(), ...lengths, ...numbers, ...outers, ...carried];
