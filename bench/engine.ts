// SPDX-License-Identifier: Apache-2.0
// The rate of the complete engine without I/O in both directions, as a share of the rate of libipsec-mb alone for
// packets of the same length. The ports are in memory; their cost is measured in alternation and subtracted. Then the
// rate with a million flows in random order, as a share of that with one flow and of what the times of a thousand
// flows and of memory access alone allow; and the rate of two lcores as a multiple of that of one, ports included, if
// the machine has two cores. With `--profile` it shows instead where the engine's time goes, case by case, with the
// ports in memory as one of the parts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { figure, perSecond, type Row, row } from './shared/figure.js';
import { type Profile, perfMissing, profile } from './shared/profile.js';
import { nativeBench, runNativeTwice } from './shared/programs.js';
import { optionsOf, report } from './shared/result.js';

interface Line {
  direction: string;
  version: number;
  octets: number;
  flows: number;
  withPortsNs: number[];
  portsNs: number[];
  aeadNs: number[];
  /** For many flows: time to read the cache lines that a packet needs of its flow, and nothing else. */
  memoryNs: number[];
}

interface LcoresLine {
  direction: string;
  version: number;
  octets: number;
  flows: number;
  oneNs: number[];
  twoNs: number[];
}

const result = {
  bench: 'engine',
  unit: 'million packets a second on one core, without I/O',
  against: 'raw libipsec-mb, one flow, and one lcore',
};
const profileSeconds = 4;

function measure(): Row[] {
  const lines = runNativeTwice<Line>('engine');
  const engineNs = ({ withPortsNs, portsNs }: Line) =>
    withPortsNs.map((ns, i) => ns - (portsNs[i] as number));
  const rate = (line: Line) => perSecond(engineNs(line));
  const shares = lines.map((line) => {
    const { direction, version, octets, flows } = line;
    const reach = flows === 1 ? { 64: 0.6, 1420: 0.75 }[octets] : undefined;
    const what = { direction, version, octets, flows, of: 'aead' };
    return row(what, rate(line), perSecond(line.aeadNs), { reach });
  });
  const many = lines.flatMap((line) => {
    if (line.flows !== 1_000_000) return [];
    const { direction, version, octets, flows } = line;
    const among = (count: number) =>
      lines.find(
        (other) =>
          other.flows === count &&
          other.direction === direction &&
          other.version === version &&
          other.octets === octets,
      ) as Line;
    const what = { direction, version, octets, flows };
    const thousandNs = figure(engineNs(among(1000))).median;
    return [
      row({ ...what, of: 'one flow' }, rate(line), rate(among(1)), { reach: 0.5 }),
      row(
        { ...what, of: '1000 flows and memory alone' },
        rate(line),
        perSecond(line.memoryNs.map((ns) => thousandNs + ns)),
      ),
    ];
  });
  const lcores = runNativeTwice<LcoresLine>('lcores').map(({ oneNs, twoNs, ...what }) => {
    const { direction, version, octets, flows } = what;
    return row({ direction, version, octets, flows, of: 'one lcore' }, perSecond(twoNs), perSecond(oneNs), {
      reach: 1.8,
    });
  });
  return [...shares, ...many, ...lcores];
}

/** Runs one case for as long as it is profiled. */
async function profileOf(direction: string, octets: number, flows: number): Promise<Profile> {
  const args = ['profile', direction, '0', `${octets}`, `${flows}`];
  const child = spawn(nativeBench('engine'), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const ns: number[] = [];
    child.stdout.on('data', (chunk: Buffer) => {
      for (const [, each] of `${chunk}`.matchAll(/"withPortsNs":([\d.]+)/g)) ns.push(Number(each));
    });
    await once(child.stdout, 'data');
    const many = flows === 1 ? 'one flow' : `${flows.toLocaleString('en')} flows`;
    const found = profile(`${direction}, ${octets} octets, ${many}`, [child.pid as number], profileSeconds);
    // Output that it printed meanwhile.
    await once(child.stdout, 'data');
    return { ...found, nsPerPacket: figure(ns).median };
  } finally {
    child.kill('SIGKILL');
  }
}

const { json, profile: profiles } = optionsOf({ profile: { type: 'boolean' } });
if (profiles === true) {
  const skipped = perfMissing();
  const cases: Profile[] = [];
  if (skipped === undefined) {
    for (const [octets, flows] of [
      [64, 1],
      [1420, 1],
      [64, 1_000_000],
    ] as const) {
      for (const direction of ['encrypt', 'decrypt']) cases.push(await profileOf(direction, octets, flows));
    }
  }
  report({ ...result, rows: [], profiles: cases, ...(skipped === undefined ? {} : { skipped }) }, json);
} else {
  const rows = measure();
  const alone = rows.some(({ what }) => what.of === 'one lcore')
    ? []
    : ['two lcores: skipped, the machine has one core'];
  report({ ...result, rows, notes: alone }, json);
}
