// SPDX-License-Identifier: Apache-2.0
// A measured figure is the median of several rounds with its noise: the distance from the median within which nine of
// ten rounds lie (with fewer than ten rounds: all). The noise of a ratio is the sum of the noise of its two figures.

export interface Figure {
  median: number;
  /** In percent of the median. */
  noisePercent: number;
  /** The number of rounds of the median; 1 for a limit, which is not measured. */
  rounds: number;
}

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] as number;

/** The figure of several measurements that form one round. */
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

/** Converts nanoseconds per item into millions per second. */
export const perSecond = (ns: readonly number[]): Figure => figure(ns.map((each) => 1e3 / each));

/** A limit, or a number that is counted. */
export const exact = (value: number): Figure => ({ median: value, noisePercent: 0, rounds: 1 });

export interface Row {
  /** The case, by the names of the table's first columns. None of them is named ours, against or ratio. */
  what: Record<string, string | number>;
  ours: Figure;
  against: Figure;
  /** True if greater is always better. */
  ratio: number;
  ratioNoisePercent: number;
  /** True if less is better: the ratio is then theirs divided by ours. */
  costs?: true;
  /** The ratio to reach, if one is set. */
  reach?: number;
}

/** A row of the table. For costs, theirs is divided by ours. */
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
