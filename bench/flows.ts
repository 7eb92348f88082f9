// SPDX-License-Identifier: Apache-2.0
// The cost of many flows in the engine alone: ten million are installed, looked up in random order (compared with
// plain reads of as much memory) and replaced while others send, and a million offers are made. Rows against a limit
// show by what factor it is kept; the others are ratios of rates measured in alternation.
import { exact, figure, perSecond, type Row, row } from './shared/figure.js';
import { runNative } from './shared/programs.js';
import { optionsOf, report } from './shared/result.js';

interface Line {
  what: string;
  flows: number;
  ns: number[];
  readNs: number[];
  withNs: number[];
  withoutNs: number[];
  changed: number;
  resident: number;
  each: number;
}

const mostOctets = 4e9;
const installsPerS = 1;

const { json } = optionsOf({});
const lines = new Map(runNative<Line>('flows').map((line) => [line.what, line]));
const line = (what: string) => lines.get(what) as Line;

const installs = perSecond(line('install').ns);
const change = line('change');
const changes = perSecond(
  change.withNs.map((ns, i) => (ns - (change.withoutNs[i] as number)) / change.changed),
);
const [slowed, alone] = [figure(change.withNs), figure(change.withoutNs)];
const memory = line('memory');
const rows: Row[] = [
  row(
    { what: `${memory.flows / 1e6} million flows resident, octets` },
    exact(memory.resident),
    exact(mostOctets),
    { costs: true, reach: 1 },
  ),
  row({ what: 'installs, against the bound' }, installs, exact(installsPerS), { reach: 1 }),
  row(
    { what: 'look-ups, against reads of as much memory' },
    perSecond(line('look-up').ns),
    perSecond(line('look-up').readNs),
  ),
  row({ what: `flows replaced, ${change.changed} after each burst` }, changes, installs),
];

report(
  {
    bench: 'flows',
    unit: 'millions a second, or octets',
    against: 'the bound, or what the row names',
    rows,
    notes: [
      `each flow: ${Math.round(memory.each)} octets`,
      `each of a million offers: 0 octets of keys, ${Math.round(line('offers').each)} of ACL`,
      `a burst with those changes takes ${(slowed.median / alone.median).toFixed(2)} of its time without`,
    ],
  },
  json,
);
