// SPDX-License-Identifier: Apache-2.0
// Neighbours on the hosts' segment: a host pings its gateway, and a host that changes its MAC address without an
// announcement is found again.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { echo } from './host_tools.js';
import { until } from './namespace.js';
import { grew, newDrops } from './numbers.js';
import { macOf } from './packet_octets.js';
import { createPair } from './packet_pairs.js';
import { hostInterface, type Topology } from './topology.js';
import { Listener, send } from './traffic.js';

let net: Topology;

beforeAll(async () => {
  net = await createPair({ outer: 4 });
  await net.start();
});
afterAll(() => net?.close());

describe('the gateway address', () => {
  it.each(['10.1.0.1', 'fd00:1::1'])('%s answers the pings of a host', async (address) => {
    const before = await net.a.numbers();
    expect(await echo(net.host1.namespace, address, { size: 1200 })).toMatchObject({ answered: true });
    const after = await net.a.numbers();
    expect(grew(before, after, 'echoAnswered')).toBe(1);
    expect(grew(before, after, 'missEvents')).toBe(0);
    expect(newDrops(before, after)).toEqual({});
  });
});

describe('a host that changes its MAC address silently', () => {
  const port = 5500;
  const moved = '02:00:00:00:02:99';
  let listener: Listener;

  beforeAll(async () => {
    listener = await Listener.start(net.host2.namespace, port);
  });
  afterAll(() => listener?.stop());

  /** Sends until one of the datagrams of either family has arrived. */
  async function reach(): Promise<void> {
    const known = listener.received.length;
    const ends = ['10.1.0.2', 'fd00:1::2'];
    await until('datagrams of both families arrive', async () => {
      const rows = [net.host2.v4, net.host2.v6].map((destination) => ({ destination, port, count: 5 }));
      await send(net.host1.namespace, rows, 50);
      const from = listener.received.slice(known).map((datagram) => datagram.from);
      return ends.every((end) => from.some((address) => address.startsWith(end)));
    });
  }

  it('is probed at its old address and then resolved again, in both families', async () => {
    await reach();
    const host = net.host2.namespace;
    const [link] = JSON.parse(host.ip('-json', 'link', 'show', 'dev', hostInterface)) as [
      { address: string },
    ];
    const at: [typeof host, string] = [host, hostInterface];
    const questions = await net.capture('questions', { at, filter: 'arp or (icmp6 and ip6[40] == 135)' });
    host.ip('link', 'set', hostInterface, 'address', moved);
    await reach();
    await questions.stop();
    const to = (mac: string, etherType: number) =>
      questions
        .frames()
        .map(({ octets }) => octets)
        .filter(
          (octets) => octets.subarray(0, 6).equals(macOf(mac)) && octets.readUInt16BE(12) === etherType,
        );
    const [arp, ipv6] = [0x0806, 0x86dd];
    expect(to(link.address, arp).length).toBeGreaterThanOrEqual(3);
    expect(to(link.address, ipv6).length).toBeGreaterThanOrEqual(3);
    expect(to('ff:ff:ff:ff:ff:ff', arp).length).toBeGreaterThan(0);
    expect(to('33:33:ff:00:00:02', ipv6).length).toBeGreaterThan(0);
  });
});
