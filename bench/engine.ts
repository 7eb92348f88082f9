// SPDX-License-Identifier: Apache-2.0
// The engine's whole way without I/O, both directions, as its share of what libipsec-mb alone does with packets of
// the same length: the wire's time is not in it, nor that of the ports in memory, which is measured by turns and
// taken off. Then the rate with a million flows in random order as its share of that with one flow.
import { perSecond, type Row, report, runNative } from './shared/bench.js';

interface Line {
  direction: string;
  version: number;
  octets: number;
  flows: number;
  withPortsNs: number[];
  portsNs: number[];
  aeadNs: number[];
}

const lines = runNative<Line>('engine');
const engineNs = ({ withPortsNs, portsNs }: Line) => withPortsNs.map((ns, i) => ns - (portsNs[i] as number));

const shares = lines.map((line): Row => {
  const [ours, against] = [perSecond(engineNs(line)), perSecond(line.aeadNs)];
  const reach = { 64: 0.6, 1420: 0.75 }[line.octets];
  const { direction, version, octets, flows } = line;
  return {
    what: { direction, version, octets, flows, of: 'aead' },
    ours,
    against,
    ratio: ours.median / against.median,
    ...(flows === 1 && reach !== undefined ? { reach } : {}),
  };
});

const million = lines.flatMap((line): Row[] => {
  if (line.flows !== 1_000_000) return [];
  const { direction, version, octets, flows } = line;
  const isOne = (other: Line) =>
    other.flows === 1 &&
    other.direction === direction &&
    other.version === version &&
    other.octets === octets;
  const [ours, against] = [perSecond(engineNs(line)), perSecond(engineNs(lines.find(isOne) as Line))];
  return [
    {
      what: { direction, version, octets, flows, of: 'one flow' },
      ours,
      against,
      ratio: ours.median / against.median,
      reach: 0.5,
    },
  ];
});

report({
  bench: 'engine',
  unit: 'million packets a second on one core, without I/O',
  against: 'raw libipsec-mb, and one flow',
  rows: [...shares, ...million],
});
