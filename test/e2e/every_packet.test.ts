// SPDX-License-Identifier: Apache-2.0
// Typical host traffic through two gateways, in each mode, over each outer family: ping at every size with and
// without DF, traceroute, iperf3, a copy with extension headers. First with the same MTU on the wire as on the hosts'
// links, so that full packets do not fit once they are sealed; then with jumbo frames, where all fit.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { long } from '../long.js';
import { DatagramFates } from './datagram_fates.js';
import {
  copyWithExtensions,
  type Echo,
  type EchoOptions,
  echo,
  forgetPaths,
  Iperf,
  iperfPort,
  learnedMtu,
  traceroute,
} from './host_tools.js';
import { grew, newDrops } from './numbers.js';
import { octetsOf6 } from './packet_octets.js';
import { createPair, egressFlow, type Family, type Mode, overheadOf } from './packet_pairs.js';
import { pspFrames } from './psp_frames.js';
import { hostInterface, type Topology } from './topology.js';

const sizes = [0, 1, 8, 100, 1372, 1400, 1424, 1472, 1473, 2000, 4000, 9000];
const icmpHeader = 8;
const ipHeader = { 4: 20, 6: 40 };
const families = [4, 6] as const;
const every = (['tunnel', 'transport'] as const).flatMap((mode) =>
  families.map((outer): { mode: Mode; outer: Family } => ({ mode, outer })),
);

const mebibyte = 1 << 20;
/** Measured by iperf3, whose receiver stops counting when the last octet was passed to the sender's kernel. */
const streamed = 16 * mebibyte;
const both = (peer: string) => ({ a: { peer }, b: { peer } });

/** A full transmit queue is not a fault: TCP adapts to the speed of a slow machine. */
const blamed = (drops: Record<string, number>): string[] =>
  Object.keys(drops).filter((drop) => !drop.endsWith('/tx_full'));

const answered: Echo = { answered: true, told: undefined, refused: undefined };

describe.each(every)('$mode mode, IPv$outer outside, the same MTU everywhere', ({ mode, outer }) => {
  const mtu = 1500;
  /** The largest packet that fits the wire, in octets. */
  const room = mtu - overheadOf(mode, outer);
  let net: Topology;

  beforeAll(async () => {
    net = await createPair({ outer, wireMtu: mtu, hostMtu: mtu, terms: both(`mode: ${mode}`) });
    await net.start();
  });
  afterAll(() => net?.close());

  const target = (family: Family) => (family === 4 ? net.host2.v4 : net.host2.v6);
  const ping = (family: Family, options: EchoOptions) => echo(net.host1.namespace, target(family), options);
  const forget = () => {
    for (const { namespace } of [net.host1, net.host2]) forgetPaths(namespace);
  };
  /** ICMP messages to hosts so far, of both gateways. */
  const told = async () => {
    const numbers = await Promise.all([net.a.numbers(), net.b.numbers()]);
    return numbers.reduce((sum, { values }) => sum + (values.icmpSent ?? 0), 0);
  };

  it('carries IPv4 of every size without DF: the gateway fragments packets that do not fit', async () => {
    const before = await net.a.numbers();
    for (const size of sizes) {
      expect({ size, ...(await ping(4, { size, discovery: 'dont' })) }).toEqual({ size, ...answered });
    }
    const after = await net.a.numbers();
    // From 1472 octets on, and 1424 in tunnel mode. Of a longer packet, each host fragment counts by itself.
    expect(grew(before, after, 'packetsFragmented')).toBeGreaterThanOrEqual(5);
    expect(newDrops(before, after)).toEqual({});
    expect(await told()).toBe(0);
    expect((await egressFlow(net.a, net.host1.v4, net.host2.v4)).mode).toBe(mode);
  });

  it.each(families)(
    'carries IPv%s that must not be fragmented, or reports the MTU that fits to the host',
    async (family) => {
      for (const size of sizes) {
        const length = size + icmpHeader + ipHeader[family];
        if (length <= room) {
          expect({ size, ...(await ping(family, { size, discovery: 'do' })) }).toEqual({ size, ...answered });
          continue;
        }
        forget();
        const came = await ping(family, { size, discovery: 'do' });
        // Longer than the host's own link: nothing was sent, and nothing learned.
        const [told, refused] = length <= mtu ? [room, undefined] : [undefined, mtu];
        expect({ size, ...came }).toEqual({ size, answered: false, told, refused });
        expect(learnedMtu(net.host1.namespace, target(family))).toBe(told);
      }
    },
  );

  it('loses no IPv6 packet that its host may fragment, and sends no error about it', async () => {
    forget();
    const before = await told();
    let lost = 0;
    for (const size of sizes) {
      for (let attempt = 0; ; attempt++) {
        // Only a reply that was too big is missing: host 2 receives the error, host 1 does not.
        const came = await ping(6, { size, waitS: 10 });
        if (came.answered) break;
        lost++;
        expect({ size, attempt }).not.toEqual({ size, attempt: 2 });
      }
    }
    expect(lost).toBeGreaterThan(0);
    expect((await told()) - before).toBe(lost);
  });

  it.each(['udp', 'icmp'] as const)('is no hop on the way, by traceroute over %s', async (by) => {
    for (const family of families) {
      expect(await traceroute(net.host1.namespace, target(family), by)).toEqual([target(family)]);
    }
  });

  it('carries iperf3 over TCP, whose hosts learn the path MTU, and over UDP', async () => {
    forget();
    const before = await net.a.numbers();
    const server = await Iperf.start(net.host2.namespace);
    for (const family of families) {
      const tcp = await server.carry(net.host1.namespace, target(family), 'tcp', streamed);
      expect(tcp.sent).toBeGreaterThanOrEqual(streamed);
      expect(tcp.received).toBeGreaterThan(mebibyte);
      expect(learnedMtu(net.host1.namespace, target(family))).toBe(room);
      const fates = await DatagramFates.of(net, iperfPort);
      const datagrams = await server.carry(net.host1.namespace, target(family), 'udp', 4 * mebibyte);
      expect(datagrams.sent).toBeGreaterThanOrEqual(4 * mebibyte);
      expect(datagrams.received).toBeGreaterThan(0);
      expect(fates.sent).toBeGreaterThanOrEqual(datagrams.sent / 1000);
      await expect.poll(() => fates.missing(), { timeout: 20_000 }).toBe(0);
    }
    await server.stop();
    const after = await net.a.numbers();
    expect(blamed(newDrops(before, after))).toEqual(['egress/too_big']);
    expect(grew(before, after, 'icmpSent')).toBeGreaterThan(0);
  });

  it('copies a file over IPv6 with extension headers in every packet', async () => {
    forget();
    const [wire, arrived] = [
      await net.capture('extensions-wire', { filter: 'ip6 or udp' }),
      await net.capture('extensions-host', { filter: 'ip6', at: [net.host2.namespace, hostInterface] }),
    ];
    const { host1, host2, folder } = net;
    const copy = await copyWithExtensions(host1.namespace, host2.namespace, host2.v6, {
      file: `${folder}/content`,
      bytes: 2 * mebibyte,
    });
    expect(copy).toEqual({ sent: copy.received, received: copy.received, bytes: 2 * mebibyte });
    await Promise.all([wire.stop(), arrived.stop()]);
    // Next header: hop-by-hop, then destination options, then TCP, after the 40 octets of IPv6.
    const at = 14 + 40;
    const segments = arrived
      .frames()
      .filter(({ octets }) => octets.subarray(22, 38).equals(octetsOf6(host1.v6)));
    const extended = segments.filter(
      ({ octets }) => octets[20] === 0 && octets[at] === 60 && octets[at + 8] === 6,
    );
    expect(extended.length).toBeGreaterThan((2 * mebibyte) / mtu);
    // In transport mode nodes on the path still see hop-by-hop options, and nothing else (RFC 8200 section 4.3).
    const shown = pspFrames(wire.frames()).filter(({ outer: { octets } }) => octets[6] === 0);
    if (mode === 'tunnel') expect(shown).toEqual([]);
    else {
      expect(shown.length).toBeGreaterThan((2 * mebibyte) / mtu);
      expect(new Set(shown.map(({ nextHeader }) => nextHeader))).toEqual(new Set([60]));
    }
  });

  it('allocated no memory on a polling thread', () => {
    for (const gateway of [net.a, net.b]) {
      const maps = readFileSync(`/proc/${gateway.pidOf('dataplane')}/maps`, 'utf8');
      expect(maps).toMatch(/libno_allocation\.so/);
      expect(gateway.log()).not.toMatch(/a polling thread allocates memory/);
    }
  });

  it('dropped only packets that it reported', async () => {
    for (const gateway of [net.a, net.b]) {
      const now = await gateway.numbers();
      expect(
        blamed(newDrops({ ...now, drops: {} }, now)).filter((drop) => drop !== 'egress/too_big'),
      ).toEqual([]);
    }
  });
});

describe.each(long ? every : every.filter(({ mode, outer }) => (mode === 'tunnel') === (outer === 4)))(
  '$mode mode, IPv$outer outside, jumbo frames',
  ({ mode, outer }) => {
    const mtu = 9000;
    let net: Topology;

    beforeAll(async () => {
      net = await createPair({ outer, wireMtu: 9100, hostMtu: mtu, terms: both(`mode: ${mode}`) });
      await net.start();
    });
    afterAll(() => net?.close());

    it.each(families)(
      'carries IPv%s of every size, unfragmented if the host sent it unfragmented',
      async (family) => {
        const target = family === 4 ? net.host2.v4 : net.host2.v6;
        const fullest = mtu - icmpHeader - ipHeader[family];
        for (const size of [...sizes, fullest]) {
          const whole = await echo(net.host1.namespace, target, { size, discovery: 'do' });
          expect({ size, ...whole }).toEqual(
            size <= fullest
              ? { size, ...answered }
              : { size, answered: false, told: undefined, refused: mtu },
          );
          const free = await echo(net.host1.namespace, target, {
            size,
            discovery: family === 4 ? 'dont' : 'want',
          });
          expect({ size, ...free }).toEqual({ size, ...answered });
        }
      },
    );

    it('carries iperf3 over TCP in full segments', async () => {
      const server = await Iperf.start(net.host2.namespace);
      for (const target of [net.host2.v4, net.host2.v6]) {
        const { sent, received } = await server.carry(net.host1.namespace, target, 'tcp', streamed);
        expect(sent).toBeGreaterThanOrEqual(streamed);
        expect(received).toBeGreaterThan(mebibyte);
        expect(learnedMtu(net.host1.namespace, target)).toBeUndefined();
      }
      await server.stop();
    });

    it('dropped nothing and sent no ICMP error', async () => {
      for (const gateway of [net.a, net.b]) {
        const now = await gateway.numbers();
        expect(blamed(newDrops({ ...now, drops: {} }, now))).toEqual([]);
        expect(now.values.icmpSent).toBe(0);
      }
    });
  },
);
