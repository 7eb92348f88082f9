// SPDX-License-Identifier: Apache-2.0
// The nftables rules of the fence. The secured port may send, as whole packets and as fragments: UDP/1000 from our outer
// address; UDP/1000 from our VIPs if the mode of a peer is transport; bypassed traffic from our VIPs; ARP of our outer
// address and neighbour discovery. A later fragment has no layer 4 header, so only its addresses and protocol are checked;
// it is useless without the first fragment, which is checked completely. Every packet must come from a socket of a process,
// as our frames do. Packets that the kernel forwards or sends by itself have no socket: it would solicit neighbours
// whenever IPv6 returns to the interface, for example when an MTU below 1280 is raised.
//
// A GSO packet is checked by its one header, before it is segmented. Fields after the IPv6 header are given by their bit
// offset from it: for frames in scattered memory, such as GSO packets and those of a packet socket's ring, the kernel
// finds no IPv6 transport header at this hook, and it reads payloads up to their 256th octet only. Protocols are numbers,
// because nft reads their names from /etc/protocols, which a small system does not have.
import { familyOf, formatAddress, formatPrefix, parsePrefix } from '../../shared/address.js';
import type { NodeConfig } from '../../shared/config/config.js';
import { fenceReach } from '../../shared/limits.js';
import {
  extensionHeaders,
  ipHeaderOctets,
  ipProtocols,
  neighbourDiscovery,
  pspPort,
} from '../../shared/protocols.js';

/** What may leave through the secured port. */
export interface Passage {
  /** Our outer address. */
  address: string;
  vips: readonly string[];
  /** Whether the mode of a peer is transport, so that PSP packets also leave from VIPs. */
  transport: boolean;
  bypass: NodeConfig['bypass'];
}

export const passageOf = ({
  secured,
  vips,
  peers,
  bypass,
}: Pick<NodeConfig, 'secured' | 'vips' | 'peers' | 'bypass'>): Passage => ({
  address: formatAddress(parsePrefix(secured.address).address),
  vips,
  transport: Object.values(peers).some(({ mode }) => mode === 'transport'),
  bypass,
});

/** What either of two passages lets leave; both have the same address. */
export const joinedPassage = (one: Passage, other: Passage): Passage => ({
  address: one.address,
  vips: [...new Set([...one.vips, ...other.vips])],
  transport: one.transport || other.transport,
  bypass: [
    ...new Map([...one.bypass, ...other.bypass].map((entry) => [JSON.stringify(entry), entry])).values(),
  ],
});

interface Table {
  name: string;
  interface: string;
  comment: string;
}

type Family = 4 | 6;

const { udp, icmpv6 } = ipProtocols;
const { hopByHop, routing, fragment, authentication, destinationOptions } = extensionHeaders;
/** Hop-by-hop options, routing header, destination options: the headers before UDP in transport mode. */
const extensions = [hopByHop, routing, destinationOptions];
const ipv6Header = ipHeaderOctets[6];
/** Offsets in the last header within reach: fields up to the 4th octet, and those of UDP after a fragment header. */
const deepestFragment = fenceReach.headerOctets;
const deepestUdp = deepestFragment + 8;

/** Matches any owner of a socket: a packet without a socket has no owner and matches no comparison. */
const fromSocket = 'meta skuid >= 0';

/** The octets of the packet from `octet` on, `bits` long. */
const at = (octet: number, bits: number): string => `@nh,${octet * 8},${bits}`;

/** The rules of one interface; the first two lines make the third a replacement. */
export function renderTable({ name, interface: port, comment }: Table, passage?: Passage): string {
  const hook = (way: string, rules: string[]) =>
    chain(way, [`type filter hook ${way} device "${port}" priority -500; policy drop;`, ...rules]);
  const leaving = passage === undefined ? [] : [...declarations(passage), ...hook('egress', egress(passage))];
  const body = [`comment "${comment}"`, ...hook('ingress', []), ...leaving];
  const table = `table netdev ${name}`;
  return [`${table} {}`, `delete ${table}`, `${table} {`, ...indented(body), '}', ''].join('\n');
}

const indented = (lines: string[]): string[] => lines.map((line) => `  ${line}`);
const chain = (name: string, rules: string[]): string[] => [`chain ${name} {`, ...indented(rules), '}'];

function egress({ address }: Passage): string[] {
  const own: Family = address.includes(':') ? 6 : 4;
  return [
    // With our own address as sender only.
    ...(own === 4 ? [`arp saddr ip ${address} ${fromSocket} accept`] : []),
    `ip6 nexthdr ${icmpv6} ${fromSocket} ${at(ipv6Header, 8)} { ${Object.values(neighbourDiscovery).join(', ')} } accept`,
    ...psp(own).map((rule) => `${addresses(own)} saddr ${address} ${fromSocket} ${rule}`),
    `ip saddr @vips4 ${fromSocket} jump from_vips4`,
    `ip6 saddr @vips6 ${fromSocket} jump from_vips6`,
  ];
}

const addresses = (family: Family): string => (family === 4 ? 'ip' : 'ip6');

/** PSP after an IPv4 header with or without options, or after an IPv6 header without extensions. */
const psp = (family: Family): string[] =>
  upperLayer(family, udp, pspPort).map((condition) => `${condition} accept`);

/** Conditions for a protocol and a destination port: whole or first fragment, later fragment. */
function upperLayer(family: Family, protocol: number, port?: number): string[] {
  if (family === 4) {
    if (port === undefined) return [`ip protocol ${protocol}`];
    return [`ip protocol ${protocol} th dport ${port}`, `ip protocol ${protocol} ip frag-off & 0x1fff != 0`];
  }
  const whole = `ip6 nexthdr ${protocol}`;
  const part = `ip6 nexthdr ${fragment} ${at(ipv6Header, 8)} ${protocol}`;
  if (port === undefined) return [whole, part];
  return [
    `${whole} ${at(ipv6Header + 2, 16)} ${port}`,
    `${part} ${firstFragment(ipv6Header)} ${at(ipv6Header + 8 + 2, 16)} ${port}`,
    `${part} ${laterFragment(ipv6Header)}`,
  ];
}

/** Extension headers of a bypassed packet, also in a fragment: the protocol after them is not checked. */
const hidden = ((walked: string) => [
  `ip6 nexthdr ${walked}`,
  `ip6 nexthdr ${fragment} ${at(ipv6Header, 8)} ${walked}`,
])(`{ ${[...extensions, authentication].join(', ')} }`);

const firstFragment = (header: number): string => `${at(header + 2, 16)} & 0xfff8 == 0`;
const laterFragment = (header: number): string => `${at(header + 2, 16)} & 0xfff8 != 0`;

function declarations({ vips, transport, bypass }: Passage): string[] {
  const bypassed = ({ prefix, protocol, port }: Passage['bypass'][number]): string[] => {
    const family = familyOf(parsePrefix(prefix).address);
    const behind =
      protocol === undefined
        ? ['']
        : [...upperLayer(family, protocol, port), ...(family === 6 ? hidden : [])];
    return behind.map((condition) => `${addresses(family)} daddr ${prefix} ${condition} accept`);
  };
  const side = (family: Family): string[] => {
    const ours = vips.map(parsePrefix).filter(({ address }) => familyOf(address) === family);
    const sealed = transport && ours.length > 0;
    const clear = bypass.filter(({ prefix }) => familyOf(parsePrefix(prefix).address) === family);
    return [
      ...prefixSet(`vips${family}`, family, ours.map(formatPrefix)),
      ...(sealed && family === 6 ? extensionChains() : []),
      ...chain(`from_vips${family}`, [
        ...(sealed ? psp(family) : []),
        ...clear.flatMap(bypassed),
        ...(sealed && family === 6
          ? [`ip6 nexthdr { ${extensions.join(', ')} } goto ${extensionChain(ipv6Header, 1)}`]
          : []),
      ]),
    ];
  };
  return [...side(4), ...side(6)];
}

function prefixSet(name: string, family: Family, prefixes: string[]): string[] {
  const type = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const elements = prefixes.length === 0 ? [] : [`elements = { ${prefixes.join(', ')} }`];
  return [`set ${name} {`, ...indented([`type ${type}; flags interval; auto-merge;`, ...elements]), '}'];
}

/**
 * PSP after IPv6 extension headers. There is a chain for each possible offset of the first, second and third of them, which
 * continues by the header's next header field and its length, in units of 8 octets after the first 8.
 */
function extensionChains(): string[] {
  const places = (first: number, last: number) =>
    Array.from({ length: (last - first) / 8 + 1 }, (_, i) => first + i * 8);
  const nextTo = (place: number, number: number): string[] =>
    places(place + 8, deepestUdp).flatMap((next) => {
      const says = (protocol: number) => (protocol << 8) | ((next - place) / 8 - 1);
      const another = number < fenceReach.extensionHeaders && next < deepestUdp;
      return [
        `${says(udp)} : goto udp${next}`,
        ...(next > deepestFragment ? [] : [`${says(fragment)} : goto fragment${next}`]),
        ...(another
          ? extensions.map((one) => `${says(one)} : goto ${extensionChain(next, number + 1)}`)
          : []),
      ];
    });
  const extensionsAt = (number: number): string[] =>
    (number === 1 ? [ipv6Header] : places(ipv6Header + 8 * (number - 1), deepestUdp - 8)).flatMap((place) =>
      chain(extensionChain(place, number), [`${at(place, 16)} vmap { ${nextTo(place, number).join(', ')} }`]),
    );
  const udpAt = (place: number) => `${at(place + 2, 16)} ${pspPort} accept`;
  const saysUdp = (place: number) => `${at(place, 8)} ${udp}`;
  return [
    ...places(ipv6Header + 8, deepestUdp).flatMap((place) => chain(`udp${place}`, [udpAt(place)])),
    ...places(ipv6Header + 8, deepestFragment).flatMap((place) =>
      chain(`fragment${place}`, [
        `${saysUdp(place)} ${firstFragment(place)} ${udpAt(place + 8)}`,
        `${saysUdp(place)} ${laterFragment(place)} accept`,
      ]),
    ),
    // A chain is defined before the chains that jump to it.
    ...Array.from({ length: fenceReach.extensionHeaders }, (_, i) =>
      extensionsAt(fenceReach.extensionHeaders - i),
    ).flat(),
  ];
}

const extensionChain = (place: number, number: number): string => `extension${number}_${place}`;
