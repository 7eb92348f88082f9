// SPDX-License-Identifier: Apache-2.0
// Nodes on the path between two gateways that change packets or send messages about them: a wire with an MTU below
// the IPv6 minimum, routers that report a smaller MTU and attackers who pretend to, routers that mark congestion.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { echo, forgetPaths, learnedMtu } from './host_tools.js';
import { until } from './namespace.js';
import { grew, newDrops } from './numbers.js';
import { frame, icmp, ipv4, ipv6, macOf, octetsOf6, u16 } from './packet_octets.js';
import { createPair, egressFlow, overheadOf } from './packet_pairs.js';
import { joined, outerFragments, type PspFrame, pspFrames } from './psp_frames.js';
import { sendFrames } from './raw_frames.js';
import { hostInterface, type Topology } from './topology.js';
import { transfer } from './traffic.js';

const wireMtu = 1300;
/** RFC 8200 section 5. */
const leastMtuIpv6 = 1280;
const notEct = 0;
const ect = 2;
const congestion = 3;

describe.each([
  { outer: 4 as const, router: '192.0.2.254', own: '192.0.2.1', told: 1000, learned: 1000 },
  // Never below the minimum MTU of IPv6.
  { outer: 6 as const, router: 'fd00:99::fe', own: 'fd00:99::1', told: 600, learned: leastMtuIpv6 },
])('a path of $outer with MTU 1300', ({ outer, router, own, told, learned }) => {
  const room = wireMtu - overheadOf('tunnel', outer);
  let net: Topology;

  beforeAll(async () => {
    net = await createPair({ outer, wireMtu });
    await net.start();
  });
  afterAll(() => net?.close());

  const ping = (to: string, options: Parameters<typeof echo>[2]) => echo(net.host1.namespace, to, options);

  it('carries IPv6 packets of 1280 octets in fragments of the outer packet', async () => {
    const size = leastMtuIpv6 - 48;
    const wire = await net.capture('fragments');
    const before = await Promise.all([net.a.numbers(), net.b.numbers()]);
    expect(await ping(net.host2.v6, { size, discovery: 'do' })).toMatchObject({ answered: true });
    await wire.stop();
    const after = await Promise.all([net.a.numbers(), net.b.numbers()]);
    for (const i of [0, 1] as const) {
      expect(grew(before[i], after[i], 'packetsFragmented')).toBe(1);
      expect(grew(before[i], after[i], 'fragmentsMade')).toBe(2);
      expect(grew(before[i], after[i], 'reassembled')).toBe(1);
      expect(newDrops(before[i], after[i])).toEqual({});
    }
    const fragments = outerFragments(wire.frames());
    expect(fragments.filter(({ ip }) => ip.octets.length > wireMtu)).toEqual([]);
    const ends = [...new Set(fragments.map(({ ip }) => ip.source.toString('hex')))];
    expect(ends.length).toBe(2);
    for (const end of ends) {
      const whole = joined(fragments.filter(({ ip }) => ip.source.toString('hex') === end));
      expect([whole.nextHeader, whole.body.length]).toEqual([41, leastMtuIpv6]);
    }
  });

  it('does not accept a longer IPv6 packet: its host receives an MTU of 1280', async () => {
    forgetPaths(net.host1.namespace);
    const size = leastMtuIpv6 + 8 - 48;
    expect(await ping(net.host2.v6, { size, discovery: 'do' })).toMatchObject({ told: leastMtuIpv6 });
    expect(learnedMtu(net.host1.namespace, net.host2.v6)).toBe(leastMtuIpv6);
  });

  it('carries TCP over IPv6 with each full segment in fragments', async () => {
    const before = await net.a.numbers();
    const bytes = 1 << 20;
    const { equal } = await transfer(net.host1.namespace, net.host2.namespace, net.host2.v6, { bytes });
    expect(equal).toBe(true);
    const after = await net.a.numbers();
    expect(grew(before, after, 'packetsFragmented')).toBeGreaterThan(bytes / leastMtuIpv6 / 2);
  });

  describe('when congestion is marked on the wire', () => {
    const mark = `add table netdev congested
      ; add chain netdev congested towards_b { type filter hook ingress device "to-a" priority 0 ; }
      ; add rule netdev congested towards_b ${outer === 4 ? 'ip' : 'ip6'} ecn set ce`.replace(/\s+/g, ' ');

    /** Pings host 2 and returns the ECN field with which the requests arrive. */
    async function arriving(name: string, ecn: number): Promise<{ answered: boolean[]; ecn: number[] }> {
      const at: [Topology['wire'], string] = [net.host2.namespace, hostInterface];
      const arrived = await net.capture(name, { at, filter: 'icmp[0] == 8 or (icmp6 and ip6[40] == 128)' });
      const waitS = ecn === notEct ? 1 : 10;
      const answered: boolean[] = [];
      for (const target of [net.host2.v4, net.host2.v6]) {
        answered.push((await ping(target, { trafficClass: 0x28 | ecn, waitS })).answered);
      }
      await arrived.stop();
      const seen = arrived.frames().map(({ octets }) => octets);
      const ecns = seen.map((octets) =>
        octets.readUInt16BE(12) === 0x0800 ? octets.readUInt8(15) & 3 : (octets.readUInt16BE(14) >> 4) & 3,
      );
      return { answered, ecn: ecns };
    }

    it('reports it to the receiving host, if the sender supports ECN', async () => {
      expect(await arriving('ect', ect)).toEqual({ answered: [true, true], ecn: [ect, ect] });
      net.wire.run('nft', mark);
      expect(await arriving('ce', ect)).toEqual({ answered: [true, true], ecn: [congestion, congestion] });
    });

    it('drops the packet if the sender does not support ECN, with a drop reason of its own (RFC 6040 section 4.2)', async () => {
      const before = await net.b.numbers();
      expect(await arriving('drop', notEct)).toEqual({ answered: [false, false], ecn: [] });
      expect(newDrops(before, await net.b.numbers())).toMatchObject({ 'ingress/congestion_marked': 2 });
      net.wire.run('nft', 'delete table netdev congested');
      expect(await arriving('none', ect)).toEqual({ answered: [true, true], ecn: [ect, ect] });
    });
  });

  describe('when a node on the wire reports that a packet was too big', () => {
    let ours: PspFrame;

    beforeAll(async () => {
      const wire = await net.capture('quoted');
      expect((await ping(net.host2.v4, {})).answered).toBe(true);
      await wire.stop();
      const { spi } = await egressFlow(net.a, net.host1.v4, net.host2.v4);
      const found = pspFrames(wire.frames()).find((psp) => psp.spi === Number(spi));
      expect(found).toBeDefined();
      ours = found as PspFrame;
    });

    const pathMtu = async () => (await egressFlow(net.a, net.host1.v4, net.host2.v4)).pathMtu;

    /** A router's message about one of our packets, quoted up to its IV; with `spi` in place of the packet's own. */
    function tooBig(mtu: number, spi = ours.spi): Buffer {
      const quoted = Buffer.from(ours.outer.octets.subarray(0, ours.outer.unfragmentable.length + 24));
      quoted.writeUInt32BE(spi, ours.outer.unfragmentable.length + 12);
      const ends = { from: router, to: own };
      const [link] = JSON.parse(net.a.namespace.ip('-json', 'link', 'show', 'dev', 'veth-wire')) as [
        { address: string },
      ];
      const [to, from] = [macOf(link.address), macOf('02:00:00:00:00:fe')];
      if (outer === 4) {
        const payload = icmp(3, 4, u16(0, mtu), quoted);
        return frame(to, from, 0x0800, ipv4({ ...ends, protocol: 1, payload }));
      }
      const payload = icmp(2, 0, u16(0, mtu), quoted, [octetsOf6(router), octetsOf6(own)]);
      return frame(to, from, 0x86dd, ipv6({ ...ends, protocol: 58, payload }));
    }

    /** Sends it to gateway a until the gateway has received it. */
    async function say(message: Buffer, received: string): Promise<void> {
      const count = async () => {
        const { drops, values } = await net.a.numbers();
        return (values[received] ?? 0) + (drops[received] ?? 0);
      };
      const before = await count();
      await until(`gateway a counts ${received}`, async () => {
        await sendFrames(net.wire, 'to-a', [message], `${net.folder}/message`, 1);
        return (await count()) > before;
      });
    }

    it('does not accept a quote under another SPI', async () => {
      // Not an adjacent SPI, which may belong to another flow.
      await say(tooBig(told, (ours.spi ^ 0x0080_0000) >>> 0), 'ingress/icmp_unproven');
      expect(await pathMtu()).toBe(wireMtu);
      expect((await net.a.numbers()).values.tooBigLearned).toBe(0);
    });

    it('accepts a quote of one of our packets, for that flow alone, and reports the MTU to the host', async () => {
      await say(tooBig(told), 'tooBigLearned');
      expect(await pathMtu()).toBe(learned);
      expect((await egressFlow(net.a, net.host1.v6, net.host2.v6)).pathMtu).toBe(wireMtu);
      forgetPaths(net.host1.namespace);
      const fits = learned - overheadOf('tunnel', outer);
      expect(fits).toBeLessThan(room);
      const ipAndIcmp = 28;
      const [full, more] = [fits - ipAndIcmp, room - ipAndIcmp];
      expect(await ping(net.host2.v4, { size: full, discovery: 'do' })).toMatchObject({ answered: true });
      expect(await ping(net.host2.v4, { size: more, discovery: 'do' })).toMatchObject({ told: fits });
    });

    it('does not let a message raise a learned MTU', async () => {
      await say(tooBig(learned + 10), 'ingress/icmp_unproven');
      expect(await pathMtu()).toBe(learned);
      expect((await net.a.numbers()).values.tooBigLearned).toBe(1);
    });
  });
});
