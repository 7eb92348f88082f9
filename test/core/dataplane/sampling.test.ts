// SPDX-License-Identifier: Apache-2.0
// The window of samples in flight to a sampler: which samples are sent, queued and dropped, whatever the sampler does.
// And for how long losses are shown.
import { describe, expect, it } from 'vitest';
import { Losses } from '../../../services/dataplane/core/losses.js';
import { type BatchOutcome, SampleWindow } from '../../../services/dataplane/core/sample_window.js';

const limits = { batch: 4, batches: 3, restMs: 100, silentMs: 200 };

/** A window with its queue; samples are numbers that count up. */
class Desk {
  readonly window = new SampleWindow(limits);
  nowMs = 1000;
  readonly sent: number[][] = [];
  #taken = 0;
  #waiting: number[] = [];

  take(count: number): void {
    const kept = this.window.keep(count, this.nowMs);
    for (let i = 0; i < count; i++, this.#taken++) if (i < kept) this.#waiting.push(this.#taken);
    this.#go();
  }

  /** The oldest batch in flight ends. */
  ends(outcome: BatchOutcome): void {
    const batch = this.sent[this.#ended++] as number[];
    const gone = this.window.ended(outcome, batch.length, this.nowMs);
    this.#waiting.splice(0, gone);
    this.#go();
  }
  #ended = 0;

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Every sample that was taken is counted, in flight or queued. */
  check(): void {
    const { delivered, dropped, unanswered } = this.window.counters;
    const inFlight = this.sent.slice(this.#ended).flat().length;
    expect(delivered + dropped + unanswered + inFlight + this.waiting).toBe(this.#taken);
    expect(this.window.open).toBe(this.sent.length - this.#ended);
    expect(this.window.open).toBeLessThanOrEqual(limits.batches);
    expect(inFlight + this.waiting).toBeLessThanOrEqual(limits.batch * limits.batches);
  }

  #go(): void {
    for (let size = this.window.next(); size > 0; size = this.window.next()) {
      this.sent.push(this.#waiting.splice(0, size));
    }
    this.check();
  }
}

describe('a window of samples', () => {
  it('sends at once while no batch is unanswered, and fills batches while one is', () => {
    const desk = new Desk();
    desk.take(1);
    expect(desk.sent).toEqual([[0]]);
    desk.take(2);
    expect(desk.sent).toHaveLength(1);
    desk.take(3);
    expect(desk.sent).toEqual([[0], [1, 2, 3, 4]]);
    desk.ends('taken');
    expect(desk.sent).toHaveLength(2);
    desk.ends('taken');
    expect(desk.sent).toEqual([[0], [1, 2, 3, 4], [5]]);
    desk.ends('taken');
    expect(desk.window.counters).toEqual({ delivered: 6, dropped: 0, unanswered: 0 });
  });

  it('splits a burst into batches in the order in which samples were taken', () => {
    const desk = new Desk();
    desk.take(10);
    expect(desk.sent).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
    for (let i = 0; i < 3; i++) desk.ends('taken');
    expect(desk.sent.flat()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('drops samples beyond the batches that may be unanswered, the newest first', () => {
    const desk = new Desk();
    desk.take(13);
    desk.take(5);
    expect(desk.sent).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 10, 11],
    ]);
    expect(desk.window.counters).toEqual({ delivered: 0, dropped: 6, unanswered: 0 });
    desk.ends('taken');
    desk.take(1);
    expect(desk.waiting).toBe(1);
    expect(desk.window.counters.dropped).toBe(6);
  });

  it('drops all samples for a while when there was no sampler, then tries again', () => {
    const desk = new Desk();
    desk.take(6);
    desk.ends('absent');
    expect([desk.window.counters.dropped, desk.waiting]).toEqual([6, 0]);
    desk.nowMs += 99;
    desk.take(100);
    expect([desk.window.counters.dropped, desk.sent.length]).toEqual([106, 1]);
    desk.nowMs += 1;
    desk.take(1);
    expect(desk.sent).toHaveLength(2);
    desk.ends('taken');
    expect(desk.window.counters).toEqual({ delivered: 1, dropped: 106, unanswered: 0 });
  });

  it('sends one batch at a time after a batch without an answer, until one is answered', () => {
    const desk = new Desk();
    desk.take(12);
    for (let i = 0; i < 3; i++) desk.ends('unanswered');
    expect(desk.window.counters).toEqual({ delivered: 0, dropped: 0, unanswered: 12 });
    desk.take(12);
    expect([desk.sent.length, desk.window.counters.dropped]).toEqual([4, 8]);
    desk.ends('unanswered');
    desk.take(4);
    desk.ends('taken');
    desk.take(12);
    expect([desk.window.open, desk.window.counters.dropped]).toEqual([3, 8]);
  });

  it('continues as before when one of several samplers does not answer', () => {
    const desk = new Desk();
    desk.take(12);
    desk.ends('taken');
    desk.nowMs += 199;
    desk.ends('unanswered');
    desk.take(8);
    expect([desk.window.open, desk.window.counters.dropped]).toEqual([3, 0]);
    desk.nowMs += 1;
    desk.ends('unanswered');
    desk.take(4);
    expect([desk.window.open, desk.window.counters.dropped]).toEqual([2, 4]);
  });

  it('drops further samples after a batch without an answer, while other batches are in flight', () => {
    const desk = new Desk();
    desk.take(12);
    desk.ends('unanswered');
    desk.take(4);
    expect([desk.waiting, desk.window.counters.dropped]).toEqual([0, 4]);
  });

  it('counts a refused batch as dropped and continues', () => {
    const desk = new Desk();
    desk.take(2);
    desk.ends('refused');
    desk.take(2);
    desk.ends('taken');
    expect(desk.window.counters).toEqual({ delivered: 2, dropped: 2, unanswered: 0 });
  });

  it('counts every sample, whatever happens in whatever order', () => {
    const outcomes = ['taken', 'taken', 'unanswered', 'absent', 'refused'] as const;
    let seed = 1;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const desk = new Desk();
    for (let i = 0; i < 20_000; i++) {
      desk.nowMs += random(60);
      if (desk.window.open > 0 && random(2) === 0) desk.ends(outcomes[random(5)] as BatchOutcome);
      else desk.take(random(9));
    }
    while (desk.window.open > 0) desk.ends('taken');
    expect(desk.waiting).toBe(0);
    expect(desk.sent.flat()).toEqual(desk.sent.flat().toSorted((a, b) => a - b));
    expect(Object.values(desk.window.counters).every((count) => count > 1000)).toBe(true);
  });
});

describe('losses', () => {
  it('are shown until a minute has passed without another', () => {
    const losses = new Losses();
    expect(losses.recent(0n, 0)).toBe(0n);
    expect(losses.recent(5n, 1000)).toBe(5n);
    expect(losses.recent(5n, 60_000)).toBe(5n);
    expect(losses.recent(8n, 60_500)).toBe(8n);
    expect(losses.recent(8n, 61_000)).toBe(3n);
    expect(losses.recent(8n, 120_499)).toBe(3n);
    expect(losses.recent(8n, 120_500)).toBe(0n);
  });

  it('that never end are stored by the second', () => {
    const losses = new Losses();
    for (let ms = 0; ms < 200_000; ms++) losses.recent(BigInt(ms + 1), ms);
    expect(losses.size).toBeLessThanOrEqual(61);
    expect(Math.abs(Number(losses.recent(200_000n, 200_000)) - 60_000)).toBeLessThan(1100);
  });
});
