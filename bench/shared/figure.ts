// SPDX-License-Identifier: Apache-2.0
// A measured figure is the median of several rounds with its noise: how far from the median nine of ten rounds lie at
// most (of fewer than ten: all). A ratio of two figures is as noisy as both together.

export interface Figure {
  median: number;
  /** In percent of the median. */
  noisePercent: number;
  /** How many the median is of; 1 for a bound, which is not measured. */
  rounds: number;
}

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] as number;

/** Of several measurements that make one round. */
export const median = (values: readonly number[]): number => quantile(values, 0.5);

export function figure(rounds: readonly number[]): Figure {
  const middle = median(rounds);
  const distance = quantile(
    rounds.map((value) => Math.abs(value - middle)),
    0.9,
  );
  const noisePercent = middle === 0 ? 0 : Number(((100 * distance) / middle).toFixed(1));
  return { median: Number(middle.toPrecision(6)), noisePercent, rounds: rounds.length };
}

/** Millions a second, of nanoseconds each. */
export const perSecond = (ns: readonly number[]): Figure => figure(ns.map((each) => 1e3 / each));

/** A bound to keep, or a number that is counted. */
export const exact = (value: number): Figure => ({ median: value, noisePercent: 0, rounds: 1 });

export interface Row {
  /** The case, by the names of the table's first columns; none of them is called ours, against or ratio. */
  what: Record<string, string | number>;
  ours: Figure;
  against: Figure;
  /** Always better when greater. */
  ratio: number;
  ratioNoisePercent: number;
  /** Less is better: the ratio is theirs by ours. */
  costs?: true;
  /** The ratio to reach, where one is set. */
  reach?: number;
}

/** A row of the table. Where the figures are costs, theirs is divided by ours. */
export function row(
  what: Row['what'],
  ours: Figure,
  against: Figure,
  { costs = false, reach }: { costs?: boolean; reach?: number | undefined } = {},
): Row {
  const [above, below] = costs ? [against, ours] : [ours, against];
  return {
    what,
    ours,
    against,
    ratio: Number((above.median / below.median).toPrecision(4)),
    ratioNoisePercent: Number((ours.noisePercent + against.noisePercent).toFixed(1)),
    ...(costs ? { costs } : {}),
    ...(reach === undefined ? {} : { reach }),
  };
}
