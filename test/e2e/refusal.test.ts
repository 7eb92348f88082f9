// SPDX-License-Identifier: Apache-2.0
// A peer that refuses: one code, counted and logged on both sides; held packets are freed, and the next flow works.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './namespace.js';
import { grew } from './numbers.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

describe("a VIP that the peer's node file does not assign to us", () => {
  let net: Topology;
  beforeAll(async () => {
    // b's node file has only a's IPv4 prefix.
    net = await Topology.create({
      edit: (node, yaml) => (node === 'b' ? yaml.replace('10.1.0.0/24, "fd00:1::/64"', '10.1.0.0/24') : yaml),
    });
    await net.start();
  });
  afterAll(() => net?.close());

  it('is refused, with a code on both sides, and held packets are freed', async () => {
    const before = await net.a.numbers();
    expect((await ping(net.host1.namespace, net.host2.v6, { waitS: 1 })).received).toBe(0);
    const a = await until('what was held is freed', async () => {
      const now = await net.a.numbers();
      return (now.drops['egress/refused'] ?? 0) > 0 && now;
    });
    const b = await net.b.numbers();
    expect(grew(before, a, 'missEvents')).toBe(1);
    expect(a.drops['egress/refused']).toBe(1);
    expect(a.values.held).toBe(0);
    expect(a.peers.b).toMatchObject({ refused: 1, lastCode: 'PEER_REFUSED' });
    expect(b.exchange.VIP_NOT_PEERS).toBe(1);
    expect(net.a.log()).toMatch(/"peer":"b".*PEER_REFUSED|PEER_REFUSED.*"peer":"b"/);
    expect(net.b.log()).toMatch(/VIP_NOT_PEERS/);
  });

  it('is a fault with code and remedy on both sides while it lasts', async () => {
    const status = async (gateway: typeof net.a) => (await gateway.psp('status')).stdout;
    expect(await status(net.a)).toMatch(
      /^! peer b \(for \d+ s\): PEER_REFUSED: peer b refused: .*VIP_NOT_PEERS: .*; compare the vips of both/,
    );
    expect(await status(net.b)).toMatch(
      /^! peer a \(for \d+ s\): VIP_NOT_PEERS: peer a is not allowed to use fd00:1::2, which is not one of its vips; compare the vips of both/,
    );
  });

  it('does not affect other flows of the same peers', async () => {
    expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
    expect((await ping(net.host2.namespace, net.host1.v4)).received).toBe(1);
  });
});

describe('versions without a common one', () => {
  let net: Topology;
  beforeAll(async () => {
    net = await Topology.create({ edit: (node, yaml) => `${yaml}versions: [${node === 'a' ? 0 : 1}]\n` });
    await net.start();
  });
  afterAll(() => net?.close());

  it('are refused with VERSION_NOT_SPOKEN, and nothing is sent', async () => {
    const wire = await net.capture('wire');
    expect((await ping(net.host1.namespace, net.host2.v4, { waitS: 1 })).received).toBe(0);
    const b = await until('b has counted it', async () => {
      const now = await net.b.numbers();
      return (now.exchange.VERSION_NOT_SPOKEN ?? 0) > 0 && now;
    });
    expect(b.values.keyed).toBe(0);
    await wire.stop();
    expect(wire.summary([])).toMatchObject({ psp: 0, others: [] });
  });
});

describe('version 0 alone', () => {
  let net: Topology;
  beforeAll(async () => {
    net = await Topology.create({ edit: (node, yaml) => (node === 'b' ? `${yaml}versions: [0]\n` : yaml) });
    await net.start();
  });
  afterAll(() => net?.close());

  it('is used if one side supports no other', async () => {
    expect((await ping(net.host2.namespace, net.host1.v4)).received).toBe(1);
    const flows = await net.b.flows();
    expect(flows.map(({ direction, version }) => [direction, version]).sort()).toEqual([
      ['egress', 0],
      ['ingress', 0],
    ]);
  });
});
