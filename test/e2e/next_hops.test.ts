// SPDX-License-Identifier: Apache-2.0
// Next hops whose address is outside the connected prefix. The wire is a router here: two links, each with an address
// that is in no gateway's prefix, link-local or not. Gateways resolve it, and it resolves them, as on any link.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Namespace } from './namespace.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

interface Way {
  outer: 4 | 6;
  /** The router's address on both links. */
  router: string;
  /** Additional keys of the gateway in the node file. */
  keys: string;
  /** Secured addresses of a and b, with the length of their connected prefix. */
  a: string;
  b: string;
}

const ways: Way[] = [
  { outer: 4, router: 'fe80::1', keys: '', a: '192.0.2.1/24', b: '203.0.113.2/24' },
  { outer: 6, router: 'fe80::1', keys: '', a: 'fd00:99::1/64', b: 'fd00:98::2/64' },
  { outer: 4, router: '198.18.0.1', keys: ', onlink: true', a: '192.0.2.1/24', b: '203.0.113.2/24' },
  { outer: 6, router: '2001:db8::1', keys: ', onlink: true', a: 'fd00:99::1/64', b: 'fd00:98::2/64' },
];

/** Turns the wire's bridge into a router. Its links are unnumbered except for the one address. */
function routes(wire: Namespace, { outer, router, a, b }: Way): void {
  wire.ip('link', 'delete', 'wire');
  // The source of its ARP requests if its links have no IPv4 address.
  wire.ip('address', 'add', '198.18.255.1/32', 'dev', 'lo');
  const forwarding = outer === 4 ? 'net.ipv4.ip_forward=1' : 'net.ipv6.conf.all.forwarding=1';
  wire.run(
    'sysctl',
    '-qw',
    'net.ipv6.conf.all.disable_ipv6=0',
    'net.ipv6.conf.default.disable_ipv6=0',
    forwarding,
  );
  for (const [port, address] of [
    ['to-a', a],
    ['to-b', b],
  ] as const) {
    // It has no other link-local address; a router needs one, because it solicits neighbours from it.
    const made = router.startsWith('fe80') ? 1 : 0;
    wire.run(
      'sysctl',
      '-qw',
      `net.ipv6.conf.${port}.disable_ipv6=0`,
      `net.ipv6.conf.${port}.addr_gen_mode=${made}`,
    );
    wire.ip('link', 'set', port, 'down');
    wire.ip('link', 'set', port, 'up');
    const length = router.includes(':') ? (router.startsWith('fe80') ? 64 : 128) : 32;
    wire.ip('address', 'add', `${router}/${length}`, 'dev', port);
    const family = outer === 4 ? '-4' : '-6';
    wire.ip(family, 'route', 'add', address.replace(/\d\/(\d+)$/, outer === 4 ? '0/$1' : '/$1'), 'dev', port);
  }
}

describe.each(ways)('a next hop $router behind $a', (way) => {
  let net: Topology;

  beforeAll(async () => {
    net = await Topology.create({
      outer: way.outer,
      edit: (node, yaml) => {
        const peer = node === 'a' ? way.b : way.a;
        const underlay = peer.replace(/\d\/(\d+)$/, way.outer === 4 ? '0/$1' : '/$1');
        return yaml
          .replace(/address: [^ ]+ }/, `address: "${way[node]}", gateway: "${way.router}"${way.keys} }`)
          .replace('endpoint:', `underlay: ["${underlay}"], $&`);
      },
    });
    routes(net.wire, way);
    await net.start();
  });
  afterAll(() => net?.close());

  it('carries traffic both ways, and only PSP, ARP and neighbour discovery are on the wire', async () => {
    const wire = await net.capture('next-hop', { filter: `ether src ${macOf(net.a.namespace)}` });
    for (const [host, other] of [
      [net.host1, net.host2],
      [net.host2, net.host1],
    ] as const) {
      expect(await ping(host.namespace, other.v4, { count: 3, intervalMs: 50 })).toMatchObject({
        received: 3,
      });
      expect(await ping(host.namespace, other.v6, { count: 3, intervalMs: 50 })).toMatchObject({
        received: 3,
      });
    }
    await wire.stop();
    const summary = wire.summary([]);
    expect(summary).toMatchObject({ others: [], lost: 0 });
    expect(summary.psp).toBeGreaterThanOrEqual(12);
    expect(summary[way.router.includes(':') ? 'nd' : 'arp']).toBeGreaterThan(0);
  });

  it('is resolved again by the router itself, and our answers are correct', async () => {
    net.wire.ip('neighbour', 'flush', 'all');
    expect(await ping(net.host2.namespace, net.host1.v4, { count: 3, intervalMs: 50 })).toMatchObject({
      received: 3,
    });
    const known = net.wire.ip('neighbour', 'show', 'dev', 'to-a');
    expect(known).toContain(macOf(net.a.namespace));
  });
});

function macOf(gateway: Namespace): string {
  return gateway.run('cat', '/sys/class/net/veth-wire/address').trim();
}
