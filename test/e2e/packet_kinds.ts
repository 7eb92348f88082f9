// SPDX-License-Identifier: Apache-2.0
// One frame, or a few, of every kind that a host may send to its gateway: valid packets of all protocols, headers and
// sizes, fragments, tags, neighbour discovery, and frames that no correct host sends. Every payload is a repeated
// marker, so that it can be found wherever it leaves.
import {
  type End,
  type Extensions,
  extension,
  filled,
  fragmentHeader,
  fragments4,
  fragments6,
  frame,
  icmp,
  ipv4,
  ipv6,
  macOf,
  octetsOf4,
  octetsOf6,
  tcp,
  u8,
  u16,
  udp,
} from './packet_octets.js';

export interface PacketKind {
  name: string;
  /** In the order in which they are sent. */
  frames: Buffer[];
}

export interface KindsOptions {
  /** The host that sends. */
  from: End;
  /** A host behind a peer. */
  to: End;
  /** The gateway of the sender. */
  gateway: End;
  /** Outer addresses of both gateways, for forged PSP packets. */
  outer: { from: string; to: string };
  /** At most 16 octets. */
  marker: string;
  /** MTU of the link to the gateway; no longer packet is made. */
  mtu: number;
}

type Row = [name: string, ...packets: Buffer[]];

const broadcast = Buffer.alloc(6, 0xff);
const dontFragment = 0x4000;
const [hopByHop, routing, options, authentication] = [0, 43, 60, 51];

/** Every kind whose frames fit the link. */
export function packetKinds(world: KindsOptions): PacketKind[] {
  const { from, gateway, mtu } = world;
  const carried = (type: number, rows: Row[]): Row[] =>
    rows.map(([name, ...packets]) => [
      name,
      ...packets.map((packet) => frame(gateway.mac, from.mac, type, packet)),
    ]);
  const rows = [
    ...carried(0x0800, ofIpv4(world)),
    ...carried(0x0800, fragmentsOfIpv4(world)),
    ...carried(0x86dd, ofIpv6(world)),
    ...carried(0x86dd, neighbourDiscovery(world)),
    ...ofEthernet(world),
    ...ofArp(world),
  ];
  return rows
    .map(([name, ...frames]) => ({ name, frames }))
    .filter(({ frames }) => frames.every(({ length }) => length <= mtu + 14));
}

const sizes = [0, 1, 8, 56, 512, 1232, 1400, 1472, 4000, 8972];

function ofIpv4({ from, to, outer, marker }: KindsOptions): Row[] {
  const data = filled(marker, 200);
  const both: [Buffer, Buffer] = [octetsOf4(from.v4), octetsOf4(to.v4)];
  const base = { from: from.v4, to: to.v4 };
  const datagram = udp(5001, data, both);
  const plain = { ...base, protocol: 17, payload: datagram };
  const echo = (length: number) => icmp(8, 0, u16(1, 1), filled(marker, length));
  const quoted = ipv4({ from: to.v4, to: from.v4, protocol: 17, payload: data.subarray(0, 64) });
  const withOptions = (name: string, octets: Buffer): Row => [name, ipv4({ ...plain, options: octets })];
  const towards = (name: string, address: string): Row => [name, ipv4({ ...plain, to: address })];
  const as = (name: string, address: string): Row => [name, ipv4({ ...plain, from: address })];
  const protocols = [0, 2, 4, 41, 46, 47, 50, 51, 89, 103, 112, 115, 132, 136, 253, 255];
  return [
    ['udp', ipv4(plain)],
    ['udp without checksum', ipv4({ ...base, protocol: 17, payload: udp(53, data) })],
    ['udp to port 1000', ipv4({ ...base, protocol: 17, payload: udp(1000, data, both) })],
    ['tcp syn with data', ipv4({ ...base, protocol: 6, payload: tcp(80, 2, data, both) })],
    ['tcp data', ipv4({ ...base, protocol: 6, fragment: dontFragment, payload: tcp(80, 0x18, data, both) })],
    ['tcp christmas tree', ipv4({ ...base, protocol: 6, payload: tcp(1000, 0x3f, data, both) })],
    ...sizes.flatMap((size): Row[] => [
      [`icmp echo ${size}`, ipv4({ ...base, protocol: 1, payload: echo(size) })],
      [`icmp echo ${size} DF`, ipv4({ ...base, protocol: 1, payload: echo(size), fragment: dontFragment })],
    ]),
    ['icmp too big', ipv4({ ...base, protocol: 1, payload: icmp(3, 4, u16(0, 600), quoted) })],
    ['icmp redirect', ipv4({ ...base, protocol: 1, payload: icmp(5, 1, octetsOf4(from.v4), quoted) })],
    ['icmp of unknown type', ipv4({ ...base, protocol: 1, payload: icmp(200, 0, u16(0, 0), data) })],
    withOptions('router alert', u8(0x94, 4, 0, 0)),
    withOptions('record route', Buffer.concat([u8(7, 39, 4), Buffer.alloc(37)])),
    withOptions('timestamp', Buffer.concat([u8(0x44, 12, 5, 0), Buffer.alloc(8)])),
    withOptions('loose source route', Buffer.concat([u8(0x83, 7, 4), octetsOf4(to.v4), u8(0)])),
    withOptions('no operation', u8(1, 1, 1, 0)),
    withOptions('option with an impossible length', u8(7, 200, 4, 0)),
    ...protocols.map((protocol): Row => [`protocol ${protocol}`, ipv4({ ...base, protocol, payload: data })]),
    ['ip in ip', ipv4({ ...base, protocol: 4, payload: ipv4(plain) })],
    ['gre', ipv4({ ...base, protocol: 47, payload: Buffer.concat([u16(0, 0x0800), ipv4(plain)]) })],
    ['hop limit 0', ipv4({ ...plain, ttl: 0 })],
    ['hop limit 1', ipv4({ ...plain, ttl: 1 })],
    ['congestion experienced', ipv4({ ...plain, tos: 0xbb })],
    towards('multicast', '239.1.2.3'),
    towards('multicast of the link', '224.0.0.251'),
    towards('broadcast', '255.255.255.255'),
    towards('broadcast of a net', to.v4.replace(/\d+$/, '255')),
    towards('to nobody', '10.99.0.1'),
    towards('to a neighbour', from.v4.replace(/\d+$/, '77')),
    towards('to the loopback', '127.0.0.1'),
    towards('to a link-local address', '169.254.1.1'),
    as('from an unknown host', '10.98.0.1'),
    as('from nowhere', '0.0.0.0'),
    as('from the far host', to.v4),
    as('from multicast', '224.0.0.1'),
    ...newFlows(to.v4).map((address) => towards(`new flow to ${address}`, address)),
    ...(outer.from.includes(':')
      ? []
      : [['forged psp', ipv4({ ...outer, protocol: 17, payload: udp(1000, data) })] as Row]),
    ['longer than it says', ipv4({ ...plain, length: 60 })],
    ['shorter than it says', ipv4({ ...plain, length: 1400 })],
    ['header length 4', Buffer.concat([u8(0x44), ipv4(plain).subarray(1)])],
    [
      'header length 15',
      Buffer.concat([u8(0x4f), ipv4({ ...plain, payload: data.subarray(0, 16) }).subarray(1)]),
    ],
    ['version 5', Buffer.concat([u8(0x55), ipv4(plain).subarray(1)])],
    ['wrong header checksum', Buffer.concat([ipv4(plain).subarray(0, 10), u16(1), ipv4(plain).subarray(12)])],
  ];
}

/** Ten more addresses next to one. */
const newFlows = (address: string): string[] =>
  Array.from({ length: 10 }, (_, i) => address.replace(/\d+$/, `${40 + i}`));

function fragmentsOfIpv4({ from, to, marker }: KindsOptions): Row[] {
  const base = { from: from.v4, to: to.v4, protocol: 17 };
  const payload = udp(5001, filled(marker, 2992), [octetsOf4(from.v4), octetsOf4(to.v4)]);
  const whole = (id: number) => ({ ...base, payload, id });
  const [first, second] = fragments4(whole(101), 1480) as [Buffer, Buffer];
  const forged = ipv4({ ...base, id: 106, fragment: 2, payload: filled(marker, 64) });
  return [
    ['two fragments', ...fragments4(whole(102), 1480)],
    ['fragments in reverse', ...fragments4(whole(103), 1000, 2000).reverse()],
    ['many fragments', ...fragments4(whole(104), 64, 128, 192, 1000, 1800, 2400)],
    ['fragments with options', ...fragments4({ ...whole(105), options: u8(0x94, 4, 0, 0) }, 1440)],
    ['first fragment alone', first],
    ['later fragment alone', second],
    ['fragment twice', ...fragments4(whole(107), 1480), second],
    ['overlapping fragments', ...fragments4(whole(106), 1480), forged],
    ['tiny first fragment', ...fragments4(whole(108), 8, 1480)],
    ['fragment beyond the end', ipv4({ ...base, id: 109, fragment: 0x1fff, payload: filled(marker, 200) })],
    [
      'fragment that must not be one',
      ipv4({ ...base, id: 110, fragment: 0x6000, payload: filled(marker, 64) }),
    ],
    ['fragments of esp', ...fragments4({ ...whole(111), protocol: 50 }, 1480)],
    [
      'fragments of icmp',
      ...fragments4(
        { ...whole(112), protocol: 1, payload: icmp(8, 0, u16(2, 1), filled(marker, 2992)) },
        1480,
      ),
    ],
    ['fragments to multicast', ...fragments4({ ...whole(113), to: '239.1.2.3' }, 1480)],
  ];
}

function ofIpv6({ from, to, outer, marker }: KindsOptions): Row[] {
  const data = filled(marker, 200);
  const both: [Buffer, Buffer] = [octetsOf6(from.v6), octetsOf6(to.v6)];
  const base = { from: from.v6, to: to.v6 };
  const plain = { ...base, protocol: 17, payload: udp(5001, data, both) };
  const echo = (length: number) => icmp(128, 0, u16(1, 1), filled(marker, length), both);
  const behind = (name: string, ...extensions: Extensions): Row => [name, ipv6({ ...plain, extensions })];
  const towards = (name: string, address: string): Row => [name, ipv6({ ...plain, to: address })];
  const as = (name: string, address: string): Row => [name, ipv6({ ...plain, from: address })];
  const long = { ...plain, payload: udp(5001, filled(marker, 2992), both) };
  const alert = u8(5, 2, 0, 0, 1, 0);
  const segments = Buffer.concat([u8(4, 0, 0, 0), u16(0), octetsOf6(to.v6)]);
  const protocols = [6, 17, 41, 47, 50, 59, 89, 103, 132, 135, 139, 253, 255];
  return [
    ['udp6', ipv6(plain)],
    ['udp6 to port 1000', ipv6({ ...plain, payload: udp(1000, data, both) })],
    ['tcp6', ipv6({ ...base, protocol: 6, payload: tcp(80, 0x18, data, both) })],
    ...sizes.map((size): Row => [`icmp6 echo ${size}`, ipv6({ ...base, protocol: 58, payload: echo(size) })]),
    ['icmp6 too big', ipv6({ ...base, protocol: 58, payload: icmp(2, 0, u16(0, 1280), data, both) })],
    ...protocols.map(
      (protocol): Row => [`next header ${protocol}`, ipv6({ ...base, protocol, payload: data })],
    ),
    behind('hop-by-hop', extension(hopByHop, 8)),
    behind('hop-by-hop router alert', extension(hopByHop, 8, alert)),
    behind('jumbogram', extension(hopByHop, 8, u8(0xc2, 4, 0, 1, 0, 0))),
    behind('routing', extension(routing, 24, segments)),
    behind('routing type 0', extension(routing, 24, Buffer.concat([u8(0, 1), segments.subarray(2)]))),
    behind('long routing', extension(routing, 168, u8(4, 9, 9))),
    behind('longest routing', extension(routing, 1000, u8(4, 9, 9))),
    behind('destination options', extension(options, 16)),
    behind(
      'options before routing',
      extension(hopByHop, 8),
      extension(options, 8),
      extension(routing, 24, segments),
    ),
    behind(
      'all extensions',
      extension(hopByHop, 8),
      extension(options, 8),
      extension(routing, 24),
      extension(options, 16),
    ),
    behind(
      'many extensions before routing',
      ...Array.from({ length: 4 }, () => extension(options, 8)),
      extension(routing, 24, segments),
    ),
    behind('many extensions', ...Array.from({ length: 9 }, () => extension(options, 8))),
    behind('authentication header', [authentication, Buffer.concat([u8(0, 4), Buffer.alloc(22)])]),
    behind('atomic fragment', fragmentHeader(0, false)),
    behind('extension beyond the end', [options, u8(0, 255, 1, 4, 0, 0, 0, 0)]),
    ['two fragments6', ...fragments6(long, 1440)],
    ['fragments6 in reverse', ...fragments6(long, 1000, 2000).reverse()],
    [
      'fragments6 behind routing',
      ...fragments6({ ...long, extensions: [extension(routing, 24, segments)] }, 1400),
    ],
    ['fragments6 behind hop-by-hop', ...fragments6({ ...long, extensions: [extension(hopByHop, 8)] }, 1400)],
    ['later fragment6 alone', fragments6(long, 1440)[1] as Buffer],
    ['overlapping fragments6', ...fragments6(long, 1440), fragments6(long, 1200, 1440)[1] as Buffer],
    towards('multicast6 of the link', 'ff02::1'),
    towards('multicast6', 'ff0e::1234'),
    towards('to nobody6', 'fd00:63::1'),
    towards('to a link-local address6', 'fe80::1'),
    towards('to the loopback6', '::1'),
    as('from an unknown host6', 'fd00:62::1'),
    as('from a link-local address6', 'fe80::2'),
    as('from nowhere6', '::'),
    ...newFlows(to.v6).map((address) => towards(`new flow to ${address}`, address)),
    ...(outer.from.includes(':')
      ? [['forged psp6', ipv6({ ...outer, protocol: 17, payload: udp(1000, data) })] as Row]
      : []),
    ['longer than it says6', ipv6({ ...plain, length: 40 })],
    ['shorter than it says6', ipv6({ ...plain, length: 1400 })],
    ['version 6 in name only', Buffer.concat([u8(0x70), ipv6(plain).subarray(1)])],
  ];
}

function neighbourDiscovery({ from, to, gateway, marker }: KindsOptions): Row[] {
  const data = filled(marker, 48);
  const said = (
    name: string,
    source: string,
    target: string,
    type: number,
    body: Buffer,
    hopLimit = 255,
  ): Row => {
    const payload = icmp(type, 0, u16(0, 0), body, [octetsOf6(source), octetsOf6(target)]);
    return [name, ipv6({ from: source, to: target, protocol: 58, hopLimit, payload })];
  };
  const about = (address: string) => Buffer.concat([octetsOf6(address), u8(14, 6), data.subarray(2)]);
  return [
    said('nd solicitation', from.v6, gateway.v6, 135, about(gateway.v6)),
    said('nd solicitation for a far host', from.v6, to.v6, 135, about(to.v6)),
    said('nd advertisement to a far host', from.v6, to.v6, 136, about(from.v6)),
    said('nd solicitation with hop limit 64', from.v6, to.v6, 135, about(to.v6), 64),
    said('duplicate address detection', '::', 'ff02::1:ff00:1', 135, about(to.v6)),
    said('router solicitation', from.v6, 'ff02::2', 133, data),
    said('router advertisement', from.v6, 'ff02::1', 134, data),
    said('redirect', from.v6, to.v6, 137, about(to.v6)),
    said('listener report', from.v6, 'ff02::16', 143, data, 1),
    said('router renumbering', from.v6, to.v6, 138, data),
  ];
}

function ofEthernet({ from, to, gateway, marker }: KindsOptions): Row[] {
  const data = filled(marker, 200);
  const plain4 = ipv4({ from: from.v4, to: to.v4, protocol: 17, payload: udp(5001, data) });
  const plain6 = ipv6({ from: from.v6, to: to.v6, protocol: 17, payload: udp(5001, data) });
  const sent = (name: string, type: number, payload: Buffer, mac: Buffer = gateway.mac): Row => [
    name,
    frame(mac, from.mac, type, payload),
  ];
  const tagged = (tag: number) => Buffer.concat([u16(tag, 0x0800), plain4]);
  const types = [0x8035, 0x8847, 0x8863, 0x8864, 0x888e, 0x88cc, 0x88e5, 0x88f7, 0x88b5, 0x9000, 0xffff];
  const bridges = macOf('01:80:c2:00:00:00');
  return [
    sent('vlan', 0x8100, tagged(5)),
    sent('vlan priority', 0x8100, tagged(0xa000)),
    sent('vlan of ipv6', 0x8100, Buffer.concat([u16(5, 0x86dd), plain6])),
    sent('vlan cut off', 0x8100, u16(5)),
    sent('qinq', 0x88a8, Buffer.concat([u16(7, 0x8100), tagged(5)])),
    sent('qinq of old', 0x9100, Buffer.concat([u16(7, 0x8100), tagged(5)])),
    sent('three tags', 0x8100, Buffer.concat([u16(1, 0x8100, 2, 0x8100), tagged(3)])),
    ...types.map((type): Row => sent(`ethertype ${type.toString(16)}`, type, data)),
    sent('ethernet 802.3', 200, Buffer.concat([u8(0xaa, 0xaa, 3, 0, 0, 0), u16(0x0800), plain4])),
    sent('spanning tree', 38, Buffer.concat([u8(0x42, 0x42, 3), data]), bridges),
    sent('for another host', 0x0800, plain4, macOf('02:00:00:00:00:99')),
    sent('for all hosts', 0x0800, plain4, broadcast),
    sent('for a group of hosts', 0x86dd, plain6, macOf('33:33:00:00:00:01')),
    sent('ipv4 as ipv6', 0x86dd, plain4),
    sent('ipv6 as ipv4', 0x0800, plain6),
    sent('nothing but a header', 0x0800, Buffer.alloc(0)),
    sent('runt', 0x0800, plain4.subarray(0, 19)),
    sent('runt of ipv6', 0x86dd, plain6.subarray(0, 39)),
    sent('runt of arp', 0x0806, u16(1)),
    sent('padding behind a packet', 0x0800, Buffer.concat([plain4, data])),
    ...[1600, 4000, 9000].map((length) => {
      const payload = udp(5001, filled(marker, length - 28));
      return sent(`jumbo ${length}`, 0x0800, ipv4({ from: from.v4, to: to.v4, protocol: 17, payload }));
    }),
  ];
}

/** RFC 826. */
function ofArp({ from, to, gateway, marker }: KindsOptions): Row[] {
  const message = (operation: number, sender: string, target: string, hardware = 1) =>
    Buffer.concat([
      u16(hardware, 0x0800),
      u8(6, 4),
      u16(operation),
      from.mac,
      octetsOf4(sender),
      Buffer.alloc(6),
      octetsOf4(target),
      filled(marker, 32),
    ]);
  const sent = (name: string, arp: Buffer, mac: Buffer = broadcast): Row => [
    name,
    frame(mac, from.mac, 0x0806, arp),
  ];
  return [
    sent('arp request', message(1, from.v4, gateway.v4)),
    sent('arp request for a far host', message(1, from.v4, to.v4)),
    sent('arp reply', message(2, from.v4, gateway.v4), gateway.mac),
    sent('arp announcement', message(1, from.v4, from.v4)),
    sent('arp probe', message(1, '0.0.0.0', from.v4)),
    sent('arp as somebody else', message(2, to.v4, gateway.v4), gateway.mac),
    sent('arp of unknown hardware', message(1, from.v4, gateway.v4, 99)),
    sent('arp of unknown operation', message(77, from.v4, gateway.v4)),
  ];
}
