// SPDX-License-Identifier: Apache-2.0
// Generates docs/performance.md and its plots from the JSON of the benches. The text is in template.md; every figure
// comes from the JSON, at a `{{...}}` of the template. The same JSON always gives the same document; a house test
// compares them.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import type { Row } from '../shared/figure.js';
import { type Recorded, readResult, shown } from '../shared/result.js';
import { goals, judge } from './goals.js';
import { plots } from './plots.js';

type Results = ReadonlyMap<string, Recorded>;

/** The results in a folder, by file name without its ending. */
export function readResults(folder: string): Results {
  if (!existsSync(folder)) throw new Error(`no folder ${folder}`);
  const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  if (names.length === 0) throw new Error(`no JSON of benches in ${folder}`);
  return new Map(names.map((name) => [name.replace('.json', ''), readResult(join(folder, name))]));
}

const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

const ratio = ({ ratio: value, ratioNoisePercent }: Row) =>
  `${value < 0.1 ? value.toPrecision(2) : value.toFixed(2)} ±${ratioNoisePercent} %`;

function goalTable(results: Results): string {
  const judged = goals.map((goal) => judge(goal, results));
  const verdict = ({ reached }: { reached?: boolean }) =>
    reached === undefined ? '-' : reached ? 'yes' : '**no**';
  return table(
    ['what', 'to reach', 'figure', 'noise', 'reached'],
    judged.map((one) => {
      const noise = one.reached === undefined ? '-' : `±${one.noisePercent} %`;
      return [one.what, one.reach, one.figure, noise, verdict(one)];
    }),
  );
}

function rowTable(result: Recorded): string {
  const columns = Object.keys(result.rows[0]?.what ?? {});
  return table(
    [...columns, 'ours', 'against', 'ratio', 'to reach'],
    result.rows.map((row) => [
      ...columns.map((column) => row.what[column] ?? ''),
      shown(row.ours),
      shown(row.against),
      ratio(row),
      row.reach ?? '',
    ]),
  );
}

function profileTable(result: Recorded): string {
  const cases = result.profiles ?? [];
  const parts = [...new Set(cases.flatMap((one) => one.parts.map(({ part }) => part)))];
  const percentOf = (one: (typeof cases)[number], part: string) =>
    one.parts.find((other) => other.part === part)?.percent;
  const largest = (part: string) => Math.max(...cases.map((one) => percentOf(one, part) ?? 0));
  const sorted = parts
    .filter((part) => part !== 'the rest')
    .sort((a, b) => largest(b) - largest(a))
    .concat(parts.includes('the rest') ? ['the rest'] : []);
  const cell = (one: (typeof cases)[number], part: string): string => {
    const percent = percentOf(one, part);
    if (percent === undefined) return '';
    const ns = one.nsPerPacket === undefined ? '' : `, ${((one.nsPerPacket * percent) / 100).toFixed(1)} ns`;
    return `${percent} %${ns}`;
  };
  return table(
    ['part', ...cases.map(({ name }) => name)],
    [
      ...sorted.map((part) => [part, ...cases.map((one) => cell(one, part))]),
      ['samples', ...cases.map(({ samples }) => samples)],
    ],
  );
}

/** `share BENCH "CASE" PART`: the sum of all parts of a profile whose name begins with PART. */
function share(result: Recorded, name: string, part: string): string {
  const found = result.profiles?.find((one) => one.name === name);
  if (found === undefined) return '(not measured)';
  const own = found.parts.filter((one) => one.part.startsWith(part));
  return `${own.reduce((sum, { percent }) => sum + percent, 0).toFixed(0)} %`;
}

/** `ratios BENCH WORD...`: the smallest to the largest ratio of the rows that have all the words in their columns. */
function ratios(result: Recorded, words: readonly string[]): string {
  const found = result.rows
    .filter(({ what }) => words.every((word) => Object.values(what).map(String).includes(word)))
    .map(({ ratio }) => ratio);
  if (found.length === 0) return '(not measured)';
  return `${Math.min(...found).toFixed(2)} to ${Math.max(...found).toFixed(2)}`;
}

function machineOf(results: Results): string {
  const described = (one: Recorded) =>
    [
      `${one.machine.cpu}, ${one.machine.cores} cores, Linux ${one.machine.kernel}`,
      `Node ${`${one.machine.node}`.replace('v', '')}, DPDK ${one.machine.dpdk}`,
      `libipsec-mb ${one.machine.ipsecMb}, OpenSSL ${one.machine.openssl}; ${one.measured}, commit ${one.revision}`,
    ].join('; ');
  const all = [...results.values()].map(described);
  return [...new Set(all)].map((line) => `- ${line}`).join('\n');
}

/** The replacement of `{{words}}` in the template. */
function fill(words: string, results: Results): string {
  const [command = '', name = '', ...rest] = [...words.matchAll(/"([^"]*)"|(\S+)/g)].map(
    ([, quoted, bare]) => quoted ?? (bare as string),
  );
  if (command === 'machine') return machineOf(results);
  if (command === 'goals') return goalTable(results);
  if (command === 'plot') return `![${name.replace('_', ' ')}](performance/${name}.svg)`;
  const result = results.get(command === 'profile' || command === 'share' ? `${name}_profile` : name);
  if (result === undefined) return 'Not measured.';
  if (result.skipped !== undefined) return `Not measured: ${result.skipped}.`;
  if (command === 'table') return rowTable(result);
  if (command === 'notes') return (result.notes ?? []).map((note) => `- ${note}`).join('\n');
  if (command === 'profile') return profileTable(result);
  if (command === 'ratios') return ratios(result, rest);
  if (command === 'share') return share(result, rest[0] ?? '', rest[1] ?? '');
  throw new Error(`template.md: nothing stands for {{${words}}}`);
}

/** The document and its plots, by their paths below docs/. */
export function documentOf(results: Results): Map<string, string> {
  const template = readFileSync(fromPackageRoot('bench/document/template.md'), 'utf8');
  const text = template
    .replace(/^<!--[\s\S]*?-->\n/, '')
    .replace(/\{\{(.*?)\}\}/g, (_, words: string) => fill(words, results));
  const drawn = Object.entries(plots).map(([name, draw]): [string, string] => [
    `performance/${name}.svg`,
    draw(results),
  ]);
  return new Map([['performance.md', text], ...drawn]);
}
