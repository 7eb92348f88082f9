// SPDX-License-Identifier: Apache-2.0
// Hosts with jumbo frames send to hosts without. Gateway b fragments packets that may be fragmented. For all others
// the kernel of the sending host learns the MTU behind gateway b, as from any router.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { echo, forgetPaths, learnedMtu } from './host_tools.js';
import { type Namespace, until } from './namespace.js';
import { grew, newDrops } from './numbers.js';
import { createPair, type Mode } from './packet_pairs.js';
import { hostInterface, type Topology } from './topology.js';
import { transfer } from './traffic.js';

const [jumbo, far, wireMtu] = [9000, 1500, 9200];
/** Octets of a whole packet, and the part that ping counts. */
const long = 8000;
const sizeOf = (address: string): number => long - 8 - (address.includes(':') ? 40 : 20);

/** Echo replies of IPv6 that the kernel of a host has received. */
const repliesAt = (host: Namespace): number =>
  Number(/^Icmp6InEchoReplies\s+(\d+)/m.exec(host.run('cat', '/proc/net/snmp6'))?.[1]);

describe.each(['tunnel', 'transport'] as Mode[])('%s mode, hosts with MTU 9000 and 1500', (mode) => {
  let net: Topology;
  const address = (family: number) => (family === 4 ? net.host2.v4 : net.host2.v6);

  beforeAll(async () => {
    const terms = { peer: `mode: ${mode}` };
    net = await createPair({ outer: 4, wireMtu, hostMtu: far, terms: { a: terms, b: terms } });
    net.host1.namespace.ip('link', 'set', hostInterface, 'mtu', `${jumbo}`);
    net.a.namespace.ip('link', 'set', 'veth-host', 'mtu', `${jumbo}`);
    // TCP would avoid long segments by itself, because host 2 announces the MSS of its link. A host with another hop of
    // MTU 1500 in front of it would announce a larger one.
    const { namespace } = net.host2;
    for (const [family, via] of [
      ['-4', '10.2.0.1'],
      ['-6', 'fd00:2::1'],
    ] as const)
      namespace.ip(family, 'route', 'replace', 'default', 'via', via, 'dev', hostInterface, 'advmss', '8900');
    await net.start();
  });
  afterAll(() => net?.close());

  it.each([4, 6])(
    'a packet of IPv%i that must not be fragmented teaches its host the MTU of 1500',
    async (family) => {
      const to = address(family);
      forgetPaths(net.host1.namespace);
      const before = await net.b.numbers();
      const replies = repliesAt(net.host1.namespace);
      const ping = await echo(net.host1.namespace, to, { size: sizeOf(to), discovery: 'do', waitS: 5 });
      // In transport mode a long IPv6 packet may have come in fragments, so it is delivered all the same. Ping ends
      // with the ICMP error or with the reply, whichever comes first. The host's kernel counts the reply in both
      // cases.
      const delivered = mode === 'transport' && family === 6;
      const answers = (count: number) =>
        until(
          `host 1 has received ${count} of the replies`,
          () => repliesAt(net.host1.namespace) === replies + count,
        );
      if (delivered) await answers(1);
      else expect(ping).toMatchObject({ answered: false, told: far });
      const after = await net.b.numbers();
      expect(newDrops(before, after)).toEqual(delivered ? {} : { 'ingress/too_big': 1 });
      expect(grew(before, after, 'icmpSent')).toBe(1);
      await until('host 1 has learned the MTU', () => learnedMtu(net.host1.namespace, to) === far);
      // From now on the host fragments by itself.
      const next = await echo(net.host1.namespace, to, { size: sizeOf(to), discovery: 'want' });
      if (delivered) await answers(2);
      else expect(next).toMatchObject({ answered: true });
    },
  );

  it('datagrams of IPv4 that may be fragmented arrive', async () => {
    forgetPaths(net.host1.namespace);
    const before = await net.b.numbers();
    const to = net.host2.v4;
    expect(await echo(net.host1.namespace, to, { size: sizeOf(to), discovery: 'dont' })).toMatchObject({
      answered: true,
      told: undefined,
    });
    const after = await net.b.numbers();
    expect(newDrops(before, after)).toEqual({});
    expect(grew(before, after, 'packetsFragmented')).toBe(1);
    expect(grew(before, after, 'fragmentsMade')).toBe(Math.ceil((long - 20) / 1480));
    expect(grew(before, after, 'icmpSent')).toBe(0);
  });

  it.each([4, 6])('TCP over IPv%i carries 16 MiB after its segments were too long', async (family) => {
    forgetPaths(net.host1.namespace);
    const before = await net.b.numbers();
    const bytes = 16 << 20;
    const { namespace } = net.host1;
    const { equal } = await transfer(namespace, net.host2.namespace, address(family), { bytes });
    expect(equal).toBe(true);
    const after = await net.b.numbers();
    expect(grew(before, after, 'icmpSent')).toBeGreaterThan(0);
    expect(learnedMtu(namespace, address(family))).toBe(far);
  });
});
