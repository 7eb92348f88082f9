// SPDX-License-Identifier: Apache-2.0
// Wants: what makes an exchange begin, how often an attempt is made, and what ends the attempts.
import { describe, expect, it } from 'vitest';
import { InstallResult } from '../../../proto/gen/bus.js';
import { batchLimit } from '../../../services/dataplane/core/pace.js';
import type { FlowKey } from '../../../services/shared/address.js';
import { busy, Desk, flow, keyOf } from './desk.js';

const f = flow(1);

describe('a flow that missed', () => {
  it('begins an exchange at once and each second, until it is given up after holdMs', () => {
    const desk = new Desk();
    const start = desk.now;
    desk.miss(f);
    desk.pass(10_000);
    expect(desk.published.map(({ atMs }) => atMs - start)).toEqual([0, 1000, 2000]);
    expect(desk.arbiter.counters.unanswered).toBe(1);
    expect(desk.arbiter.gauges().wants).toBe(0);
  });

  it('has a new exchange and a new offer with each attempt', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.pass(2500);
    const exchanges = desk.published.map(({ exchange }) => exchange);
    expect(exchanges).toEqual([1n, 2n, 3n]);
    expect(new Set(desk.published.flatMap(({ spis }) => spis)).size).toBe(3);
  });

  it('begins no exchange any more once its key is installed', () => {
    const desk = new Desk();
    desk.miss(f);
    expect(desk.install(desk.last, 1n)).toEqual(['installed']);
    desk.pass(5000);
    expect(desk.published).toHaveLength(1);
    expect(desk.refused).toEqual([]);
  });

  it('begins one exchange, however often the engine reports it', () => {
    const desk = new Desk();
    desk.miss(f, f);
    desk.miss(f);
    expect(desk.published.map(({ flows }) => flows)).toEqual([[f]]);
  });

  it('is held down for a second after it was given up, then begins an exchange again', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.pass(3000);
    desk.published.length = 0;
    const start = desk.now;
    desk.pass(200);
    desk.miss(f);
    expect(desk.published).toEqual([]);
    desk.pass(2000);
    expect(desk.published[0]?.atMs).toBe(start + 1000);
  });

  it('shares exchanges with other flows of its peer that miss with it, up to the limit', () => {
    const desk = new Desk();
    const flows = Array.from({ length: batchLimit + 6 }, (_, i) => flow(i));
    desk.on({
      type: 'missed',
      misses: flows.map((flow, i) => ({ flow, peer: i < batchLimit + 3 ? 0 : 1 })),
    });
    expect(desk.published.map(({ peer, flows }) => [peer, flows.length])).toEqual([
      [0, batchLimit],
      [0, 3],
      [1, 3],
    ]);
  });

  it('waits for the bus and begins an exchange as soon as it is connected', () => {
    const desk = new Desk();
    desk.on({ type: 'bus', connected: false });
    desk.miss(f);
    desk.pass(1500);
    expect(desk.published).toEqual([]);
    desk.on({ type: 'bus', connected: true });
    expect(desk.published).toHaveLength(1);
  });

  it('is given up after holdMs without a bus too', () => {
    const desk = new Desk();
    desk.on({ type: 'bus', connected: false });
    desk.miss(f);
    desk.pass(3000);
    expect(desk.arbiter.counters.unanswered).toBe(1);
    expect(desk.arbiter.gauges().wants).toBe(0);
  });

  it('begins another exchange when its offer could not be made', () => {
    const desk = new Desk();
    desk.hold = ['offer'];
    desk.miss(f);
    const { exchange } = desk.taken('offer');
    desk.hold = [];
    desk.on({ type: 'offerFailed', exchange, code: 'ENGINE_BUSY' });
    expect(desk.published).toEqual([]);
    desk.pass(1000);
    expect(desk.published).toHaveLength(1);
  });

  it('is not published when a key arrived while its offer was made, and the offer is withdrawn', () => {
    const desk = new Desk();
    desk.hold = ['offer'];
    desk.miss(f);
    desk.accept(f, 1n);
    desk.make(desk.taken('offer'));
    expect(desk.published).toEqual([]);
    expect(desk.withdrawn).toHaveLength(1);
  });

  it('is dropped when the table of the engine is full, and begins an exchange with its next miss', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.installResult = InstallResult.INSTALL_RESULT_TABLE_FULL;
    expect(desk.install(desk.last, 9n, 5n)).toEqual(['tableFull']);
    desk.installResult = InstallResult.INSTALL_RESULT_INSTALLED;
    expect(desk.refused).toMatchObject([{ flow: f, holdDownMs: 1000 }]);
    desk.pass(1000);
    desk.miss(f);
    expect(desk.published).toHaveLength(2);
    expect(desk.install(desk.last, 9n, 5n)).toEqual(['installed']);
  });
});

describe('a flow whose egress key must be replaced', () => {
  /** The newest key of each flow could not be installed, so an older one is in use, which is to be replaced. */
  const renewing = (...flows: [FlowKey, ...FlowKey[]]) => {
    const desk = new Desk();
    desk.miss(...flows);
    for (const made of [...desk.published]) desk.install(made, 1n);
    desk.published.length = 0;
    desk.hold = ['install'];
    for (const each of flows) {
      const request = desk.acceptReceived([each], [keyOf(2n)]);
      desk.now += 500;
      desk.on({ type: 'installFailed', request, error: busy });
    }
    desk.hold = [];
    desk.withdrawn.length = 0;
    desk.on({ type: 'tick' });
    return desk;
  };

  it('begins an exchange at once, for the reason renew, and keeps the key in use', () => {
    const desk = renewing(f);
    expect(desk.published).toMatchObject([{ reason: 'renew', flows: [f], atMs: desk.now }]);
    expect(desk.arbiter.gauges()).toMatchObject({ wants: 1, keyedFlows: 1 });
    expect(desk.arbiter.counters.renewed).toBe(1);
    expect(desk.refused).toEqual([]);
  });

  it('begins ten exchanges a second apart, then backs off, however long the peer does not answer', () => {
    const desk = renewing(f);
    const start = desk.now;
    desk.pass(131_000);
    const seconds = desk.published.map(({ atMs }) => (atMs - start) / 1000);
    expect(seconds).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 40, 70, 100, 130]);
  });

  it('is satisfied by a newer key in an install', () => {
    const desk = renewing(f);
    expect(desk.install(desk.last, 3n)).toEqual(['installed']);
    expect(desk.arbiter.gauges().wants).toBe(0);
    desk.pass(40_000);
    expect(desk.published).toHaveLength(1);
  });

  it('is satisfied by a newer key in an accept, at once, although the engine has not installed it yet', () => {
    const desk = renewing(f);
    desk.pass(900);
    desk.hold = ['install'];
    desk.acceptReceived([f], [keyOf(3n)]);
    desk.pass(200);
    expect(desk.arbiter.gauges().wants).toBe(0);
    expect(desk.published).toHaveLength(1);
  });

  it('is not satisfied by an older key, and is tried again no sooner than a second after the last attempt', () => {
    const desk = renewing(f);
    const start = desk.now;
    desk.pass(300);
    expect(desk.install(desk.last, 1n)).toEqual(['superseded']);
    desk.pass(300);
    expect(desk.accept(f, 2n).outcome).toBe('superseded');
    desk.pass(1500);
    expect(desk.published.map(({ atMs }) => atMs - start)).toEqual([0, 1000, 2000]);
  });

  it('keeps its key although the peer refuses, and is tried again after each hold-down', () => {
    const desk = renewing(f);
    const start = desk.now;
    for (let i = 0; i < 3; i++) {
      desk.refuse(desk.last);
      desk.pass(1000 * 2 ** i);
    }
    expect(desk.published.map(({ atMs }) => (atMs - start) / 1000)).toEqual([0, 1, 3, 7]);
    expect(desk.withdrawn).toHaveLength(3);
    expect(desk.refused).toEqual([]);
  });

  it('waits for the bus and begins an exchange as soon as it is connected', () => {
    const desk = renewing(f);
    desk.on({ type: 'bus', connected: false });
    desk.pass(60_000);
    expect(desk.published).toHaveLength(1);
    desk.on({ type: 'bus', connected: true });
    expect(desk.published.map(({ reason }) => reason)).toEqual(['renew', 'renew']);
  });

  it('is forgotten when it has no key left, because the table of the engine is full', () => {
    const desk = renewing(f);
    desk.installResult = InstallResult.INSTALL_RESULT_TABLE_FULL;
    expect(desk.install(desk.last, 3n)).toEqual(['tableFull']);
    expect(desk.arbiter.gauges()).toMatchObject({ wants: 0, keyedFlows: 0 });
  });

  it('is answered by the exchange that replaces a stale offer, and the other way round', () => {
    const desk = renewing(f);
    desk.install(desk.last, 3n);
    desk.rotate();
    desk.hold = ['install'];
    const request = desk.acceptReceived([f], [keyOf(4n)]);
    desk.now += 500;
    desk.on({ type: 'installFailed', request, error: busy });
    desk.hold = [];
    desk.pass(1000);
    expect(desk.last).toMatchObject({ reason: 'renew', generation: 2 });
    desk.install(desk.last, 5n);
    expect(desk.arbiter.gauges()).toMatchObject({ wants: 0, unansweredFlows: 0 });
  });
});

describe('a configured flow', () => {
  const configured = [{ flow: f, peer: 0 }];

  it('begins an exchange at once when the bus returns, and starts its back-off anew', () => {
    const desk = new Desk({ configured });
    desk.pass(40_000);
    desk.on({ type: 'bus', connected: false });
    desk.pass(2000);
    const before = desk.published.length;
    const back = desk.now;
    desk.on({ type: 'bus', connected: true });
    desk.pass(3000);
    expect(desk.published.slice(before).map(({ atMs }) => atMs - back)).toEqual([0, 1000, 3000]);
  });

  it('waits for the timeout of its exchange and for the end of its hold-down when the bus returns', () => {
    const desk = new Desk({ configured });
    const start = desk.now;
    const blink = () => {
      desk.on({ type: 'bus', connected: false });
      desk.on({ type: 'bus', connected: true });
    };
    desk.pass(500);
    blink();
    desk.pass(500);
    desk.refuse(desk.last);
    desk.pass(1000);
    desk.refuse(desk.last);
    blink();
    desk.pass(2000);
    expect(desk.published.map(({ atMs }) => atMs - start)).toEqual([0, 1000, 2000, 4000]);
  });

  it('begins exchanges from the start, backs off to 30 s and is never given up', () => {
    const desk = new Desk({ configured });
    const start = desk.now;
    desk.pass(130_000);
    const seconds = desk.published.map(({ atMs }) => (atMs - start) / 1000);
    expect(seconds).toEqual([0, 1, 3, 7, 15, 31, 61, 91, 121]);
    expect(desk.refused).toEqual([]);
  });

  it('begins no exchange any more once an accept brought its key', () => {
    const desk = new Desk({ configured });
    desk.accept(f, 1n);
    desk.pass(60_000);
    expect(desk.published).toHaveLength(1);
  });

  it('begins further exchanges after an accept without keys', () => {
    const desk = new Desk({ configured });
    desk.accept(f);
    desk.pass(1000);
    expect(desk.published).toHaveLength(2);
  });

  it('begins an exchange each second while a packet is held', () => {
    const desk = new Desk({ configured });
    desk.pass(20_000);
    desk.published.length = 0;
    const start = desk.now;
    desk.miss(f);
    desk.pass(2500);
    expect(desk.published.map(({ atMs }) => atMs - start)).toEqual([0, 1000, 2000]);
  });

  it('begins an exchange again after the table of the engine was full', () => {
    const desk = new Desk({ configured });
    desk.installResult = InstallResult.INSTALL_RESULT_TABLE_FULL;
    expect(desk.install(desk.last, 9n, 5n)).toEqual(['tableFull']);
    desk.installResult = InstallResult.INSTALL_RESULT_INSTALLED;
    desk.pass(1000);
    expect(desk.published).toHaveLength(2);
  });

  it('of an unreachable peer delays no other', () => {
    const desk = new Desk({
      configured: [
        { flow: f, peer: 0 },
        { flow: flow(2), peer: 1 },
      ],
    });
    expect(desk.published.map(({ peer }) => peer)).toEqual([0, 1]);
    desk.install(desk.published[1] as NonNullable<(typeof desk.published)[0]>, 1n);
    desk.pass(10_000);
    expect(desk.published.filter(({ peer }) => peer === 1)).toHaveLength(1);
  });
});

describe('a refusal', () => {
  it('drops held packets, withdraws the offer, and holds the flow down for 1, 2, 4 ... 30 s', () => {
    const desk = new Desk();
    const pauses: number[] = [];
    for (let i = 0; i < 7; i++) {
      desk.miss(f);
      const spi = desk.last.spis[0];
      desk.refuse(desk.last);
      expect(desk.withdrawn.at(-1)?.spi).toBe(spi);
      const pause = desk.refused.at(-1)?.holdDownMs ?? 0;
      pauses.push(pause / 1000);
      desk.pass(pause);
    }
    expect(pauses).toEqual([1, 2, 4, 8, 16, 30, 30]);
  });

  it('of a batch leads to exchanges of each flow alone at once, and only a flow that is refused again is held down', () => {
    const desk = new Desk();
    const good = [flow(2), flow(3)];
    desk.miss(f, ...good);
    const batch = desk.last;
    desk.refuse(batch);
    expect(desk.refused).toEqual([]);
    expect(desk.withdrawn.map(({ spi }) => spi)).toEqual(batch.spis);
    const alone = desk.published.slice(1);
    expect(alone.map(({ flows }) => flows)).toEqual([[f], [flow(2)], [flow(3)]]);
    for (const want of alone) {
      if (want.flows[0] === f) desk.refuse(want);
      else expect(desk.install(want, 1n)).toEqual(['installed']);
    }
    expect(desk.refused).toMatchObject([{ flow: f, holdDownMs: 1000 }]);
    expect(desk.arbiter.counters.refused).toBe(1);
    expect(desk.arbiter.gauges()).toMatchObject({ keyedFlows: 2, wants: 0 });
  });

  it('of a flow alone lets it share no exchange until a key arrives, and doubles its hold-down', () => {
    const configured = [1, 2].map((i) => ({ flow: flow(i), peer: 0 }));
    const desk = new Desk({ configured });
    desk.refuse(desk.last);
    const [, bad, good] = desk.published;
    desk.refuse(bad as NonNullable<typeof bad>);
    desk.install(good as NonNullable<typeof good>, 1n);
    desk.pass(2000);
    desk.refuse(desk.last);
    expect(desk.refused.map(({ holdDownMs }) => holdDownMs)).toEqual([1000, 2000]);
  });

  it('of many batches leads to exchanges of each flow alone as far as the window has space, and as the peer answers', () => {
    const desk = new Desk();
    desk.miss(...Array.from({ length: 200 }, (_, i) => flow(i)));
    for (const batch of desk.published.splice(0)) desk.refuse(batch);
    const alone = desk.published.splice(0);
    expect(alone.length).toBeGreaterThan(16);
    expect(alone.length).toBeLessThan(40);
    for (const want of alone) desk.refuse(want);
    expect(desk.published.length).toBeGreaterThan(16);
    expect(desk.published.length).toBeLessThan(40);
    expect(new Set(desk.published.map(({ flows }) => flows.length))).toEqual(new Set([1]));
  });

  it('of more than 64 flows leads to exchanges of 64 flows, then of each flow alone', () => {
    const desk = new Desk();
    for (let i = 0; i < 400; i++) {
      desk.miss(flow(1000 + i));
      desk.install(desk.last, 1n);
    }
    desk.published.length = 0;
    desk.miss(...Array.from({ length: 100 }, (_, i) => flow(i)));
    expect(desk.published.map(({ flows }) => flows.length)).toEqual([100]);
    desk.refuse(desk.published.splice(0)[0] as (typeof desk)['last']);
    expect(desk.published.map(({ flows }) => flows.length)).toEqual([64, 36]);
    desk.refuse(desk.last);
    expect(new Set(desk.published.slice(2).map(({ flows }) => flows.length))).toEqual(new Set([1]));
  });

  it('is forgotten when a key arrives', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.refuse(desk.last);
    desk.pass(1000);
    desk.miss(f);
    desk.refuse(desk.last);
    desk.accept(f, 1n);
    const other = new Desk();
    other.miss(f);
    other.refuse(other.last);
    expect(other.refused.at(-1)?.holdDownMs).toBe(1000);
    expect(desk.arbiter.gauges().heldDownFlows).toBe(0);
  });

  it('holds a configured flow down too', () => {
    const desk = new Desk({ configured: [{ flow: f, peer: 0 }] });
    const start = desk.now;
    desk.refuse(desk.last);
    desk.pass(1000);
    desk.refuse(desk.last);
    desk.pass(2000);
    desk.refuse(desk.last);
    desk.pass(4000);
    expect(desk.published.map(({ atMs }) => (atMs - start) / 1000)).toEqual([0, 1, 3, 7]);
  });

  it('that is late withdraws its own offer and nothing else', () => {
    const desk = new Desk();
    desk.miss(f);
    const first = desk.last;
    desk.pass(1000);
    const second = desk.last;
    desk.refuse(first);
    expect(desk.withdrawn.map(({ spi }) => spi)).toEqual(first.spis);
    expect(desk.refused).toEqual([]);
    expect(desk.install(second, 1n)).toEqual(['installed']);
  });

  it('by a peer other than that of the exchange changes nothing', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.refuse({ ...desk.last, peer: 1 });
    expect(desk.withdrawn).toEqual([]);
    expect(desk.install(desk.last, 1n)).toEqual(['installed']);
  });
});

describe('limits', () => {
  it('keep at most 65 536 refused flows in memory, and none for ever', () => {
    const desk = new Desk();
    for (let i = 0; i < 70_000; i += 64) {
      desk.miss(...Array.from({ length: 64 }, (_, j) => flow(i + j)));
      for (let want = desk.published.shift(); want !== undefined; want = desk.published.shift()) {
        desk.refuse(want);
      }
    }
    const { heldDownFlows, wants, inboundFlows } = desk.arbiter.gauges();
    expect([heldDownFlows, wants, inboundFlows]).toEqual([65_536, 0, 0]);
    desk.pass(31_000);
    desk.pass(200);
    expect(desk.arbiter.gauges().heldDownFlows).toBe(0);
  });

  it('keep no exchange in memory for ever', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.pass(20_000);
    expect(desk.arbiter.gauges().exchangesRemembered).toBe(0);
    expect(desk.install(desk.published[0] as NonNullable<(typeof desk.published)[0]>, 1n)).toEqual([
      'notInFlight',
    ]);
  });

  it('keep no attempt in memory for ever while the bus is away, and lose none', () => {
    const desk = new Desk();
    desk.on({ type: 'bus', connected: false });
    for (let round = 0; round < 20; round++) {
      desk.miss(...Array.from({ length: 100 }, (_, i) => flow(i)));
      desk.pass(4500);
    }
    expect(desk.arbiter.gauges()).toMatchObject({ wants: 0, attemptsScheduled: 0 });
    desk.miss(f);
    desk.on({ type: 'bus', connected: true });
    desk.pass(1000);
    expect(desk.published.map(({ flows }) => flows)).toEqual([[f], [f]]);
  });

  it('make configured flows wait for exchanges in flight, but never a miss', () => {
    const configured = Array.from({ length: 5000 }, (_, i) => ({ flow: flow(i), peer: 0 }));
    const desk = new Desk({ configured });
    desk.hold = ['offer'];
    const held = () => desk.held.filter((action) => action.type === 'offer').map(({ flows }) => flows);
    desk.on({ type: 'bus', connected: true });
    expect(held().flat()).toHaveLength(256);
    desk.miss(flow(6000));
    expect(held().slice(4)).toEqual([[flow(6000)]]);
  });
});
