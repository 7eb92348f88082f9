// SPDX-License-Identifier: Apache-2.0
// Hosts with all their offloads, and gateways whose wire does not segment: GSO packets on the whole path. The
// received data equals the sent data, over TCP and in datagrams, in each mode, over each outer family, also on a wire
// with a smaller MTU than the hosts' links.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { datagramsOfOneSend } from './host_tools.js';
import { grew, newDrops } from './numbers.js';
import { createPair } from './packet_pairs.js';
import type { Topology } from './topology.js';
import { transfer } from './traffic.js';

const bytes = 32 << 20;
const marker = 'PSP-SUPER-FRAMES';

describe.each([
  { mode: 'tunnel', outer: 4, wireMtu: 1600 },
  { mode: 'tunnel', outer: 6, wireMtu: 1500 },
  { mode: 'transport', outer: 4, wireMtu: 1500 },
] as const)('$mode mode, IPv$outer outside, MTU $wireMtu', ({ mode, outer, wireMtu }) => {
  let net: Topology;

  beforeAll(async () => {
    const terms = `mode: ${mode}`;
    net = await createPair({
      outer,
      wireMtu,
      hostMtu: 1500,
      gsoPackets: true,
      terms: { a: { peer: terms }, b: { peer: terms } },
    });
    await net.start();
  });
  afterAll(() => net?.close());

  it.each([4, 6] as const)('carries TCP both ways at once over IPv%s', async (family) => {
    const [there, back] = family === 4 ? [net.host2.v4, net.host1.v4] : [net.host2.v6, net.host1.v6];
    const before = await Promise.all([net.a.numbers(), net.b.numbers()]);
    const carried = await Promise.all([
      transfer(net.host1.namespace, net.host2.namespace, there, { bytes, marker, port: 5001 }),
      transfer(net.host2.namespace, net.host1.namespace, back, { bytes, marker, port: 5002 }),
    ]);
    expect(carried.map(({ equal }) => equal)).toEqual([true, true]);
    const after = await Promise.all([net.a.numbers(), net.b.numbers()]);
    for (const [i, now] of after.entries()) {
      const then = before[i] as typeof now;
      // In both directions, each octet is segmented once and merged once at either gateway, at most 64 KiB at a time.
      const frames = bytes / 65_536;
      expect(grew(then, now, 'gsoPacketsSegmented')).toBeGreaterThan(frames);
      expect(grew(then, now, 'groPacketsMade')).toBeGreaterThan(frames);
      expect(grew(then, now, 'framesRefused')).toBe(0);
      const drops = Object.keys(newDrops(then, now));
      expect(drops.filter((drop) => !/(tx_full|egress\/too_big)$/.test(drop))).toEqual([]);
    }
  });

  it.each([4, 6] as const)(
    'carries the datagrams of one send (USO) one by one over IPv%s',
    async (family) => {
      const to = family === 4 ? net.host2.v4 : net.host2.v6;
      const received = await datagramsOfOneSend(net.host1.namespace, net.host2.namespace, to, {
        size: 1000,
        length: 20_500,
        sends: 10,
      });
      expect(received.lengths).toEqual(
        Array.from({ length: 10 }, () => [...Array.from({ length: 20 }, () => 1000), 500]).flat(),
      );
      expect(received.equal).toBe(true);
    },
  );
});
