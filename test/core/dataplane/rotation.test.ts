// SPDX-License-Identifier: Apache-2.0
// When the master key rotates without a command: on schedule, at a peer's request, and before its SPIs run out. What a
// rotation waits for, what it may cut, and what is reported about it.
import { describe, expect, it } from 'vitest';
import { reversed } from '../../../services/dataplane/core/facts.js';
import type { RotationCause } from '../../../services/dataplane/core/rotation.js';
import { busy, Desk, flow, theirs } from './desk.js';

const f = flow(1);
const hourMs = 3_600_000;
/** The time between rotations is the configured one. */
const random = () => 0.5;

/** A tunnel with keys in both directions. */
const keyed = (options: ConstructorParameters<typeof Desk>[0] = {}) => {
  const desk = new Desk({ random, ...options });
  desk.miss(f);
  desk.install(desk.last, 1n);
  return desk;
};

/** Lets time pass in one step, as on a machine that did nothing meanwhile. */
const jump = (desk: Desk, ms: number) => {
  desk.now += ms;
  desk.on({ type: 'tick' });
};

/** Each rotation with its cause, and the time since the one before. */
const rotations = (desk: Desk) =>
  desk.audited.flatMap((event) => (event.type === 'keysRotated' ? [event.cause.why] : []));

const requestOf = (desk: Desk, cause: Extract<RotationCause, { why: 'command' | 'request' }>) => {
  const reply = desk.replies.get(desk.request({ type: 'rotateReceived', cause }));
  return typeof reply === 'object' && 'wait' in reply ? (reply.wait ?? 'done') : reply;
};
const byPeer = { why: 'request', peer: 0 } as const;

describe('a rotation on schedule', () => {
  it('follows the start, and then each rotation, after the configured time', () => {
    const desk = new Desk({ random, rotateEveryMs: hourMs });
    const start = desk.now;
    const times: number[] = [];
    while (desk.now < start + 3 * hourMs) {
      desk.pass(60_000);
      if (desk.arbiter.generation > times.length + 1) times.push((desk.now - start) / 60_000);
    }
    expect(times).toEqual([60, 120, 180]);
    expect(rotations(desk)).toEqual(['schedule', 'schedule', 'schedule']);
  });

  it('counts from the last rotation, whoever caused it', () => {
    const desk = new Desk({ random, rotateEveryMs: hourMs });
    jump(desk, hourMs / 2);
    desk.rotate();
    expect(desk.arbiter.nextRotationMs).toBe(desk.now + hourMs);
    jump(desk, hourMs - 1);
    expect(desk.arbiter.generation).toBe(2);
    jump(desk, 1);
    expect(desk.arbiter.generation).toBe(3);
  });

  it('differs by up to a tenth each time, so that gateways do not rotate in step', () => {
    const values = [0, 0.999_999, 0.25];
    const desk = new Desk({ rotateEveryMs: 1000, random: () => values.shift() ?? 0.5 });
    const waits: number[] = [];
    for (let i = 0; i < 3; i++) {
      waits.push(Math.round((desk.arbiter.nextRotationMs ?? 0) - desk.now));
      desk.now = Math.ceil(desk.arbiter.nextRotationMs ?? 0);
      desk.on({ type: 'tick' });
    }
    expect(waits).toEqual([900, 1100, 950]);
  });

  it('never comes if it is off', () => {
    const desk = keyed({ rotateEveryMs: undefined });
    jump(desk, 1000 * hourMs);
    expect([desk.arbiter.generation, desk.arbiter.nextRotationMs]).toEqual([1, undefined]);
  });

  it('comes once after a machine slept through several of them', () => {
    const desk = new Desk({ random, rotateEveryMs: hourMs });
    desk.accept(f, 1n);
    jump(desk, 72 * hourMs);
    desk.pass(10_000);
    expect(rotations(desk)).toEqual(['schedule']);
  });

  it('waits until every flow was answered and for the drain time, like a command, and then begins by itself', () => {
    const desk = keyed({ rotateEveryMs: 2000 });
    desk.pass(2000);
    expect(desk.arbiter.generation).toBe(2);
    desk.pass(5000);
    expect(desk.arbiter.generation).toBe(2);
    expect(desk.arbiter.rotationDue(desk.now)).toBe('schedule');
    desk.install(desk.last, 2n);
    desk.pass(400);
    expect(desk.arbiter.generation).toBe(2);
    desk.pass(100);
    expect(desk.arbiter.generation).toBe(3);
  });

  it('waits for the bus, and after its return gives peers the whole grace to answer before it cuts a flow', () => {
    const desk = keyed({ rotateEveryMs: 2 * hourMs, rotateGraceMs: hourMs });
    desk.rotate();
    desk.on({ type: 'bus', connected: false });
    jump(desk, 30 * hourMs);
    expect(desk.arbiter.rotationDue(desk.now)).toBeUndefined();
    desk.on({ type: 'bus', connected: true });
    jump(desk, hourMs - 1);
    expect([desk.arbiter.generation, desk.arbiter.rotationDue(desk.now)]).toEqual([2, 'schedule']);
    jump(desk, 1);
    expect(desk.arbiter.generation).toBe(3);
    expect(desk.audited.at(-1)).toMatchObject({ type: 'tunnelDown', why: 'rotationForced' });
  });

  it('that the engine cannot carry out is tried again a second later', () => {
    const desk = new Desk({ random, rotateEveryMs: hourMs });
    desk.hold = ['rotate'];
    jump(desk, hourMs);
    desk.on({ type: 'rotateFailed', request: desk.taken('rotate').request, error: busy });
    desk.pass(900);
    expect(desk.held).toEqual([]);
    desk.hold = [];
    desk.pass(100);
    expect(desk.arbiter.generation).toBe(2);
  });
});

describe('SPIs of the active master key', () => {
  it('that run low cause a rotation, which waits for every answer', () => {
    const desk = keyed();
    desk.rotate();
    desk.install(desk.last, 2n);
    desk.spisLeft = 250_000;
    desk.miss(flow(2));
    desk.pass(600);
    expect(desk.arbiter.generation).toBe(2);
    desk.spisLeft = 249_999;
    desk.miss(flow(3));
    expect(desk.arbiter.rotationDue(desk.now)).toBeUndefined();
    expect(rotations(desk)).toEqual(['command', 'spis']);
  });

  it('that run low cause one rotation, because the new key has all of its SPIs', () => {
    const desk = keyed();
    desk.spisLeft = 10;
    desk.miss(flow(2));
    desk.spisLeft = 1_000_000;
    desk.pass(60_000);
    expect(rotations(desk)).toEqual(['spis']);
  });

  it('that ran out cause a rotation at once, although it cuts flows', () => {
    const desk = keyed();
    desk.rotate();
    desk.hold = ['offer'];
    desk.miss(flow(2));
    const { exchange } = desk.taken('offer');
    desk.hold = [];
    desk.on({ type: 'offerFailed', exchange, code: 'SPI_EXHAUSTED' });
    expect(rotations(desk)).toEqual(['command', 'spis']);
    expect(desk.arbiter.exhausted).toBe(false);
  });

  it('are known from the first offer on', () => {
    const desk = new Desk();
    expect(desk.arbiter.spisLeft).toBeUndefined();
    desk.spisLeft = 99;
    desk.accept(f, 1n);
    expect(desk.arbiter.spisLeft).toBe(99);
    desk.hold = ['rotate'];
    desk.on({ type: 'offerFailed', exchange: 0n, code: 'SPI_EXHAUSTED' });
    expect(desk.arbiter.spisLeft).toBe(0);
  });
});

describe("a peer's request", () => {
  it('rotates once the active key is a minute old, and names the peer in the audit', () => {
    const desk = keyed();
    desk.on({ type: 'tick' });
    desk.now += 59_999;
    expect(requestOf(desk, byPeer)).toBe('ROTATION_LIMITED');
    desk.now += 1;
    expect(requestOf(desk, byPeer)).toBe('done');
    expect(desk.audited.at(-1)).toMatchObject({ type: 'keysRotated', cause: byPeer });
    desk.install(desk.last, 2n);
    desk.now += 30_000;
    expect(requestOf(desk, byPeer)).toBe('ROTATION_LIMITED');
  });

  it('made ten times a second rotates once a minute, and admits no further SPI', () => {
    const desk = keyed();
    const start = desk.now;
    while (desk.now < start + 300_000) {
      desk.pass(100);
      requestOf(desk, byPeer);
      if (desk.last.reason === 'stale') desk.install(desk.last, BigInt(desk.generation));
    }
    expect(desk.arbiter.generation).toBe(6);
    expect(desk.arbiter.offersOf(reversed(f)).length).toBeLessThanOrEqual(2);
  });

  it('never cuts a flow, neither after the grace nor while flows wait', () => {
    const desk = keyed({ rotateGraceMs: 1000 });
    desk.rotate();
    jump(desk, 100_000);
    expect(requestOf(desk, byPeer)).toEqual({ unanswered: 1, drainLeftMs: 0 });
    expect(requestOf(desk, { why: 'command' })).toBe('done');
  });
});

describe('a forced rotation', () => {
  it('cuts no more flows than the operator agreed to', () => {
    const desk = keyed();
    desk.miss(flow(2));
    desk.install(desk.last, 1n);
    desk.accept(flow(3), 1n);
    desk.rotate();
    expect(desk.arbiter.flowsToCut).toBe(2);
    expect(desk.rotate(1)).toEqual({ unanswered: 3, drainLeftMs: 0 });
    expect(desk.rotate(2)).toBeUndefined();
    expect(desk.audited.filter(({ type }) => type === 'tunnelDown')).toHaveLength(2);
  });

  it('need not wait for the drain, but for a rotation that is under way', () => {
    const desk = keyed();
    desk.rotate();
    desk.install(desk.last, 2n);
    expect(desk.rotate()).toEqual({ unanswered: 0, drainLeftMs: 500 });
    desk.hold = ['rotate'];
    desk.request({ type: 'rotateReceived', cause: { why: 'command' }, cutsAtMost: 0 });
    expect(desk.rotate(100)).toEqual({ unanswered: 0, drainLeftMs: 0 });
    expect(desk.held).toHaveLength(1);
  });
});

describe('flows whose peer may still use the older key', () => {
  it('are counted by peer, with the time of the rotation that made the first of them so', () => {
    const desk = keyed({ rotateGraceMs: 10_000 });
    const other = flow(2);
    desk.on({ type: 'missed', misses: [{ flow: other, peer: 1 }] });
    desk.install(desk.last, 1n);
    const rotatedMs = desk.now;
    desk.rotate();
    expect(desk.arbiter.unansweredOf(0)).toEqual({ flows: 1, cut: 1, sinceMs: rotatedMs });
    desk.install(
      desk.published.find(({ peer, reason }) => peer === 0 && reason === 'stale') ?? desk.last,
      2n,
    );
    expect(desk.arbiter.unansweredOf(0)).toMatchObject({ flows: 0, cut: 0 });
    desk.now += 10_000;
    desk.rotate();
    expect(desk.arbiter.unansweredOf(0)).toEqual({ flows: 1, cut: 1, sinceMs: desk.now });
    expect(desk.arbiter.unansweredOf(1)).toEqual({ flows: 1, cut: 1, sinceMs: rotatedMs });
  });

  it('are not cut while their peer never used an offer', () => {
    const desk = new Desk();
    desk.accept(f, 1n);
    desk.rotate();
    expect([desk.arbiter.unansweredOf(0).flows, desk.arbiter.flowsToCut]).toEqual([1, 0]);
    desk.seen(f, desk.arbiter.offersOf(reversed(f))[0]?.spi ?? 0);
    expect(desk.arbiter.flowsToCut).toBe(1);
  });
});

// Schedules that broke earlier drafts of the key exchange.
describe('no rotation cuts a flow', () => {
  it('whose peer answers an exchange with a key of its older generation after it has offered a newer one', () => {
    const desk = new Desk();
    desk.miss(f);
    const asked = desk.last;
    // The peer answers with its offer 1, rotates, and its offer 2 arrives first.
    expect(desk.accept(f, 2n).outcome).toBe('installed');
    expect(desk.install(asked, 1n)).toEqual(['notInFlight']);
    // Our own offer in that exchange is of the active generation, so its answer is proof after a rotation, too.
    desk.rotate();
    expect(desk.install(desk.last, 1n)).toEqual(['superseded']);
    desk.pass(500);
    expect(desk.rotate()).toBeUndefined();
  });

  it('whose old key was used for a last packet just before the answer: a rotation that waits begins after the drain', () => {
    const desk = keyed({ rotateEveryMs: 1000 });
    desk.pass(1000);
    desk.pass(1500);
    expect(desk.arbiter.rotationDue(desk.now)).toBe('schedule');
    const answeredMs = desk.now;
    desk.install(desk.last, 2n);
    while (desk.arbiter.generation === 2) desk.pass(10);
    expect(desk.now - answeredMs).toBe(500);
  });

  it('because of packets that somebody replays under its old key: a rotation does not wait for silence', () => {
    const desk = keyed({ rotateEveryMs: 1000 });
    const [old] = desk.last.spis;
    desk.pass(1000);
    desk.install(desk.last, 2n);
    for (let i = 0; i < 10; i++) {
      desk.seen(f, old as number);
      desk.pass(100);
    }
    expect([desk.arbiter.generation, desk.arbiter.flowsToCut]).toEqual([3, 1]);
    desk.install(desk.last, 3n);
    expect(desk.arbiter.flowsToCut).toBe(0);
  });

  it('whose peer refuses the new offers: each is withdrawn, and the next rotation waits until one is answered', () => {
    const desk = keyed({ rotateEveryMs: 60_000 });
    desk.pass(60_000);
    for (let i = 0; i < 5; i++) {
      desk.refuse(desk.last);
      desk.pass(32_000);
    }
    expect([desk.arbiter.generation, desk.arbiter.rotationDue(desk.now)]).toEqual([2, 'schedule']);
    desk.install(desk.last, 2n, theirs);
    desk.pass(500);
    expect(desk.arbiter.generation).toBe(3);
    expect(desk.audited.filter(({ type }) => type === 'tunnelDown')).toEqual([]);
  });
});

it('a peer that asks anew without end has at most eight offers of a flow', () => {
  const desk = new Desk();
  for (let i = 0; i < 500; i++) desk.accept(f, BigInt(i));
  expect(desk.arbiter.offersOf(reversed(f))).toHaveLength(8);
});

describe('an egress key that has sealed half of what it may', () => {
  it('is replaced by a newer one, and stays in use until that arrives', () => {
    const desk = keyed();
    desk.published.length = 0;
    desk.on({ type: 'worn', flow: f, peer: 0, stopped: false });
    expect(desk.published.map(({ reason, flows }) => [reason, flows])).toEqual([['renew', [f]]]);
    desk.pass(2000);
    expect(desk.published).toHaveLength(3);
    expect(desk.install(desk.last, 2n)).toEqual(['installed']);
    desk.pass(60_000);
    expect([desk.published.length, desk.arbiter.gauges().wants, desk.refused]).toEqual([3, 0, []]);
  });

  it('and is not replaced in time is down, which the audit records once, until a newer one arrives', () => {
    const desk = keyed();
    desk.audited.length = 0;
    desk.on({ type: 'worn', flow: f, peer: 0, stopped: false });
    for (let i = 0; i < 3; i++) desk.on({ type: 'worn', flow: f, peer: 0, stopped: true });
    expect(desk.audited).toEqual([{ type: 'tunnelDown', flow: f, peer: 0, why: 'keyWorn' }]);
    desk.pass(100_000);
    const exchanges = desk.published.length;
    while (desk.published.length === exchanges) desk.pass(100);
    expect(desk.install(desk.last, 2n)).toEqual(['installed']);
    expect(desk.audited.at(-1)).toMatchObject({ type: 'tunnelUp', flow: f });
  });

  it('of a flow that was removed is not replaced', () => {
    const desk = new Desk();
    desk.on({ type: 'worn', flow: f, peer: 0, stopped: true });
    expect([desk.published, desk.audited]).toEqual([[], []]);
  });
});
