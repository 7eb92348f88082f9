// SPDX-License-Identifier: Apache-2.0
// How the benches evaluate measurements: medians, noise, ratios that are better when greater, and goals.
import { describe, expect, it } from 'vitest';
import { goals, judge } from '../../bench/document/goals.js';
import { exact, figure, row } from '../../bench/shared/figure.js';
import { endByGoals, type Recorded } from '../../bench/shared/result.js';

const recorded = (bench: string, rows: Recorded['rows'], skipped?: string): Map<string, Recorded> =>
  new Map([
    [
      bench,
      {
        bench,
        rows,
        unit: '',
        against: '',
        measured: '',
        revision: '',
        machine: {},
        ...(skipped ? { skipped } : {}),
      },
    ],
  ]);

describe('a figure', () => {
  it('is the median, with the distance of the farthest of few rounds as noise', () => {
    expect(figure([10, 12, 9])).toEqual({ median: 10, noisePercent: 20, rounds: 3 });
  });

  it('leaves the farthest tenth of many rounds out of its noise', () => {
    const rounds = [...Array.from({ length: 18 }, () => 100), 95, 300, 1];
    expect(figure(rounds)).toEqual({ median: 100, noisePercent: 5, rounds: 21 });
  });
});

describe('a ratio', () => {
  it('is better when greater, of rates and of costs', () => {
    expect(row({}, exact(6), exact(3)).ratio).toBe(2);
    expect(row({}, exact(3), exact(6), { costs: true }).ratio).toBe(2);
  });

  it('has the sum of the noise of both figures', () => {
    const noisy = (noisePercent: number) => ({ median: 1, noisePercent, rounds: 3 });
    expect(row({}, noisy(2), noisy(3)).ratioNoisePercent).toBe(5);
  });
});

describe('a goal', () => {
  const [goal] = goals.filter(({ what }) => what.startsWith('engine / aead, encrypt, 1420'));
  const way = (ours: number, more: Record<string, string | number> = {}) =>
    row({ of: 'aead', direction: 'encrypt', octets: 1420, flows: 1, ...more }, exact(ours), exact(1), {
      reach: 0.75,
    });

  it('is reached if its smallest row reaches it', () => {
    if (goal === undefined) throw new Error('no such goal');
    expect(judge(goal, recorded('engine', [way(0.75), way(0.9)]))).toMatchObject({
      reached: true,
      figure: '0.75 to 0.90',
    });
    expect(judge(goal, recorded('engine', [way(0.74), way(0.9)]))).toMatchObject({ reached: false });
  });

  it('considers its own rows only', () => {
    if (goal === undefined) throw new Error('no such goal');
    const others = [
      way(0.1, { octets: 64 }),
      way(0.1, { flows: 1000 }),
      way(0.1, { of: 'one flow' }),
      way(0.1, { direction: 'decrypt' }),
    ];
    expect(judge(goal, recorded('engine', [way(0.8), ...others]))).toMatchObject({
      reached: true,
      figure: '0.80',
    });
  });

  it('reports that it was not measured, and why', () => {
    if (goal === undefined) throw new Error('no such goal');
    const judged = judge(goal, recorded('engine', [], 'no such library'));
    expect(judged.figure).toBe('not measured: no such library');
    expect(judged.reached).toBeUndefined();
  });
});

describe('a bench that ends by its goals', () => {
  it('exits with 1 if a ratio is missed, and only then', () => {
    const before = process.exitCode;
    const codeOf = (ours: number, reach?: number) => {
      process.exitCode = 0;
      endByGoals([row({}, exact(ours), exact(10), { reach })]);
      const code = process.exitCode;
      process.exitCode = before;
      return code;
    };
    expect([codeOf(9, 1), codeOf(10, 1), codeOf(9)]).toEqual([1, 0, 0]);
  });
});
