// SPDX-License-Identifier: Apache-2.0
// Peers that never free a tunnel, as NVIDIA's DOCA PSP Gateway: what counts against their limit, the warning before it is
// reached, and what happens then.
import { describe, expect, it } from 'vitest';
import { Desk, flow, keyOf } from './desk.js';

const f = flow(1);
const withLimit = (most: number, options: ConstructorParameters<typeof Desk>[0] = {}) =>
  new Desk({ maxTunnels: new Map([[0, most]]), ...options });
const left = (desk: Desk) => desk.arbiter.tunnelsLeft(0)?.left;
/** The peer numbers nothing. */
const answer = (desk: Desk) => desk.install(desk.last, undefined);

describe('a tunnel of a peer with a limit', () => {
  it('counts for each answer and for each refusal, once', () => {
    const desk = withLimit(10);
    desk.miss(f);
    answer(desk);
    answer(desk);
    expect(left(desk)).toBe(9);
    desk.miss(flow(2));
    desk.refuse(desk.last);
    desk.refuse(desk.last);
    expect(left(desk)).toBe(8);
  });

  it('counts for each of its requests that is answered with an offer', () => {
    const desk = withLimit(10);
    desk.acceptReceived([f, flow(2)], [keyOf(undefined), keyOf(undefined)]);
    expect(left(desk)).toBe(8);
    desk.hold = ['offerInReturn'];
    const request = desk.acceptReceived([flow(3)], []);
    desk.on({ type: 'offerInReturnFailed', request, error: new Error('no offer') });
    expect(left(desk)).toBe(8);
  });

  it('counts again when it is offered anew after a rotation', () => {
    const desk = withLimit(10);
    desk.miss(f, flow(2));
    answer(desk);
    desk.rotate();
    answer(desk);
    expect(left(desk)).toBe(6);
  });

  it('does not count for attempts without an answer, however many', () => {
    const desk = withLimit(3, { configured: [{ flow: f, peer: 0 }] });
    while (desk.published.length < 8) desk.pass(100);
    expect(left(desk)).toBe(3);
    answer(desk);
    expect(left(desk)).toBe(2);
  });

  it('has no limit for other peers', () => {
    const desk = withLimit(1);
    desk.on({ type: 'missed', misses: [1, 2, 3].map((i) => ({ flow: flow(i), peer: 1 })) });
    expect(desk.last.flows).toHaveLength(3);
    expect(desk.arbiter.tunnelsLeft(1)).toBeUndefined();
  });
});

describe('the warning', () => {
  it('comes at a fifth of the limit', () => {
    const desk = withLimit(100);
    for (let i = 0; i < 80; i++) {
      desk.miss(f);
      desk.refuse(desk.last);
      desk.now += 31_000;
    }
    expect(desk.arbiter.tunnelsLeft(0)).toEqual({ left: 20, most: 100, isLow: false });
    desk.miss(f);
    desk.refuse(desk.last);
    expect(desk.arbiter.tunnelsLeft(0)).toEqual({ left: 19, most: 100, isLow: true });
  });

  it('comes earlier if the tunnels that are left do not suffice for two rotations', () => {
    const desk = withLimit(100);
    desk.miss(...Array.from({ length: 34 }, (_, i) => flow(i)));
    answer(desk);
    expect(desk.arbiter.tunnelsLeft(0)).toEqual({ left: 66, most: 100, isLow: true });
  });
});

describe('a peer that has been offered all of its tunnels', () => {
  /** Two tunnels of two. */
  const spent = (options = {}) => {
    const desk = withLimit(2, options);
    desk.miss(f, flow(2));
    answer(desk);
    desk.published.length = 0;
    return desk;
  };

  it('is requested no further tunnel: the packet is given up like one without an answer', () => {
    const desk = spent();
    desk.miss(flow(3));
    desk.pass(3000);
    expect([desk.published, desk.arbiter.counters.unanswered]).toEqual([[], 1]);
  });

  it('is never offered more, although exchanges are in flight', () => {
    const desk = withLimit(3);
    desk.miss(f, flow(2));
    desk.miss(flow(3), flow(4));
    expect(desk.published.map(({ flows }) => flows.length)).toEqual([2, 1]);
    desk.pass(10_000);
    expect(Math.max(...desk.published.map(({ flows }) => flows.length))).toBeLessThanOrEqual(3);
  });

  it('has its requests refused with TUNNELS_SPENT', () => {
    const desk = spent();
    const request = desk.acceptReceived([flow(3)], [keyOf(undefined)]);
    expect(desk.replies.get(request)).toBe('TUNNELS_SPENT');
  });

  it('keeps its tunnels: no rotation cuts them, also after the grace, unless an operator forces it', () => {
    const desk = spent({ rotateEveryMs: 60_000, rotateGraceMs: 1000 });
    desk.pass(60_000);
    expect(desk.arbiter.generation).toBe(2);
    desk.pass(600_000);
    expect([desk.arbiter.generation, desk.arbiter.flowsToCut]).toEqual([2, 2]);
    expect(desk.rotate()).toEqual({ unanswered: 2, drainLeftMs: 0 });
    expect(desk.rotate(2)).toBeUndefined();
    expect(desk.published).toEqual([]);
  });
});
