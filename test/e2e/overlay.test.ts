// SPDX-License-Identifier: Apache-2.0
// Hosts that build their own VXLAN overlay, as container networks do, with all their offloads: the kernel sends GSO
// packets inside the tunnel. Over both outer and inner families, with and without an outer UDP checksum, the received
// data equals the sent data.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { datagramsOfOneSend } from './host_tools.js';
import { grew, newDrops } from './numbers.js';
import { createPair } from './packet_pairs.js';
import { type Host, hostInterface, type Topology } from './topology.js';
import { transfer } from './traffic.js';

const bytes = 16 << 20;

/** Adds a VXLAN device between the hosts. @returns the reason if the kernel cannot create one. */
async function overlay(one: Host, other: Host, n: number, underlay: 4 | 6, options: string[]) {
  const [local, remote] = underlay === 4 ? [one.v4, other.v4] : [one.v6, other.v6];
  const name = `vx${underlay}`;
  const device = [name, 'type', 'vxlan', 'id', `${underlay}`, 'local', local, 'remote', remote];
  const { namespace } = one;
  const ip = (...args: string[]) => namespace.try('ip', args);
  const port = ['dev', hostInterface, 'dstport', `${4789 + underlay}`, ...options];
  const made = await ip('link', 'add', ...device, ...port);
  if (made.code !== 0) return made.stderr;
  namespace.ip('address', 'add', `172.16.${underlay}.${n}/24`, 'dev', name);
  namespace.ip('address', 'add', `fd0${underlay}::${n}/64`, 'dev', name, 'nodad');
  namespace.ip('link', 'set', name, 'up');
  return undefined;
}

describe.each([
  { underlay: 4, outer: 4, options: ['udpcsum'], says: 'with a UDP checksum' },
  { underlay: 4, outer: 6, options: ['noudpcsum'], says: 'without a UDP checksum' },
  { underlay: 6, outer: 4, options: [], says: 'with a UDP checksum' },
  {
    underlay: 6,
    outer: 4,
    options: ['udp6zerocsumtx', 'udp6zerocsumrx'],
    says: 'without a UDP checksum',
  },
] as const)('VXLAN over IPv$underlay $says, sealed over IPv$outer', ({ underlay, outer, options }) => {
  let net: Topology;
  let missing: string | undefined;

  beforeAll(async () => {
    net = await createPair({ outer, wireMtu: 1600, gsoPackets: true });
    await net.start();
    missing =
      (await overlay(net.host1, net.host2, 1, underlay, [...options])) ??
      (await overlay(net.host2, net.host1, 2, underlay, [...options]));
  });
  afterAll(() => net?.close());

  const inner = { 4: `172.16.${underlay}.2`, 6: `fd0${underlay}::2` };

  it.for([4, 6] as const)('carries TCP over IPv%s inside', async (family, { skip }) => {
    if (missing !== undefined) skip(`the kernel makes no VXLAN device: ${missing}`);
    const before = await Promise.all([net.a.numbers(), net.b.numbers()]);
    const carried = await transfer(net.host1.namespace, net.host2.namespace, inner[family], { bytes });
    expect(carried.equal).toBe(true);
    const after = await Promise.all([net.a.numbers(), net.b.numbers()]);
    for (const [i, now] of after.entries()) {
      const then = before[i] as typeof now;
      // The receiving gateway, whose host only sends acknowledgements, is not expected to receive GSO packets.
      if (i === 0) expect(grew(then, now, 'gsoPacketsSegmented')).toBeGreaterThan(bytes / 65_536);
      expect(grew(then, now, 'framesRefused')).toBe(0);
      expect(Object.keys(newDrops(then, now)).filter((drop) => !drop.endsWith('tx_full'))).toEqual([]);
    }
  });

  it.for([4, 6] as const)('carries the datagrams of one send over IPv%s inside', async (family, { skip }) => {
    if (missing !== undefined) skip(`the kernel makes no VXLAN device: ${missing}`);
    const { namespace } = net.host1;
    const sends = { size: 1000, length: 20_500, sends: 5 };
    const received = await datagramsOfOneSend(namespace, net.host2.namespace, inner[family], sends);
    expect(received.lengths).toEqual(
      Array.from({ length: 5 }, () => [...Array.from({ length: 20 }, () => 1000), 500]).flat(),
    );
    expect(received.equal).toBe(true);
  });
});
