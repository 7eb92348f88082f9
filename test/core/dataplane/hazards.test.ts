// SPDX-License-Identifier: Apache-2.0
// Sequences of messages that break a key exchange without the rules of the arbiter: late, repeated, crossing and
// reordered messages.
import { describe, expect, it } from 'vitest';
import { InstallResult } from '../../../proto/gen/bus.js';
import { reversed } from '../../../services/dataplane/core/facts.js';
import { busy, Desk, epoch, flow, keyOf, theirs } from './desk.js';

const cause = { why: 'command' } as const;

const f = flow(1);

it('only the epoch of this start is current', () => {
  const desk = new Desk();
  expect([desk.arbiter.isCurrent(epoch), desk.arbiter.isCurrent(epoch + 1n), desk.arbiter.epoch]).toEqual([
    true,
    false,
    epoch,
  ]);
});

describe('the egress key of a flow', () => {
  it('is never replaced by an older key that arrives late, whose accept is answered all the same', () => {
    const desk = new Desk();
    desk.accept(f, 2n);
    const late = desk.accept(f, 1n);
    expect(late).toMatchObject({ outcome: 'superseded', spi: expect.any(Number) });
    expect(desk.accept(f, 3n).outcome).toBe('installed');
  });

  it('is not installed again when its accept is repeated', () => {
    const desk = new Desk();
    expect(desk.accept(f, 5n).outcome).toBe('installed');
    expect(desk.accept(f, 5n).outcome).toBe('superseded');
  });

  it('stays when an answer contains an older key, which ends the exchange and its want', () => {
    const desk = new Desk({ configured: [{ flow: f, peer: 0 }] });
    const { last } = desk;
    desk.accept(f, 9n);
    desk.rotate();
    expect(desk.install(desk.last, 4n)).toEqual(['superseded']);
    expect(desk.install(desk.last, 10n)).toEqual(['notInFlight']);
    expect(desk.install(last, 11n)).toEqual(['notInFlight']);
  });

  it('is installed from one answer only, and only from that of the exchange in flight', () => {
    const desk = new Desk();
    desk.miss(f);
    const first = desk.last;
    desk.pass(1000);
    const second = desk.last;
    expect(desk.install(first, 1n)).toEqual(['notInFlight']);
    expect(desk.install(second, 2n)).toEqual(['installed']);
    expect(desk.install(second, 2n)).toEqual(['notInFlight']);
    expect(desk.install(first, 3n)).toEqual(['notInFlight']);
  });

  it('stays that of an accept when the answer to an earlier exchange arrives: both directions have keys', () => {
    const desk = new Desk();
    desk.miss(f);
    const asked = desk.last;
    expect(desk.accept(f, 1n).outcome).toBe('installed');
    expect(desk.install(asked, 2n)).toEqual(['notInFlight']);
    expect(desk.withdrawn).toEqual([]);
    expect(desk.arbiter.offersOf(reversed(f))).toHaveLength(2);
  });

  it('is not installed from an answer for another peer, or for a flow that was not in the exchange', () => {
    const desk = new Desk();
    desk.miss(f);
    expect(desk.install({ ...desk.last, peer: 1 }, 1n)).toEqual(['notInFlight']);
    expect(desk.install({ ...desk.last, flows: [flow(2)] }, 1n)).toEqual(['notInFlight']);
    expect(desk.install(desk.last, 1n)).toEqual(['installed']);
  });

  it('is installed once when an answer names the flow twice', () => {
    const desk = new Desk();
    desk.miss(f);
    expect(desk.install({ ...desk.last, flows: [f, f] }, 1n)).toEqual(['installed', 'notInFlight']);
  });

  it('is replaced by any key of another epoch of the peer, whatever its number, also by one of the previous epoch', () => {
    const desk = new Desk();
    expect(desk.accept(f, 50n, 1n).outcome).toBe('installed');
    expect(desk.accept(f, 1n, 2n).outcome).toBe('installed');
    expect(desk.accept(f, 1n, 1n).outcome).toBe('installed');
    expect(desk.accept(f, 1n, 1n).outcome).toBe('superseded');
  });

  it('is the one received last from a peer that numbers nothing', () => {
    const desk = new Desk();
    const unnumbered = () => desk.outcomesOf(desk.acceptReceived([f], [keyOf(undefined)]));
    expect(unnumbered()).toEqual(['installed']);
    expect(unnumbered()).toEqual(['installed']);
  });
});

describe('keys that the engine could not install', () => {
  it('are tried again while they are the newest, and never once a newer key was decided on', () => {
    const desk = new Desk();
    desk.hold = ['install', 'retryLater'];
    const older = desk.acceptReceived([f], [keyOf(1n)]);
    desk.on({ type: 'installFailed', request: desk.taken('install').request, error: busy });
    desk.on({ type: 'retryDue', request: desk.taken('retryLater').request });
    expect(desk.taken('install')).toMatchObject({ request: older, rows: [0] });
    desk.on({ type: 'installFailed', request: older, error: busy });
    const newer = desk.acceptReceived([f], [keyOf(2n)]);
    expect(desk.taken('install')).toMatchObject({ request: newer, rows: [0] });
    desk.on({ type: 'retryDue', request: desk.taken('retryLater').request });
    expect(desk.held).toEqual([]);
    expect(desk.outcomesOf(older)).toEqual(['superseded']);
    expect(desk.replies.has(newer)).toBe(false);
  });

  it('leave the older key in use while the engine is busy, and no key when its table is full', () => {
    const desk = new Desk();
    desk.accept(f, 1n);
    desk.hold = ['install'];
    const failing = desk.acceptReceived([f], [keyOf(2n)]);
    desk.now += 500;
    desk.on({ type: 'installFailed', request: failing, error: busy });
    expect([desk.refused, desk.arbiter.gauges().keyedFlows]).toEqual([[], 1]);
    desk.hold = [];
    desk.installResult = InstallResult.INSTALL_RESULT_TABLE_FULL;
    expect(desk.accept(f, 3n).outcome).toBe('tableFull');
    expect(desk.arbiter.gauges().keyedFlows).toBe(0);
    expect(desk.refused).toMatchObject([{ flow: f, holdDownMs: 1000 }]);
  });

  it('cause the offers of their accept to be withdrawn', () => {
    const desk = new Desk();
    desk.hold = ['offerInReturn', 'install'];
    const request = desk.acceptReceived([f], [keyOf(1n)]);
    const [spi] = desk.makeInReturn(desk.taken('offerInReturn'));
    desk.now += 500;
    desk.on({ type: 'installFailed', request, error: busy });
    expect(desk.withdrawn).toEqual([{ inbound: reversed(f), spi }]);
    expect(desk.arbiter.gauges().inboundFlows).toBe(0);
    expect(desk.replies.get(request)).toBe('ENGINE_BUSY');
  });
});

describe('rotation', () => {
  /** A tunnel with keys in both directions. */
  const keyed = (options = {}) => {
    const desk = new Desk(options);
    desk.miss(f);
    desk.install(desk.last, 1n);
    return desk;
  };

  it('makes a new offer for every inbound flow, and sends those of one peer together', () => {
    const desk = new Desk();
    for (let i = 0; i < 70; i++) desk.accept(flow(i), 1n);
    desk.accept(flow(100));
    desk.published.length = 0;
    expect(desk.rotate()).toBeUndefined();
    expect(desk.published.map(({ reason, flows }) => [reason, flows.length])).toEqual([
      ['stale', 64],
      ['stale', 7],
    ]);
    expect(desk.published.every(({ generation }) => generation === 2)).toBe(true);
  });

  it('may follow another only drainMs after the last answer', () => {
    const desk = keyed();
    desk.rotate();
    desk.pass(5000);
    expect(desk.rotate()).toEqual({ unanswered: 1, drainLeftMs: 0 });
    desk.install(desk.last, 2n);
    expect(desk.rotate()).toEqual({ unanswered: 0, drainLeftMs: 500 });
    desk.pass(400);
    expect(desk.rotate()).toEqual({ unanswered: 0, drainLeftMs: 100 });
    desk.pass(100);
    expect(desk.rotate()).toBeUndefined();
  });

  it('does not wait until no packet arrives under the older key', () => {
    const desk = keyed();
    const [old] = desk.last.spis;
    desk.rotate();
    desk.install(desk.last, 2n);
    for (let i = 0; i < 5; i++) {
      desk.seen(f, old as number);
      desk.pass(100);
    }
    expect(desk.rotate()).toBeUndefined();
  });

  it('does not count an answer to an exchange of the older generation, and makes a new offer for its flow at once', () => {
    const desk = new Desk();
    desk.miss(f);
    const old = desk.last;
    desk.rotate();
    expect(desk.last).toBe(old);
    expect(desk.install(old, 1n)).toEqual(['installed']);
    expect(desk.last).toMatchObject({ reason: 'stale', generation: 2 });
    expect(desk.rotate()).toMatchObject({ unanswered: 1 });
    desk.install(desk.last, 2n);
    desk.pass(500);
    expect(desk.rotate()).toBeUndefined();
  });

  it('does not count an accept as an answer, because its reply may be lost, but a packet under its offer', () => {
    const desk = keyed();
    desk.rotate();
    const { spi } = desk.accept(f, 2n);
    expect(desk.rotate()).toMatchObject({ unanswered: 1 });
    desk.pass(1000);
    expect(desk.published.filter(({ reason }) => reason === 'stale')).toHaveLength(2);
    desk.seen(f, spi);
    expect(desk.rotate()).toEqual({ unanswered: 0, drainLeftMs: 500 });
    desk.pass(5000);
    expect(desk.published.filter(({ reason }) => reason === 'stale')).toHaveLength(2);
  });

  it('counts an answer as proof that the peer has the offer although an accept ended its exchange', () => {
    const desk = keyed();
    desk.rotate();
    const { last } = desk;
    desk.accept(f, 2n);
    expect(desk.install(last, 3n)).toEqual(['notInFlight']);
    expect(desk.rotate()).toEqual({ unanswered: 0, drainLeftMs: 500 });
  });

  it('does not count a packet under an SPI of the older generation as proof', () => {
    const desk = keyed();
    const [old] = desk.last.spis;
    desk.rotate();
    desk.seen(f, old as number);
    expect(desk.rotate()).toMatchObject({ unanswered: 1 });
  });

  it('withdraws a refused offer and makes a new one after each hold-down, without end', () => {
    const desk = keyed();
    desk.rotate();
    const start = desk.now;
    const times: number[] = [];
    for (let i = 0; i < 4; i++) {
      times.push((desk.last.atMs - start) / 1000);
      desk.refuse(desk.last);
      expect(desk.withdrawn.at(-1)?.spi).toBe(desk.last.spis[0]);
      expect(desk.rotate()).toMatchObject({ unanswered: 1 });
      desk.pass(1000 * 2 ** i);
    }
    expect(times).toEqual([0, 1, 3, 7]);
    expect(desk.refused).toEqual([]);
    desk.install(desk.last, 2n);
    desk.pass(500);
    expect(desk.rotate()).toBeUndefined();
  });

  it('makes a new offer for a flow that it cut after the grace, although all its offers were refused', () => {
    const desk = keyed({ rotateGraceMs: 1000 });
    desk.rotate();
    desk.refuse(desk.last);
    desk.now += 1000;
    expect(desk.rotate()).toBeUndefined();
    desk.refuse(desk.last);
    expect(desk.arbiter.offersOf(reversed(f))).toEqual([]);
    desk.pass(2000);
    desk.install(desk.last, 2n);
    expect(desk.last.generation).toBe(3);
    expect(desk.arbiter.gauges()).toMatchObject({ unansweredFlows: 0, wants: 0, inboundFlows: 1 });
  });

  /** When the re-offers of a first rotation were made, in seconds after it. */
  const reoffers = (desk: Desk, forMs: number) => {
    const start = desk.now;
    desk.published.length = 0;
    desk.rotate();
    desk.pass(forMs);
    return desk.published.map(({ atMs }) => (atMs - start) / 1000);
  };

  it('repeats an offer each second at first, then with back-off, until it is answered, however long that takes', () => {
    const desk = keyed();
    const seconds = reoffers(desk, 131_000);
    expect(seconds).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 40, 70, 100, 130]);
    desk.pass(3_000_000);
    expect(desk.published).toHaveLength(seconds.length + 100);
    expect(desk.arbiter.offersOf(reversed(f))).toHaveLength(8);
    desk.install(desk.last, 2n);
    desk.pass(100_000);
    expect(desk.published).toHaveLength(seconds.length + 100);
  });

  it('backs off at once for a flow whose peer never answered, and starts the back-off anew with the next rotation', () => {
    const desk = new Desk({ rotateGraceMs: 60_000 });
    desk.miss(f);
    desk.pass(5000);
    expect(reoffers(desk, 100_000)).toEqual([0, 1, 3, 7, 15, 31, 61, 91]);
    expect(reoffers(desk, 4000)).toEqual([0, 1, 3]);
  });

  it('repeats an offer each second for a flow whose peer used an older offer', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.seen(f, desk.last.spis[0] as number);
    desk.pass(5000);
    expect(reoffers(desk, 4000)).toEqual([0, 1, 2, 3, 4]);
  });

  it('remembers at most maxInbound flows and forgets the oldest unproven one first, with its re-offers', () => {
    const desk = new Desk({ maxInbound: 3 });
    desk.miss(f);
    desk.install(desk.last, 1n);
    for (const i of [2, 3]) desk.accept(flow(i), 1n);
    desk.hold = ['offer'];
    desk.rotate();
    desk.hold = [];
    desk.accept(flow(4), 1n);
    const { inboundFlows, unansweredFlows, wants } = desk.arbiter.gauges();
    expect([inboundFlows, unansweredFlows, wants]).toEqual([3, 2, 3]);
    const kept = [1, 2, 3, 4].map((i) => desk.arbiter.offersOf(reversed(flow(i))).length > 0);
    expect(kept).toEqual([true, false, true, true]);
    desk.pass(1000);
    expect(desk.last.flows).toEqual([f, flow(3)]);
    for (const i of [1, 3, 4]) desk.seen(flow(i), desk.arbiter.offersOf(reversed(flow(i)))[0]?.spi ?? 0);
    desk.accept(flow(5), 1n);
    expect(desk.arbiter.offersOf(reversed(f))).toEqual([]);
  });

  it('makes no offers while the bus is away, and makes them once it returns', () => {
    const desk = keyed();
    desk.on({ type: 'bus', connected: false });
    desk.rotate();
    desk.pass(300_000);
    expect(desk.arbiter.offersOf(reversed(f))).toHaveLength(1);
    desk.on({ type: 'bus', connected: true });
    expect(desk.last).toMatchObject({ reason: 'stale', generation: 2 });
  });

  it('waits for a packet under the new key from a peer that numbers nothing', () => {
    const desk = keyed();
    desk.rotate();
    const { last } = desk;
    desk.install(last, undefined);
    desk.pass(10_000);
    expect(desk.published.at(-1)).toBe(last);
    expect(desk.rotate()).toEqual({ unanswered: 1, drainLeftMs: 0 });
    desk.seen(f, last.spis[0] as number);
    desk.pass(500);
    expect(desk.rotate()).toBeUndefined();
  });

  it('proceeds without answers after the grace, and at once when no SPI is left', () => {
    const graced = keyed({ rotateGraceMs: 10_000 });
    graced.rotate();
    graced.pass(9900);
    expect(graced.rotate()).toMatchObject({ unanswered: 1 });
    graced.pass(100);
    expect(graced.rotate()).toBeUndefined();

    const exhausted = keyed();
    exhausted.rotate();
    exhausted.on({ type: 'bus', connected: false });
    exhausted.on({ type: 'offerFailed', exchange: 0n, code: 'SPI_EXHAUSTED' });
    expect(exhausted.arbiter.exhausted).toBe(true);
    expect(exhausted.rotate()).toBeUndefined();
    expect(exhausted.arbiter.exhausted).toBe(false);
  });

  it('waits while another one is under way', () => {
    const desk = new Desk();
    desk.hold = ['rotate'];
    const first = desk.request({ type: 'rotateReceived', cause });
    expect(desk.rotate()).toEqual({ unanswered: 0, drainLeftMs: 0 });
    expect(desk.taken('rotate')).toEqual({ type: 'rotate', request: first });
    desk.on({ type: 'rotateFailed', request: first, error: busy });
    expect(desk.replies.get(first)).toBe('ENGINE_BUSY');
    desk.hold = [];
    expect(desk.rotate()).toBeUndefined();
  });

  it('withdraws offers of the older generation that were not published yet, and makes new ones', () => {
    const desk = new Desk();
    desk.hold = ['offer'];
    desk.miss(f);
    const old = desk.taken('offer');
    desk.hold = [];
    desk.rotate();
    desk.make(old, 1);
    expect(desk.withdrawn).toHaveLength(1);
    expect(desk.published).toMatchObject([{ reason: 'miss', generation: 2, exchange: 2n }]);
  });

  it('makes a new offer for a flow whose offer in return was made under the older generation meanwhile', () => {
    const desk = new Desk();
    desk.hold = ['offerInReturn'];
    desk.acceptReceived([f], []);
    desk.rotate();
    desk.makeInReturn(desk.taken('offerInReturn'), 1);
    expect(desk.last).toMatchObject({ reason: 'stale', generation: 2 });
    expect(desk.rotate()).toMatchObject({ unanswered: 1 });
  });

  it('does not wait for flows whose only offers were refused', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.refuse(desk.last);
    desk.rotate();
    expect(desk.rotate()).toBeUndefined();
  });

  it('of ten thousand tunnels ends at once when every peer answers, and leaves no want', () => {
    const desk = new Desk();
    for (let i = 0; i < 10_000; i++) desk.accept(flow(i), 1n);
    desk.rotate();
    let answered = 0;
    for (let want = desk.published.shift(); want !== undefined; want = desk.published.shift()) {
      answered += want.flows.length;
      desk.install(want, 2n, theirs);
    }
    expect(answered).toBe(10_000);
    expect(desk.arbiter.gauges()).toMatchObject({ unansweredFlows: 0, wants: 0 });
  });
});
