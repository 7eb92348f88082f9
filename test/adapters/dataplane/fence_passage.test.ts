// SPDX-License-Identifier: Apache-2.0
// What else the fence lets out of the secured port, in real namespaces with the real nft, out of a socket and out of
// a packet socket's ring: PSP from VIPs in transport mode behind whatever IP headers may stand there, its fragments,
// and the bypass; that none of it opens the port for anything else; and that GSO packets are judged as one packet is.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FenceRig, frame } from './fence_rig.js';

const octetsOf4 = (address: string) => Buffer.from(address.split('.').map(Number));
/** fd00:<net>::<host> */
const octetsOf6 = (net: number, host: number) => {
  const octets = Buffer.alloc(16);
  octets.set([0xfd, 0, 0, net]);
  octets.writeUInt8(host, 15);
  return octets;
};

interface Sent {
  marker: string;
  octets: Buffer;
}

/** `fragment`: flags and offset; `options`: octets of IPv4 options. */
function v4(
  marker: string,
  from: string,
  to: string,
  protocol: number,
  port: number,
  more: object = {},
): Sent {
  const { fragment = 0, options = 0 } = more as { fragment?: number; options?: number };
  const header = Buffer.alloc(20 + options, 1);
  const layer4 = (fragment & 0x1fff) === 0 ? ports(port) : Buffer.alloc(0);
  header.fill(0, 0, 20);
  header.writeUInt8(0x40 | (header.length / 4));
  header.writeUInt16BE(header.length + layer4.length + marker.length, 2);
  header.writeUInt16BE(fragment, 6);
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  header.set(octetsOf4(from), 12);
  header.set(octetsOf4(to), 16);
  header.writeUInt16BE(checksumOf(header), 10);
  return { marker, octets: frame(0x0800, Buffer.concat([header, layer4]), marker) };
}

/** Of an IPv4 header, RFC 1071. */
function checksumOf(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** Source port 40000, this destination port, as many octets as UDP has. */
const ports = (port: number) => {
  const octets = Buffer.from('9c40000000080000', 'hex');
  octets.writeUInt16BE(port, 2);
  return octets;
};

/** An extension header between IPv6 and layer 4: its protocol, its octets with the first one to be filled in. */
type Extension = [number, Buffer];
const extension = (protocol: number, length: number): Extension => {
  const octets = Buffer.alloc(length, 1);
  octets.writeUInt8(length / 8 - 1, 1);
  return [protocol, octets];
};
const fragment6 = (offset: number): Extension => {
  const octets = Buffer.alloc(8);
  octets.writeUInt16BE(offset | 1, 2);
  return [44, octets];
};

function v6(
  marker: string,
  from: Buffer,
  to: Buffer,
  chain: Extension[],
  protocol: number,
  port?: number,
): Sent {
  const headers = chain.map(([, octets], i) => {
    const filled = Buffer.from(octets);
    filled.writeUInt8(chain[i + 1]?.[0] ?? protocol);
    return filled;
  });
  const behind = Buffer.concat([...headers, port === undefined ? Buffer.alloc(0) : ports(port)]);
  const header = Buffer.alloc(40);
  header.writeUInt8(0x60);
  header.writeUInt16BE(behind.length + marker.length, 4);
  header.writeUInt8(chain[0]?.[0] ?? protocol, 6);
  header.writeUInt8(64, 7);
  header.set(from, 8);
  header.set(to, 24);
  return { marker, octets: frame(0x86dd, Buffer.concat([header, behind]), marker) };
}

const vip = '10.1.0.2';
const far = '10.2.0.2';
const stranger = '10.3.0.2';
const vip6 = octetsOf6(1, 2);
const far6 = octetsOf6(2, 2);
const stranger6 = octetsOf6(3, 2);
const [hopByHop, routing, options, ah] = [0, 43, 60, 51];

/** PSP from VIPs: leaves in transport mode and only then. */
const transport: Sent[] = [
  v4('t4-plain', vip, far, 17, 1000),
  v4('t4-options', vip, far, 17, 1000, { options: 8 }),
  v4('t4-most-options', vip, far, 17, 1000, { options: 40 }),
  v4('t4-first-fragment', vip, far, 17, 1000, { fragment: 0x2000 }),
  v4('t4-first-fragment-options', vip, far, 17, 1000, { fragment: 0x2000, options: 12 }),
  v4('t4-later-fragment', vip, far, 17, 0, { fragment: 185 }),
  v6('t6-plain', vip6, far6, [], 17, 1000),
  v6('t6-first-fragment', vip6, far6, [fragment6(0)], 17, 1000),
  v6('t6-later-fragment', vip6, far6, [fragment6(1480)], 17),
  v6('t6-hop-by-hop', vip6, far6, [extension(hopByHop, 8)], 17, 1000),
  v6('t6-routing', vip6, far6, [extension(routing, 24)], 17, 1000),
  v6('t6-long-routing', vip6, far6, [extension(routing, 168)], 17, 1000),
  v6('t6-longest', vip6, far6, [extension(options, 208)], 17, 1000),
  v6('t6-both', vip6, far6, [extension(hopByHop, 16), extension(routing, 40)], 17, 1000),
  v6(
    't6-all',
    vip6,
    far6,
    [extension(hopByHop, 8), extension(options, 24), extension(routing, 24)],
    17,
    1000,
  ),
  v6('t6-first-behind-both', vip6, far6, [extension(0, 8), extension(routing, 24), fragment6(0)], 17, 1000),
  v6('t6-later-behind-both', vip6, far6, [extension(0, 8), extension(routing, 24), fragment6(1480)], 17),
  v6('t6-first-at-the-end', vip6, far6, [extension(routing, 200), fragment6(0)], 17, 1000),
];

/** Leaves by the bypass and only by it. */
const bypassed: Sent[] = [
  v4('b4-ssh-whole', vip, '10.9.0.5', 6, 22),
  v4('b4-ssh-first', vip, '10.9.0.5', 6, 22, { fragment: 0x2000 }),
  v4('b4-ssh-later', vip, '10.9.0.5', 6, 0, { fragment: 185 }),
  v4('b4-ssh-options', vip, '10.9.0.5', 6, 22, { options: 8 }),
  v4('b4-icmp', vip, '10.8.1.1', 1, 0),
  v4('b4-any-gre', vip, '10.7.0.9', 47, 0),
  v4('b4-sctp', vip, '10.6.0.9', 132, 7),
  v6('b6-dns-whole', vip6, octetsOf6(9, 1), [], 6, 53),
  v6('b6-dns-first', vip6, octetsOf6(9, 1), [fragment6(0)], 6, 53),
  v6('b6-dns-later', vip6, octetsOf6(9, 1), [fragment6(1480)], 6),
  v6('b6-dns-hop-by-hop', vip6, octetsOf6(9, 1), [extension(hopByHop, 8)], 6, 53),
  v6('b6-dns-auth-header', vip6, octetsOf6(9, 1), [extension(ah, 24)], 6, 53),
  v6('b6-dns-options-in-fragment', vip6, octetsOf6(9, 1), [fragment6(0), extension(options, 8)], 6, 53),
  v6('b6-echo', vip6, octetsOf6(8, 1), [], 58, 0x8000),
  v6('b6-any', vip6, octetsOf6(7, 1), [extension(hopByHop, 8)], 99, 1),
];

/** Never leaves. */
const forbidden: Sent[] = [
  v4('f4-stranger', stranger, far, 17, 1000),
  v4('f4-dns', vip, far, 17, 53),
  v4('f4-tcp-1000', vip, far, 6, 1000),
  v4('f4-tcp-later', vip, far, 6, 0, { fragment: 185 }),
  v4('f4-stranger-later', stranger, far, 17, 0, { fragment: 185 }),
  v4('f4-1000-in-options', vip, far, 17, 53, { options: 4 }),
  v6('f6-stranger', stranger6, far6, [], 17, 1000),
  v6('f6-dns', vip6, far6, [], 17, 53),
  v6('f6-dns-hop-by-hop', vip6, far6, [extension(hopByHop, 8)], 17, 53),
  v6('f6-tcp-routing', vip6, far6, [extension(routing, 24)], 6, 1000),
  v6('f6-first-dns', vip6, far6, [fragment6(0)], 17, 53),
  v6('f6-first-tcp', vip6, far6, [fragment6(0)], 6, 1000),
  v6('f6-later-tcp', vip6, far6, [fragment6(1480)], 6),
  v6('f6-later-tcp-behind-routing', vip6, far6, [extension(routing, 24), fragment6(1480)], 6),
  v6('f6-stranger-hop-by-hop', stranger6, far6, [extension(hopByHop, 8)], 17, 1000),
  v6('f6-stranger-later', stranger6, far6, [fragment6(1480)], 17),
  v6('f6-echo-hop-by-hop', vip6, far6, [extension(hopByHop, 8)], 58, 1000),
  v6('f6-auth-header', vip6, far6, [extension(ah, 24)], 17, 1000),
  v6(
    'f6-too-many',
    vip6,
    far6,
    [extension(hopByHop, 8), extension(options, 8), extension(routing, 8), extension(options, 8)],
    17,
    1000,
  ),
  v6('f6-too-deep', vip6, far6, [extension(routing, 216)], 17, 1000),
  v4('f4-bypass-port', vip, '10.9.0.5', 6, 23),
  v4('f4-bypass-udp', vip, '10.9.0.5', 17, 22),
  v4('f4-bypass-later-sctp', vip, '10.9.0.5', 132, 0, { fragment: 185 }),
  v4('f4-bypass-outside', vip, '10.10.0.5', 6, 22),
  v4('f4-bypass-stranger', stranger, '10.9.0.5', 6, 22),
  v4('f4-bypass-answer', '10.9.0.5', vip, 6, 22),
  v4('f4-bypass-any-stranger', stranger, '10.7.0.9', 47, 0),
  v6('f6-bypass-port', vip6, octetsOf6(9, 1), [], 6, 54),
  v6('f6-bypass-first-port', vip6, octetsOf6(9, 1), [fragment6(0)], 6, 54),
  v6('f6-bypass-stranger-hop-by-hop', stranger6, octetsOf6(9, 1), [extension(hopByHop, 8)], 6, 53),
  v6('f6-bypass-stranger', stranger6, octetsOf6(9, 1), [], 6, 53),
  v6('f6-bypass-echo-elsewhere', vip6, octetsOf6(9, 1), [], 58, 0x8000),
];

const bypass = [
  { prefix: '10.9.0.0/16', protocol: 6, port: 22 },
  { prefix: '10.8.0.0/15', protocol: 1 },
  { prefix: '10.7.0.0/24' },
  { prefix: '10.6.0.0/24', protocol: 132, port: 7 },
  { prefix: 'fd00:9::/64', protocol: 6, port: 53 },
  { prefix: 'fd00:8::/64', protocol: 58 },
  { prefix: 'fd00:7::/64' },
];

const setFence = (mode: 'tunnel' | 'transport', entries: typeof bypass) =>
  `setFence(${JSON.stringify({
    node: 'a',
    unsecured: { port: 'veth-host', gateway: [] },
    secured: { port: 'veth-wire', address: '192.0.2.1/24' },
    vips: ['10.1.0.0/24', '10.1.0.0/25', 'fd00:1::/64'],
    peers: { b: { mode: 'tunnel' }, c: { mode } },
    bypass: entries,
  })})`;
const markers = (packets: Sent[]) => packets.map(({ marker }) => marker);

describe('what the fence lets out', () => {
  let rig: FenceRig;
  beforeAll(() => {
    rig = new FenceRig();
  });
  afterAll(() => rig.remove());

  const all = [...forbidden, ...transport, ...bypassed];
  /** The markers of all packets that got out, by both ways of sending. */
  const out = async () => {
    const seen = (way: 'socket' | 'ring') =>
      rig.seenOutside(
        () =>
          rig.send(
            'veth-wire',
            all.map(({ octets }) => octets),
            way,
          ),
        markers(all),
      );
    return { socket: await seen('socket'), ring: await seen('ring') };
  };
  const both = (packets: Sent[]) => ({ socket: markers(packets), ring: markers(packets) });

  it('is PSP from VIPs when a peer is in transport mode, behind IPv4 options and IPv6 extensions too', async () => {
    await rig.fence(setFence('transport', []));
    expect(await out()).toEqual(both(transport));
  });

  it('is what the bypass names, and its fragments', async () => {
    await rig.fence(setFence('tunnel', bypass));
    expect(await out()).toEqual(both(bypassed));
  });

  it('is both', async () => {
    await rig.fence(setFence('transport', bypass));
    expect(await out()).toEqual(both([...transport, ...bypassed]));
  });

  it('is nothing of all that without either', async () => {
    await rig.fence(setFence('tunnel', []));
    expect(await out()).toEqual(both([]));
  });

  it('judges a GSO packet by its header, and what it stops keeps nothing back', async () => {
    const payload = (marker: string) => Buffer.from(marker.padEnd(6000, '.'));
    /** Five datagrams of 1200 octets, as the kernel is told of them: virtio_net_hdr of checksum and UDP segments. */
    const gsoPacket = ({ marker, octets }: Sent): Buffer => {
      const headers = octets.length - marker.length;
      const facts = Buffer.alloc(10);
      facts.set([1, 5]);
      [headers, 1200, headers - 8, 6].forEach((value, i) => {
        facts.writeUInt16LE(value, 2 + 2 * i);
      });
      const whole = Buffer.concat([facts, octets.subarray(0, headers), payload(marker)]);
      const ip = 10 + 14;
      whole.writeUInt16BE(whole.length - ip - (headers > 42 ? 40 : 0), ip + (headers > 42 ? 4 : 2));
      whole.writeUInt16BE(8 + 6000, 10 + headers - 4);
      return whole;
    };
    const passing = [
      v4('s4-from-us', '192.0.2.1', '192.0.2.2', 17, 1000),
      v4('s4-from-vip', vip, far, 17, 1000),
      v6('s6-from-vip', vip6, far6, [], 17, 1000),
    ];
    const stopped = [
      v4('s4-stranger', stranger, far, 17, 1000),
      v4('s4-dns', vip, far, 17, 53),
      v6('s6-stranger', stranger6, far6, [], 17, 1000),
      v6('s6-dns', vip6, far6, [], 17, 53),
    ];
    const sent = [...stopped, ...passing];
    await rig.fence(setFence('transport', []));
    const seen = await rig.seenOutside(
      () => rig.send('veth-wire', sent.map(gsoPacket), 'gsoPackets'),
      markers(sent),
    );
    expect(seen).toEqual(markers(passing));
  });

  it('is nothing that the kernel forwards, however it looks', async () => {
    const { gateway, outside } = rig;
    await rig.fence(setFence('transport', []));
    rig.link('third', 'veth-third');
    gateway.ip('link', 'set', 'veth-third', 'address', '02:00:00:00:00:02', 'up');
    for (const setting of ['ip_forward=1', 'conf.all.rp_filter=0', 'conf.veth-third.rp_filter=0']) {
      gateway.run('sysctl', '-qw', `net.ipv4.${setting}`);
    }
    gateway.ip('route', 'add', '10.2.0.0/24', 'dev', 'veth-wire');
    gateway.ip('neighbour', 'add', far, 'lladdr', '02:00:00:00:00:02', 'dev', 'veth-wire');
    // The fence takes IPv6 from the port's interface: nothing can be forwarded there.
    const forwarded = transport.filter(({ marker }) => /^t4-(plain|first|later)/.test(marker));
    const seen = () =>
      rig.seenOutside(
        () =>
          rig.send(
            'third',
            forwarded.map(({ octets }) => octets),
            'socket',
            outside,
          ),
        markers(forwarded),
      );
    expect(await seen()).toEqual([]);
    await rig.fence("removeFence('a')");
    expect(await seen()).toEqual(markers(forwarded));
  });

  it('is what nft has rules for, whatever the prefixes', async () => {
    const everything = [{ prefix: '0.0.0.0/0' }, { prefix: '::/0', protocol: 17, port: 1000 }];
    const call = setFence('transport', everything).replace('"10.1.0.0/24"', '"0.0.0.0/0","::/0"');
    expect(await rig.fence(call)).toMatchObject([{ name: 'veth-wire' }, { name: 'veth-host' }]);
    const { socket } = await out();
    expect(socket).toEqual(expect.arrayContaining(['f4-stranger', 'f4-dns', 'f6-stranger']));
    expect(socket).not.toContain('f6-first-tcp');
  });
});
