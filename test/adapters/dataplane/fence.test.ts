// SPDX-License-Identifier: Apache-2.0
// The fence in real namespaces, with the real nft: what leaves, what is let in, what stays after the process.
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { interfacesOf } from '../../../services/shared/config/port_name.js';
import { Capture } from '../../e2e/capture.js';
import { until } from '../../e2e/namespace.js';
import { macIn, sentBy, startFrames } from '../../e2e/raw_frames.js';
import { FenceRig, frame, ipv4, ipv6, udp } from './fence_rig.js';

const ours = '192.0.2.1';
const other = '192.0.2.9';
const setFence = (address = `${ours}/24`, secured = 'veth-wire', node = 'a') =>
  `setFence({ node: '${node}', unsecured: { port: 'veth-host', gateway: [] },
    secured: { port: '${secured}', address: '${address}' }, vips: [], peers: {}, bypass: [] })`;
const fenced = (wasOpen: boolean) => [
  { name: 'veth-wire', wasOpen, unwritable: [] },
  { name: 'veth-host', wasOpen, unwritable: [] },
];

const packet = (marker: string, header: (length: number) => Buffer[], type = 0x0800) => ({
  marker,
  octets: frame(type, Buffer.concat(header(marker.length)), marker),
});
const udp4 = (source: string, port: number) => (length: number) => [
  ipv4(source, 17, 8 + length),
  udp(port, length),
];
const icmpv6 = (type: number) => (length: number) => [
  ipv6(1, 58, 8 + length),
  Buffer.from([type, 0, 0, 0, 0, 0, 0, 0]),
];
const fragment6 = (host: number) => (length: number) => [
  ipv6(host, 44, 8 + length),
  Buffer.from([17, 0, 0x05, 0xb8, 0, 0, 0, 1]),
];

/** RFC 826: a request in the name of an address. */
const arp = (sender: string) => () => [
  Buffer.from('0001080006040001', 'hex'),
  Buffer.alloc(6, 1),
  Buffer.from(sender.split('.').map(Number)),
  Buffer.alloc(10, 1),
];

const allowed = [
  packet('psp-of-ours', udp4(ours, 1000)),
  packet('first-fragment-of-ours', (length) => [ipv4(ours, 17, 8 + length, 0x2000), udp(1000, length)]),
  packet('later-fragment-of-ours', (length) => [ipv4(ours, 17, length, 185)]),
  packet('arp', arp(ours), 0x0806),
  packet('nd-solicit', icmpv6(135), 0x86dd),
  packet('nd-advert', icmpv6(136), 0x86dd),
];
const forbidden = [
  packet('psp-of-another', udp4(other, 1000)),
  packet('dns', udp4(ours, 53)),
  packet('from-port-1000', (length) => {
    const header = udp(53, length);
    header.writeUInt16BE(1000);
    return [ipv4(ours, 17, 8 + length), header];
  }),
  packet('later-fragment-of-tcp', (length) => [ipv4(ours, 6, length, 185)]),
  packet('later-fragment-of-another', (length) => [ipv4(other, 17, length, 185)]),
  packet('tcp-to-port-1000', (length) => [ipv4(ours, 6, 20 + length), udp(1000, 12), Buffer.alloc(12)]),
  packet('icmp', (length) => [ipv4(ours, 1, 8 + length), Buffer.from([8, 0, 0, 0, 0, 0, 0, 0])]),
  packet('psp-in-a-vlan', (length) => [Buffer.from('00050800', 'hex'), ...udp4(ours, 1000)(length)], 0x8100),
  packet('psp6', (length) => [ipv6(1, 17, 8 + length), udp(1000, length)], 0x86dd),
  packet('router-solicit', icmpv6(133), 0x86dd),
  packet('router-advert', icmpv6(134), 0x86dd),
  packet('redirect', icmpv6(137), 0x86dd),
  packet('mld', icmpv6(143), 0x86dd),
  packet('echo6', icmpv6(128), 0x86dd),
  packet('arp-of-another', arp(other), 0x0806),
  packet('strange-type', () => [], 0x88b5),
];

describe('the fence', () => {
  let rig: FenceRig;
  beforeAll(() => {
    rig = new FenceRig();
  });
  afterAll(() => rig.remove());

  const send =
    (packets: typeof allowed, way: 'socket' | 'ring' = 'socket') =>
    () =>
      rig.send(
        'veth-wire',
        packets.map(({ octets }) => octets),
        way,
      );
  const markers = (packets: typeof allowed) => packets.map(({ marker }) => marker);
  const all = [...forbidden, ...allowed];
  const ruleset = () => rig.gateway.run('nft', 'list', 'ruleset');
  const isUp = (port: string) =>
    JSON.parse(rig.gateway.ip('-json', 'link', 'show', 'dev', port))[0].flags.includes('UP') as boolean;

  it('is set before the links come up, and nothing but its own frames ever leaves', async () => {
    const octets = all.map((each) => each.octets);
    const frames = await rig.framesOutside(async () => {
      // Tried all the while, so the first of them leave as soon as the link is up.
      const pouring = startFrames(rig.gateway, 'veth-wire', octets, join(rig.folder, 'poured'), 1);
      expect(await rig.fence(setFence())).toEqual(fenced(false));
      await until('each had its turn', () => sentBy(rig.gateway, 'veth-wire') >= 2 * allowed.length);
      await pouring.stop();
    });
    expect([isUp('veth-wire'), isUp('veth-host')]).toEqual([true, true]);
    const seen = (marker: string) => frames.some((frame) => frame.includes(marker));
    expect(markers(all).filter(seen)).toEqual(markers(allowed));
    const kernel = macIn(rig.gateway, 'veth-wire');
    expect(frames.filter((frame) => frame.subarray(6, 12).equals(kernel))).toEqual([]);
  });

  it('judges frames out of the ring of a packet socket the same', async () => {
    expect(await rig.seenOutside(send(all, 'ring'), markers(all))).toEqual(markers(allowed));
  });

  it('keeps IPv6 from configuring itself', () => {
    for (const port of ['veth-wire', 'veth-host']) {
      expect(rig.gateway.ip('-6', 'addr', 'show', 'dev', port)).toBe('');
    }
  });

  it('lets nothing in to the stack, and all to a packet socket', async () => {
    for (const [port, outer, network] of [
      ['veth-wire', 'wire', '192.0.2'],
      ['veth-host', 'host', '10.1.0'],
    ] as const) {
      rig.gateway.ip('addr', 'add', `${network}.1/24`, 'dev', port);
      rig.outside.ip('addr', 'add', `${network}.2/24`, 'dev', outer);
      const mac = JSON.parse(rig.gateway.ip('-json', 'link', 'show', 'dev', port))[0].address as string;
      rig.outside.ip('neigh', 'replace', `${network}.1`, 'lladdr', mac, 'dev', outer);
      const tap = new Capture(rig.gateway, port, join(rig.folder, `${port}.pcap`), { filter: 'icmp' });
      await tap.start();
      expect((await rig.ping(rig.outside, `${network}.1`)).code).toBe(1);
      await until('the tap saw the request', () => tap.frames().length > 0);
      await tap.stop();
      expect(tap.frames()).toHaveLength(1);
    }
  });

  it('is the same after it was set again', async () => {
    const before = ruleset();
    expect(await rig.fence(setFence())).toEqual(fenced(false));
    expect(ruleset()).toBe(before);
    expect(await rig.seenOutside(send(all), markers(all))).toEqual(markers(allowed));
  });

  it('detects that a new interface of the same name has no fence', async () => {
    rig.gateway.ip('link', 'delete', 'veth-wire');
    rig.link('wire', 'veth-wire');
    rig.gateway.ip('link', 'set', 'veth-wire', 'up');
    expect(await rig.fence(setFence())).toEqual([
      { name: 'veth-wire', wasOpen: true, unwritable: [] },
      { name: 'veth-host', wasOpen: false, unwritable: [] },
    ]);
    expect(await rig.seenOutside(send(all), markers(all))).toEqual(markers(allowed));
  });

  it('follows an IPv6 address of ours', async () => {
    expect(await rig.fence(setFence('fd00::1/64'))).toEqual(fenced(false));
    const own = [
      packet('psp6-of-ours', (length) => [ipv6(1, 17, 8 + length), udp(1000, length)], 0x86dd),
      packet('later-fragment6-of-ours', fragment6(1), 0x86dd),
    ];
    const foreign = [
      packet('psp6-of-another', (length) => [ipv6(9, 17, 8 + length), udp(1000, length)], 0x86dd),
      packet('later-fragment6-of-another', fragment6(9), 0x86dd),
      packet('psp4', udp4(ours, 1000)),
    ];
    const both = [...foreign, ...own];
    expect(await rig.seenOutside(send(both), markers(both))).toEqual(markers(own));
  });

  it('is taken away for one node alone, with all its interfaces', async () => {
    rig.gateway.run('nft', 'add', 'table', 'netdev', 'psp_a-b_veth-wire');
    expect(await rig.fence("removeFence('a')")).toEqual(['veth-host', 'veth-wire']);
    expect(rig.gateway.run('nft', 'list', 'tables').trim()).toBe('table netdev psp_a-b_veth-wire');
    rig.gateway.run('nft', 'delete', 'table', 'netdev', 'psp_a-b_veth-wire');
    expect(await rig.fence("removeFence('a')")).toEqual([]);
    expect(await rig.seenOutside(send(all), markers(all))).toEqual(markers(all));
    expect(await rig.fence(setFence())).toEqual(fenced(true));
  });

  it('names interfaces whose names nft cannot parse without quotes', async () => {
    rig.link('odd', 'veth_0@x');
    expect(await rig.fence(setFence(undefined, 'veth_0@x', 'c'))).toMatchObject([{ name: 'veth_0@x' }, {}]);
    expect(await rig.fence("removeFence('c')")).toEqual(['veth-host', 'veth_0@x']);
  });

  it('fails with a code that names what is wrong', async () => {
    expect(await rig.fence(setFence(undefined, 'veth-none'))).toMatchObject({
      code: 'INTERFACE_MISSING',
      data: { name: 'veth-none', key: 'secured.port' },
    });
    expect(await rig.fence(setFence(), { user: 65_534 })).toMatchObject({ code: 'RIGHTS_MISSING' });
    const tools = join(rig.folder, 'tools');
    mkdirSync(tools);
    symlinkSync('/usr/sbin/ip', join(tools, 'ip'));
    expect(await rig.fence(setFence(), { path: tools })).toMatchObject({
      code: 'FILE_UNREADABLE',
      message: expect.stringContaining('apt install nftables'),
    });
  });
});

describe('a port has kernel interfaces behind it', () => {
  it.each<[string, string[]]>([
    ['veth-wire', ['veth-wire']],
    ['pf0hpf', ['pf0hpf']],
    ['net_af_packet0,iface=eth1', ['eth1']],
    ['net_af_xdp_wire,queue_count=1,iface=eth1,start_queue=0', ['eth1']],
    ['eth_af_packet0,iface=eth1', ['eth1']],
    ['eth_af_packet0, iface = eth1', ['eth1']],
    ['net_pcap0,iface=eth1', ['eth1']],
    ['eth_pcap0,rx_iface=eth1,tx_iface=eth2', ['eth1', 'eth2']],
    ['net_pcap0,rx_iface_in=eth1,tx_iface=eth1', ['eth1']],
    ['net_pcap0,rx_iface_in=eth1,rx_iface_in=eth2,tx_pcap=/tmp/out.pcap', ['eth1', 'eth2']],
    ['net_tap0,iface=tap0,remote=eth1', ['eth1']],
    ['net_failsafe0,dev(net_tap0,iface=tap0,remote=eth1),dev(net_af_packet0,iface=eth2)', ['eth1', 'eth2']],
    ['net_failsafe0,dev(net_failsafe1,dev(net_pcap0,iface=eth1)),mac=02:00:00:00:00:01', ['eth1']],
    ['net_bonding0,mode=1,member=0000:03:00.0,iface=eth1', ['eth1']],
    ['net_tap0,iface=tap0', []],
    ['net_vhost0,iface=/run/vhost', []],
    ['virtio_user0,path=/dev/vhost-net,iface=tap0', []],
    ['0000:03:00.0', []],
    ['03:00.1,representor=0', []],
    ['10000:01:00.0', []],
    ['net_ring0', []],
    ['eth_null0', []],
    ['virtio_user0,path=/run/vhost', []],
    ['net_pcap0,rx_pcap=in.pcap,tx_pcap=out.pcap', []],
  ])('%s: %o', (port, names) => expect(interfacesOf(port)).toEqual(names));
});
