// SPDX-License-Identifier: Apache-2.0
// What flows cost by number, in the engine alone: ten million installed, looked up in random order beside plain reads
// of as much memory, replaced while others send, and a million offers. Rows against a bound say by what factor it is
// kept; the others are ratios of rates measured by turns.
import { type Figure, figure, perSecond, type Row, report, runNative } from './shared/bench.js';

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

const lines = new Map(runNative<Line>('flows').map((line) => [line.what, line]));
const line = (what: string) => lines.get(what) as Line;
const exact = (median: number): Figure => ({ median, noisePercent: 0 });
const atMost = (what: string, ours: number, bound: number): Row => ({
  what: { what },
  ours: exact(ours),
  against: exact(bound),
  ratio: bound / ours,
  reach: 1,
});

const installs = perSecond(line('install').ns);
const lookUps = perSecond(line('look-up').ns);
const reads = perSecond(line('look-up').readNs);
const change = line('change');
const changes = perSecond(
  change.withNs.map((ns, i) => (ns - (change.withoutNs[i] as number)) / change.changed),
);
const [slowed, alone] = [figure(change.withNs), figure(change.withoutNs)];
const million = line('memory').flows / 1e6;

report({
  bench: 'flows',
  unit: 'millions a second, or octets',
  against: 'the bound, or what the row names',
  rows: [
    atMost(`${million} million flows resident, octets`, line('memory').resident, mostOctets),
    {
      what: { what: 'installs, against the bound' },
      ours: installs,
      against: exact(installsPerS),
      ratio: installs.median / installsPerS,
      reach: 1,
    },
    {
      what: { what: 'look-ups, against reads of as much memory' },
      ours: lookUps,
      against: reads,
      ratio: lookUps.median / reads.median,
    },
    {
      what: { what: `flows replaced, ${change.changed} after each burst` },
      ours: changes,
      against: installs,
      ratio: changes.median / installs.median,
    },
  ],
  notes: [
    `each flow: ${Math.round(line('memory').each)} octets`,
    `each of a million offers: 0 octets of keys, ${Math.round(line('offers').each)} of ACL`,
    `a burst with those changes takes ${(slowed.median / alone.median).toFixed(2)} of its time without`,
  ],
});
