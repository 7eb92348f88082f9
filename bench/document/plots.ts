// SPDX-License-Identifier: Apache-2.0
// One function for each plot of docs/performance, from the JSON of the benches.
import type { Figure, Row } from '../shared/figure.js';
import type { Recorded } from '../shared/result.js';
import { goals, judge } from './goals.js';
import { type Bar, bars, type Group, shares } from './svg.js';

type Results = ReadonlyMap<string, Recorded>;

const rowsOf = (results: Results, bench: string): Row[] => results.get(bench)?.rows ?? [];
const barOf = (label: string, { median, noisePercent }: Figure, more: Partial<Bar> = {}): Bar => ({
  label,
  value: median,
  noisePercent,
  ...more,
});
/** One group for each distinct name, in order of first occurrence. */
const grouped = <T>(all: readonly T[], name: (one: T) => string, bars: (own: T[]) => Bar[]): Group[] =>
  [...new Set(all.map(name))].map((group) => ({
    name: group,
    bars: bars(all.filter((one) => name(one) === group)),
  }));
const sizes = ({ octets }: Row['what']) => `${octets} octets`;

function reach(results: Results): string {
  const measured = goals.map((goal) => judge(goal, results)).filter(({ reached }) => reached !== undefined);
  const drawn = measured.map(({ what, least, noisePercent }) => ({
    label: '',
    name: what,
    value: least,
    noisePercent,
    ours: true,
    reaches: [1],
  }));
  const groups = drawn.map(({ name, ...bar }) => ({ name, bars: [bar] }));
  return bars('Results relative to their goals', 'times the goal', groups, 3);
}

function aead(results: Results): string {
  const rows = rowsOf(results, 'aead').filter(({ what }) => what.keyBits === 128);
  const groups = grouped(
    rows,
    ({ what }) => `${what.direction}, ${sizes(what)}`,
    (own) =>
      own.map(({ what, ours }) =>
        barOf(`${what.library}`.replace(', header right before', ', header late'), ours, {
          ours: what.library === 'our interface',
        }),
      ),
  );
  return bars('AES-GCM-128 on one core: the limit', 'million packets a second', groups);
}

function engine(results: Results): string {
  const rows = rowsOf(results, 'engine').filter(({ what }) => what.of === 'aead' && what.flows === 1);
  const groups = grouped(
    rows,
    ({ what }) => `${what.direction}, version ${what.version}`,
    (own) =>
      own.map(({ what, ratio, ratioNoisePercent, reach }) => ({
        label: sizes(what),
        value: ratio,
        noisePercent: ratioNoisePercent,
        ours: true,
        ...(reach === undefined ? {} : { reaches: [reach] }),
      })),
  );
  return bars('The whole engine without I/O, one flow', 'share of the AEAD alone', groups);
}

function engineFlows(results: Results): string {
  const rows = rowsOf(results, 'engine').filter(({ what }) => what.of === 'aead' && what.version === 0);
  const groups = grouped(
    rows,
    ({ what }) => `${what.direction}, ${sizes(what)}`,
    (own) => {
      const one = own.find(({ what }) => what.flows === 1) as Row;
      return own.map(({ what, ours }) =>
        barOf(what.flows === 1 ? 'one flow' : `${Number(what.flows).toLocaleString('en')} flows`, ours, {
          ours: true,
          ...(what.flows === 1_000_000 ? { reaches: [one.ours.median / 2] } : {}),
        }),
      );
    },
  );
  return bars('Flows in random order, version 0', 'million packets a second', groups);
}

function secgw(results: Results): string {
  const groups = rowsOf(results, 'secgw').map(({ what, ours, against, reach = 1 }) => ({
    name: `${what.direction}, ${what.packets === 'imix' ? 'IMIX' : `${what.packets} octets`}`,
    bars: [
      barOf('this gateway', ours, { ours: true, reaches: [against.median * reach] }),
      barOf('ipsec-secgw', against),
    ],
  }));
  return bars('One core against DPDK’s ipsec-secgw', 'million packets a second', groups);
}

/** Bars of this gateway and of each carrier, for measures of one unit. For a cost, less than the mark is better. */
function wire(results: Results, title: string, unit: string, measures: Record<string, string>): string {
  const groups = Object.entries(measures).flatMap(([measure, name]): Group[] => {
    const rows = rowsOf(results, 'wire').filter(({ what }) => what.measure === measure);
    const [first] = rows;
    if (first === undefined) return [];
    const reaches = rows.flatMap(({ against, reach }) =>
      reach === undefined ? [] : [first.costs ? against.median / reach : against.median * reach],
    );
    const others = rows.map(({ what, against }) => barOf(`${what.beside}`, against));
    return [{ name, bars: [barOf('this gateway', first.ours, { ours: true, reaches }), ...others] }];
  });
  return bars(title, unit, groups);
}

/** Parts below four percent are shown as one. */
function profile(results: Results, bench: string, title: string): string {
  const profiles = results.get(`${bench}_profile`)?.profiles ?? [];
  const least = 4;
  const stacks = profiles.map(({ name, parts }) => {
    const large = parts.filter(({ part, percent }) => percent >= least && part !== 'the rest');
    const rest = 100 - large.reduce((sum, { percent }) => sum + percent, 0);
    return { name, parts: [...large, { part: 'smaller parts', percent: Number(rest.toFixed(1)) }] };
  });
  return shares(title, stacks);
}

/** All plots by file name without its ending. */
export const plots: Record<string, (results: Results) => string> = {
  reach,
  aead,
  engine,
  engine_flows: engineFlows,
  secgw,
  wire_throughput: (results) =>
    wire(results, 'Through two gateways over veth', 'Gb/s', {
      'TCP, 1 stream, Gb/s': 'TCP, one stream',
      'TCP, 8 streams, Gb/s': 'TCP, eight streams',
      'UDP received, Gb/s': 'UDP, datagrams of 1300 octets, received',
    }),
  wire_cost: (results) =>
    wire(results, 'Processor time of one TCP stream: less is better', 'seconds per GiB', {
      'own CPU, s/GiB': 'of the gateways’ processes',
      'machine CPU, s/GiB': 'of the whole machine, hosts included',
    }),
  wire_latency: (results) =>
    wire(results, 'Round trips: less is better', 'microseconds', {
      'ping p50, us': 'ping, p50',
      'request p50, us': 'request and response over TCP, p50',
    }),
  engine_profile: (results) => profile(results, 'engine', 'Where the engine’s time goes'),
  secgw_profile: (results) =>
    profile(results, 'secgw', 'Where the time goes on one core, ours and ipsec-secgw'),
  wire_profile: (results) => profile(results, 'wire', 'Where the time goes under one TCP stream'),
};
