// SPDX-License-Identifier: Apache-2.0
// The longest turn of a polling lcore with a million flows and both ports saturated, while commands of a thousand
// entries and a rotation run beside the packets, in the engine alone. A receive queue of 1024 packets holds 2 million
// packets a second for 500 us. Rows against the limit show by what factor it is kept.
import { exact, figure, type Row, row } from './shared/figure.js';
import { runNative } from './shared/programs.js';
import { optionsOf, report } from './shared/result.js';

interface Line {
  what: string;
  flows: number;
  turns: number;
  medianNs: number[];
  mostNs: number[];
  longestNs: number[];
}

const mostUs = 100;
const us = (ns: readonly number[]) => figure(ns.map((each) => each / 1e3));

const { json } = optionsOf({});
const lines = runNative<Line>('turns');
const rows: Row[] = lines.flatMap(({ what, medianNs, mostNs, longestNs }) => [
  row({ what: `longest turn, ${what}` }, us(longestNs), exact(mostUs), { costs: true, reach: 1 }),
  row({ what: `99.99 % of turns, ${what}` }, us(mostNs), exact(mostUs), { costs: true }),
  row({ what: `median turn, ${what}` }, us(medianNs), exact(mostUs), { costs: true }),
]);
const longest = lines.map(
  ({ what, turns, longestNs }) =>
    `${what}: of ${turns.toLocaleString('en')} turns in ${longestNs.length} rounds the longest took ` +
    `${(Math.max(...longestNs) / 1e3).toFixed(0)} us`,
);

report(
  {
    bench: 'turns',
    unit: 'us of processor time, one turn',
    against: 'the bound',
    rows,
    notes: [
      'each figure is the median of the rounds; a turn moves up to 32 packets of either port',
      'interrupts and a hypervisor that take the processor during a turn are in its length',
      ...longest,
    ],
  },
  json,
);
