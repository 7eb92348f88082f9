// SPDX-License-Identifier: Apache-2.0
// A changed node file in the arbiter: peers and VIPs that come and go, and what becomes of their flows.
import { describe, expect, it } from 'vitest';
import type { Reconfigured } from '../../../services/dataplane/core/facts.js';
import { LiveCounts } from '../../../services/dataplane/core/live_counts.js';
import { PeerNumbers, restMs } from '../../../services/dataplane/core/peer_numbers.js';
import { parsePrefix } from '../../../services/shared/address.js';
import { type ActionOf, Desk, flow, keyOf } from './desk.js';

const networks = { underlay: [parsePrefix('192.0.2.0/24')], hosts: [] };
const times = { drainMs: 500, graceMs: 3_600_000, everyMs: undefined };
const [f, g] = [flow(1), flow(2)];

const reconfigured = (change: Partial<Reconfigured> = {}): Reconfigured => ({
  type: 'reconfigured',
  added: new Set(),
  peers: new Map([[0, networks]]),
  maxTunnels: new Map(),
  configured: [],
  times,
  isAllowed: () => true,
  ...change,
});

/** A desk with one peer and a tunnel for each flow. */
function withTunnels(flows = [f, g]) {
  const desk = new Desk({ peers: [networks] });
  desk.miss(...flows);
  desk.install(desk.last, 1n);
  desk.audited.length = 0;
  return desk;
}

describe('a changed node file', () => {
  it('removes the flows that it does not allow, and leaves all others as they are', () => {
    const desk = withTunnels();
    desk.on(reconfigured({ isAllowed: (each) => each !== f }));
    expect(desk.removed).toEqual([f]);
    expect(desk.audited).toMatchObject([{ type: 'tunnelDown', flow: f, why: 'removed' }]);
    expect(desk.arbiter.gauges()).toMatchObject({ keyedFlows: 1, inboundFlows: 1 });
  });

  it('that changes nothing about flows causes no action', () => {
    const desk = withTunnels();
    const before = desk.published.length;
    desk.on(reconfigured());
    expect([desk.removed, desk.audited, desk.published.length]).toEqual([[], [], before]);
  });

  it('wants new tunnels at once, and no longer those that it does not name any more', () => {
    const desk = new Desk({ peers: [networks] });
    const before = desk.published.length;
    desk.on(reconfigured({ configured: [{ flow: f, peer: 0 }] }));
    expect(desk.published.slice(before)).toMatchObject([{ reason: 'configured', flows: [f] }]);
    desk.on(reconfigured({ configured: [{ flow: g, peer: 0 }] }));
    expect(desk.last).toMatchObject({ reason: 'configured', flows: [g] });
    const count = desk.published.length;
    desk.install(desk.last, 1n);
    desk.pass(60_000);
    expect(desk.published.slice(count).flatMap(({ flows }) => flows)).not.toContain(f);
  });

  it('does not request a tunnel that exists already', () => {
    const desk = withTunnels();
    const before = desk.published.length;
    desk.on(reconfigured({ configured: [{ flow: f, peer: 0 }] }));
    expect(desk.published.length).toBe(before);
  });

  it('without a peer ignores late reports about it, and greets it no more', () => {
    const desk = withTunnels();
    desk.on(reconfigured({ peers: new Map(), isAllowed: () => false }));
    expect(new Set(desk.removed)).toEqual(new Set([f, g]));
    const [published, greeted] = [desk.published.length, desk.greetings.length];
    desk.miss(f);
    desk.on({ type: 'greeted', peer: 0, epoch: 9n, spis: [1] });
    desk.pass(10_000);
    expect([desk.published.length, desk.greetings.length]).toEqual([published, greeted]);
    expect(desk.arbiter.gauges()).toMatchObject({ wants: 0, keyedFlows: 0, inboundFlows: 0 });
  });

  it('does not complete an accept of a peer that was removed while its offers were made', () => {
    const desk = new Desk({ peers: [networks] });
    desk.hold = ['offerInReturn'];
    const request = desk.request({ type: 'acceptReceived', peer: 0, flows: [f], keys: [keyOf(7n)] });
    desk.on(reconfigured({ peers: new Map(), isAllowed: () => false }));
    desk.makeInReturn(desk.held[0] as ActionOf<'offerInReturn'>);
    expect(desk.replies.get(request)).toBe('FLOW_REMOVED');
    expect(desk.withdrawn).toHaveLength(1);
    expect(desk.arbiter.gauges()).toMatchObject({ keyedFlows: 0, inboundFlows: 0 });
  });

  it('greets a peer that was added, also under a number that another one had', () => {
    const desk = withTunnels();
    const greeted = () => desk.greetings.map(({ peer }) => peer);
    desk.on(
      reconfigured({
        peers: new Map([
          [0, networks],
          [1, networks],
        ]),
        added: new Set([1]),
      }),
    );
    expect(greeted()).toContain(1);
    desk.on(reconfigured());
    const before = desk.greetings.length;
    desk.pass(150_000);
    expect(greeted().slice(before)).not.toContain(1);
    desk.on(
      reconfigured({
        peers: new Map([
          [0, networks],
          [1, networks],
        ]),
        added: new Set([1]),
      }),
    );
    expect(greeted().slice(before)).toContain(1);
    desk.on({ type: 'missed', misses: [{ flow: flow(3), peer: 1 }] });
    expect(desk.last).toMatchObject({ peer: 1, flows: [flow(3)] });
  });

  it('rotates by its schedule, which counts from the last rotation', () => {
    const desk = new Desk({ peers: [networks], rotateEveryMs: 10_000 });
    desk.pass(8_000);
    desk.on(reconfigured({ times: { ...times, everyMs: 20_000 } }));
    desk.pass(4_000);
    expect(desk.generation).toBe(1);
    desk.pass(20_000);
    expect(desk.generation).toBe(2);
  });

  it('a thousand times leaves nothing behind', () => {
    const desk = withTunnels();
    for (let i = 0; i < 1000; i++) {
      const both = new Map([
        [0, networks],
        [1, networks],
      ]);
      desk.on(reconfigured({ peers: both, added: new Set([1]), configured: [{ flow: flow(9), peer: 1 }] }));
      desk.install(desk.last, BigInt(i + 1));
      desk.on(reconfigured({ isAllowed: (_, peer) => peer === 0 }));
    }
    desk.pass(60_000);
    expect(desk.arbiter.gauges()).toMatchObject({
      wants: 0,
      keyedFlows: 2,
      inboundFlows: 2,
      heldDownFlows: 0,
      exchangesRemembered: 0,
    });
  });
});

describe('numbers of peers', () => {
  const none = new Set<string>();
  it('stay with their peers, and are used again only after a while', () => {
    const numbers = new PeerNumbers(['b', 'c'], 3);
    const take = (names: string[], replaced: ReadonlySet<string>, atMs: number) => {
      const plan = numbers.plan(names, replaced, atMs);
      if (plan) numbers.take(plan, atMs);
      return plan && Object.fromEntries(plan.numbers);
    };
    expect(take(['c', 'd'], none, 0)).toEqual({ c: 1, d: 2 });
    expect(take(['c', 'd', 'e'], none, 1000)).toBeUndefined();
    expect(take(['c', 'd', 'e'], none, restMs)).toEqual({ c: 1, d: 2, e: 0 });
    expect(take(['c'], none, restMs)).toEqual({ c: 1 });
    expect(take(['c'], new Set(['c']), 2 * restMs)).toEqual({ c: 2 });
    expect(numbers.of('c')).toBe(2);
    expect(numbers.of('d')).toBeUndefined();
  });

  it('say which are new and which are not used any more', () => {
    const numbers = new PeerNumbers(['b', 'c'], 9);
    const plan = numbers.plan(['b', 'd'], new Set(['b']), 0);
    expect(plan).toEqual({
      numbers: new Map([
        ['b', 2],
        ['d', 3],
      ]),
      added: new Set([2, 3]),
      removed: new Set([0, 1]),
    });
  });
});

describe('counts', () => {
  const counts = (bypass: bigint[], peers: bigint[]) => ({
    peers: peers.map((egressPackets) => ({ egressPackets, lastEgressMs: egressPackets, keyedFlows: 1 })),
    bypass: bypass.map((egressPackets) => ({ egressPackets, ingressPackets: 0n })),
  });

  it('of a bypass entry stay with it wherever it is in the list', () => {
    const live = new LiveCounts();
    live.reconfigured(
      { counters: counts([5n, 7n], []), bypass: ['x', 'y'] },
      { counters: counts([5n, 7n], []), bypass: ['y', 'z'] },
      [],
    );
    const shown = () => live.shown(counts([6n, 9n], [])).bypass.map(({ egressPackets }) => egressPackets);
    expect(shown()).toEqual([8n, 2n]);
    live.reconfigured(
      { counters: counts([6n, 9n], []), bypass: ['y', 'z'] },
      { counters: counts([6n], []), bypass: ['z'] },
      [],
    );
    expect(live.shown(counts([10n], [])).bypass[0]?.egressPackets).toBe(6n);
  });

  it('of a peer begin at zero with a number that another one had', () => {
    const live = new LiveCounts();
    live.reconfigured(
      { counters: counts([], [4n, 9n]), bypass: [] },
      { counters: counts([], [4n, 9n]), bypass: [] },
      [1],
    );
    expect(live.shown(counts([], [5n, 9n])).peers).toEqual([
      { egressPackets: 5n, lastEgressMs: 5n, keyedFlows: 1 },
      { egressPackets: 0n, lastEgressMs: 0n, keyedFlows: 1 },
    ]);
    expect(live.shown(counts([], [5n, 12n])).peers[1]).toEqual({
      egressPackets: 3n,
      lastEgressMs: 12n,
      keyedFlows: 1,
    });
  });
});
