// SPDX-License-Identifier: Apache-2.0
// Gateways start in any order, and a peer that is down affects only its own flows, and only while it is down.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './namespace.js';
import { grew } from './numbers.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

describe.each([
  { first: 'a' as const, second: 'b' as const },
  { first: 'b' as const, second: 'a' as const },
])('gateway $first before gateway $second', ({ first, second }) => {
  let net: Topology;
  const host = (node: 'a' | 'b') => (node === 'a' ? net.host1 : net.host2);

  beforeAll(async () => {
    net = await Topology.create();
    await net[first].start();
  });
  afterAll(() => net?.close());

  it('frees the packets held for a peer that is down, and reports it once per code', async () => {
    const before = await net[first].numbers();
    const result = await ping(host(first).namespace, host(second).v4, { waitS: 1 });
    expect(result.received).toBe(0);
    const after = await until('held packets are freed', async () => {
      const now = await net[first].numbers();
      return now.values.held === 0 && (now.drops['egress/no_answer'] ?? 0) > 0 ? now : undefined;
    });
    expect(grew(before, after, 'missEvents')).toBeGreaterThan(0);
    expect(after.peers[second]?.lastCode).toMatch(/^(PEER_DOWN|PEER_TIMEOUT|BREAKER_OPEN)$/);
    expect(after.exchange.PEER_DOWN ?? 0).toBeGreaterThan(0);
    expect(net[first].log()).toMatch(
      new RegExp(`"peer":"${second}".*"code":"PEER_DOWN"|"code":"PEER_DOWN".*"peer":"${second}"`),
    );
  });

  it('carries traffic once the other is up, from either side, without intervention', async () => {
    await net[second].start();
    const late = await ping(host(second).namespace, host(first).v4);
    expect(late.received).toBe(1);
    await until('the first reaches the other', async () => {
      const early = await ping(host(first).namespace, host(second).v6, { waitS: 1 });
      return early.received === 1;
    });
  });
});
