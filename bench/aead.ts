// SPDX-License-Identifier: Apache-2.0
// The limit: the rates at which libipsec-mb and OpenSSL encrypt and decrypt on this core by direct calls, for both
// key sizes, and the cost of our interface over the faster one. The ratio is that of the row's library to raw
// libipsec-mb.
import { perSecond, row } from './shared/figure.js';
import { runNativeTwice } from './shared/programs.js';
import { optionsOf, report } from './shared/result.js';

interface Line {
  library: string;
  keyBits: number;
  direction: string;
  octets: number;
  ns: number[];
}

const { json } = optionsOf({});
const lines = runNativeTwice<Line>('aead');
const limits = new Map<string, Line>();
const caseOf = ({ keyBits, direction, octets }: Line) => `${keyBits} ${direction} ${octets}`;
for (const line of lines) if (!limits.has(caseOf(line))) limits.set(caseOf(line), line);

report(
  {
    bench: 'aead',
    unit: 'million packets a second on one core',
    against: 'raw libipsec-mb, headers written a burst ahead',
    rows: lines.map((line) => {
      const { keyBits, direction, octets, library } = line;
      const limit = limits.get(caseOf(line)) as Line;
      return row({ keyBits, direction, octets, library }, perSecond(line.ns), perSecond(limit.ns));
    }),
  },
  json,
);
