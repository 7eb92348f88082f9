// SPDX-License-Identifier: Apache-2.0
// The performance goals, and the rows of the benches that decide whether each is reached. The ratio to reach is in the
// rows; this file has the text for readers and the number that a row shows.
import type { Row } from '../shared/figure.js';
import type { Recorded } from '../shared/result.js';

export interface Goal {
  what: string;
  reach: string;
  bench: string;
  counts: (what: Row['what']) => boolean;
  /** The number that is shown; the ratio by default. */
  shows?: (row: Row) => string;
}

const ours =
  (unit: string, scale = 1) =>
  (row: Row) =>
    `${(row.ours.median / scale).toPrecision(3)} ${unit}`;
const directions = ['encrypt', 'decrypt'];
const wire = (measure: string, beside: string) => (what: Row['what']) =>
  what.measure === measure && what.beside === beside;
const begins = (words: string) => (what: Row['what']) => `${what.what}`.startsWith(words);

export const goals: readonly Goal[] = [
  ...[
    { octets: 1420, reach: '0.75' },
    { octets: 64, reach: '0.6' },
  ].flatMap(({ octets, reach }) =>
    directions.map((direction) => ({
      what: `engine / aead, ${direction}, ${octets} octets, versions 0 and 1`,
      reach,
      bench: 'engine',
      counts: (what: Row['what']) =>
        what.of === 'aead' && what.octets === octets && what.flows === 1 && what.direction === direction,
    })),
  ),
  ...['1420', 'imix', '64'].map((mix) => ({
    what: `engine / ipsec-secgw, ${mix === 'imix' ? 'IMIX' : `${mix} octets`}`,
    reach: '1.2',
    bench: 'secgw',
    counts: ({ packets }: Row['what']) => packets === mix,
  })),
  ...directions.map((direction) => ({
    what: `a million flows in random order / one flow, ${direction}`,
    reach: '0.5',
    bench: 'engine',
    counts: (what: Row['what']) => what.of === 'one flow' && what.direction === direction,
  })),
  ...[1, 1000, 1_000_000].map((flows) => ({
    what: `two lcores / one, ${flows === 1 ? 'one flow' : `${flows.toLocaleString('en')} flows`}`,
    reach: '1.8',
    bench: 'engine',
    counts: (what: Row['what']) => what.of === 'one lcore' && what.flows === flows,
  })),
  {
    what: '10 million flows, resident',
    reach: 'at most 4 GB',
    bench: 'flows',
    counts: begins('10 million flows'),
    shows: ours('GB', 1e9),
  },
  {
    what: 'installs in the engine',
    reach: 'at least 1 million/s',
    bench: 'flows',
    counts: begins('installs'),
    shows: ours('million/s'),
  },
  {
    what: 'longest turn among a million flows, with commands and a rotation',
    reach: 'at most 100 us',
    bench: 'turns',
    counts: begins('longest turn'),
    shows: ours('us'),
  },
  {
    what: 'TCP, one stream / nebula 1.9 of 2024',
    reach: '10',
    bench: 'wire',
    counts: wire('TCP, 1 stream, Gb/s', 'nebula'),
  },
  ...[
    { what: 'TCP, one stream', reach: '3', measure: 'TCP, 1 stream, Gb/s' },
    { what: 'TCP, eight streams', reach: '3', measure: 'TCP, 8 streams, Gb/s' },
    { what: 'UDP received', reach: '2', measure: 'UDP received, Gb/s' },
  ].map(({ what, reach, measure }) => ({
    what: `${what} / wireguard-go of 2023`,
    reach,
    bench: 'wire',
    counts: wire(measure, 'wireguard-go'),
  })),
  {
    what: 'TCP, one stream / bare veth',
    reach: '0.5',
    bench: 'wire',
    counts: wire('TCP, 1 stream, Gb/s', 'bare veth'),
  },
  {
    what: 'CPU seconds for a GiB: wireguard-go’s of 2023 / ours',
    reach: '3',
    bench: 'wire',
    counts: wire('own CPU, s/GiB', 'wireguard-go'),
  },
  ...['nebula', 'wireguard-go'].map((peer) => ({
    what: `request and response, p50: ${peer}’s / ours`,
    reach: '1',
    bench: 'wire',
    counts: wire('request p50, us', peer),
  })),
  {
    what: 'datagrams that arrive while both gateways rotate each second',
    reach: 'all',
    bench: 'rotation',
    counts: begins('datagrams that arrive, 100 flows'),
  },
  {
    what: 'datagrams that arrive while a gateway with 10 000 tunnels rotates',
    reach: 'all',
    bench: 'rotation',
    counts: begins('datagrams that arrive, 10 000 tunnels'),
  },
  {
    what: 'rotation with 10 000 tunnels under traffic',
    reach: 'at most 2 s',
    bench: 'rotation',
    counts: begins('rotation with 10 000 tunnels'),
    shows: ours('s'),
  },
  {
    what: 'idle with two ports',
    reach: 'less than 2 % of a core',
    bench: 'cpu',
    counts: begins('idle'),
    shows: ours('% of a core'),
  },
  {
    what: 'first packet of a new tunnel, compared with the bare hops of its key exchange',
    reach: 'at most 1.5 x',
    bench: 'first_packet',
    counts: begins('first packet, against the bare hops'),
    shows: ({ ratio }) => `${(1 / ratio).toFixed(2)} x`,
  },
  {
    what: 'delay of the first packet after idle, compared with a busy engine',
    reach: 'at most 100 us',
    bench: 'cpu',
    counts: begins('first packet after 10 ms, us, against the bound'),
    // The limit is 100 us above the figure of the busy engine.
    shows: ({ ours: { median }, against }) => `${(median - (against.median - 100)).toFixed(0)} us`,
  },
  ...[
    { what: 'first tunnel after a SIGKILL', reach: 'at most 3 s', measure: 'first tunnel carries' },
    { what: 'all of 1000 tunnels after a SIGKILL', reach: 'at most 10 s', measure: 'all tunnels carry' },
    {
      what: 'longest silence of a tunnel after that',
      reach: 'at most 3 s',
      measure: 'longest silence of a tunnel',
    },
    {
      what: 'flows that missed without a bus, after its return',
      reach: 'at most 2 s',
      measure: 'all missed flows carry',
    },
  ].map(({ measure, ...goal }) => ({
    ...goal,
    bench: 'recovery',
    counts: (what: Row['what']) => what.measure === measure,
    shows: ours('s', 1000),
  })),
  {
    what: 'datagrams of established flows that arrive while the bus is away',
    reach: '100 %',
    bench: 'recovery',
    counts: (what) => `${what.measure}`.startsWith('datagrams of established flows'),
    shows: ours('%'),
  },
];

export interface Judged extends Goal {
  rows: Row[];
  /** Absent if nothing was measured. */
  reached?: boolean;
  figure: string;
  noisePercent: number;
  /** The smallest ratio of a row to its goal; 1 means reached. */
  least: number;
}

/** The goal with its measured rows. */
export function judge(goal: Goal, results: ReadonlyMap<string, Recorded>): Judged {
  const result = results.get(goal.bench);
  const rows = result?.rows.filter(({ what }) => goal.counts(what)) ?? [];
  if (rows.length === 0) {
    const figure = `not measured${result?.skipped === undefined ? '' : `: ${result.skipped}`}`;
    return { ...goal, rows, figure, noisePercent: 0, least: 0 };
  }
  const sorted = [...rows].sort((a, b) => a.ratio - b.ratio);
  const [worst, best] = [sorted[0] as Row, sorted.at(-1) as Row];
  const show = goal.shows ?? (({ ratio }: Row) => ratio.toFixed(2));
  const figure = rows.length === 1 ? show(worst) : `${show(worst)} to ${show(best)}`;
  const least = Math.min(...rows.map(({ ratio, reach = 1 }) => ratio / reach));
  const noisePercent = Math.max(...rows.map((row) => row.ratioNoisePercent));
  return { ...goal, rows, figure, noisePercent, least, reached: least >= 1 };
}
