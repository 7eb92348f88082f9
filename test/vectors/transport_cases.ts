// SPDX-License-Identifier: Apache-2.0
// The cases of transport.txt, named by axes: transport_<family>_<version>, _vc with a virtualization cookie,
// _offset<crypt offset>; then other special features.
import {
  type Case,
  combinations,
  cookieOf,
  families,
  hostPacket,
  hosts,
  hostUdp,
  pattern,
  usualPacket,
} from './cases.js';
import { extended, fragmented, type Payload, protocol } from './ip.js';
import { unhex } from './table.js';

const udpWords = 2;

const matrix = (): Case[] =>
  families.flatMap((family) =>
    combinations(
      `transport_${family}`,
      { mode: 'transport', packet: usualPacket(family) },
      'the ports stay',
      {
        "the host's UDP header stays in the clear": udpWords,
        'nothing is left to encrypt': udpWords + 6,
      },
    ),
  );

const v4 = { mode: 'transport', version: 0, packet: usualPacket('v4') } as const;
const v6 = { mode: 'transport', version: 1, packet: usualPacket('v6') } as const;
const both = { v4, v6 };

const lengths: Case[] = [
  {
    ...v4,
    name: 'transport_v4_0_header_alone',
    description: 'nothing lies behind the IP header, and nothing is encrypted',
    packet: hostPacket('v4', { protocol: 253, octets: Buffer.alloc(0) }),
  },
  {
    ...v6,
    name: 'transport_v6_1_header_alone_vc',
    description: 'no next header: the cookie alone is encrypted',
    packet: hostPacket('v6', { protocol: protocol.noNextHeader, octets: Buffer.alloc(0) }),
    header: { cookie: cookieOf('transport_v6_1_header_alone_vc') },
  },
  ...families.map((family) => ({
    ...both[family],
    name: `transport_${family}_${both[family].version}_empty`,
    description: 'UDP without data',
    packet: hostPacket(family, hostUdp(family, 0)),
  })),
  ...[1, 7, 9, 27].map((length, version) => ({
    ...v6,
    version,
    name: `transport_v6_${version}_data${length}`,
    description: `${length} octets of data, which end before or behind the end of a cipher block`,
    packet: hostPacket('v6', hostUdp('v6', length)),
  })),
  {
    ...v4,
    name: 'transport_v4_0_vc_offset63',
    description: 'the greatest crypt offset that there is',
    packet: hostPacket('v4', hostUdp('v4', 261)),
    header: { cryptOffset: 63, cookie: cookieOf('transport_v4_0_vc_offset63') },
  },
];

const bits: Case[] = [
  { ...v6, name: 'transport_v6_1_sample', description: 'S', header: { sample: true } },
  { ...v6, version: 3, name: 'transport_v6_3_drop', description: 'D', header: { drop: true } },
  {
    ...v4,
    name: 'transport_v4_0_sample_drop',
    description: 'S and D',
    header: { sample: true, drop: true },
  },
  ...[0, 1].flatMap((slot) =>
    families.map((family) => ({
      ...both[family],
      name: `transport_${family}_${both[family].version}_master${slot}`,
      description: `the top bit of the SPI selects master key ${slot}`,
      header: { spi: slot * 0x80000000 + (family === 'v4' ? 0x1a345678 : 0x1b345678) },
    })),
  ),
  ...families.map((family) => ({
    ...both[family],
    name: `transport_${family}_${both[family].version}_udp_checksum`,
    description: 'the UDP checksum is computed, over an odd number of octets',
    packet: hostPacket(family, hostUdp(family, 25)),
    udpChecksum: true,
  })),
];

const carried: Case[] = (
  [
    ['tcp', protocol.tcp],
    ['esp', protocol.esp],
    ['sctp', protocol.sctp],
    ['gre', protocol.gre],
    ['protocol253', 253],
  ] as const
).flatMap(([name, number]) =>
  families.map((family) => ({
    ...both[family],
    name: `transport_${family}_${both[family].version}_${name}`,
    description: `protocol ${number}, carried without a look into it`,
    packet: hostPacket(family, { protocol: number, octets: pattern(28) }),
  })),
);

const hopByHop = (behind: Payload): Payload => extended(protocol.hopByHop, unhex('050200000100'), behind);
/** Type 4 with no segments left (RFC 8754): the packet's destination is the final one. */
const routing = (behind: Payload): Payload =>
  extended(protocol.routing, Buffer.concat([unhex('040000000000'), hosts.v6.destination]), behind);
const destinationOptions = (behind: Payload): Payload =>
  extended(protocol.destinationOptions, unhex('010400000000'), behind);

function chain(name: string, description: string, payload: Payload): Case {
  return { ...v6, name: `transport_v6_1_${name}`, description, packet: hostPacket('v6', payload) };
}

const headers: Case[] = [
  {
    ...v4,
    name: 'transport_v4_0_options',
    description: 'IPv4 options stay in front of UDP',
    packet: hostPacket('v4', hostUdp('v4', 24), {
      options: unhex('0204b68e01010100'),
      identification: 0x1234,
      trafficClass: 0x2e,
    }),
  },
  {
    ...v4,
    name: 'transport_v4_0_identification',
    description: 'identification, DF and TTL of the host stay as they are',
    packet: hostPacket('v4', hostUdp('v4', 24), { identification: 0xfedc, dontFragment: true, hopLimit: 2 }),
  },
  {
    ...v6,
    name: 'transport_v6_1_flow_label',
    description: 'flow label, traffic class and hop limit of the host stay as they are',
    packet: hostPacket('v6', hostUdp('v6', 24), { flowLabel: 0xabcde, trafficClass: 0x03, hopLimit: 255 }),
  },
  chain('hop_by_hop', 'hop-by-hop options stay in front of UDP', hopByHop(hostUdp('v6', 16))),
  chain('routing', 'a routing header stays in front of UDP', routing(hostUdp('v6', 16))),
  chain('destination_options', 'destination options are sealed', destinationOptions(hostUdp('v6', 16))),
  chain(
    'hop_by_hop_routing_destination',
    'what nodes on the way read stays in front; the last destination options are sealed',
    hopByHop(routing(destinationOptions(hostUdp('v6', 16)))),
  ),
  chain(
    'destination_routing_destination',
    'destination options before a routing header stay with it in front',
    destinationOptions(routing(destinationOptions(hostUdp('v6', 16)))),
  ),
  chain(
    'atomic_fragment',
    'a whole packet with a fragment header, which is sealed (RFC 6946)',
    hopByHop(fragmented(0, false, hostUdp('v6', 16))),
  ),
];

export const transportCases = (): Case[] => [...matrix(), ...lengths, ...bits, ...carried, ...headers];
