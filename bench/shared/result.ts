// SPDX-License-Identifier: Apache-2.0
// The result of a bench: a table with our figure, the limit or other program measured in alternation with it, and the
// ratio, below a line with the machine and the versions. With `--json FILE` it is also written as JSON, from which
// docs/performance.md is generated.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { dirname, resolve } from 'node:path';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import type { Figure, Row } from './figure.js';
import type { Profile } from './profile.js';

export interface Result {
  bench: string;
  /** The unit of `ours` and `against`. */
  unit: string;
  /** The meaning of `against`. */
  against: string;
  rows: Row[];
  notes?: string[];
  /** Versions of the compared programs. */
  versions?: Record<string, string>;
  /** One profile for each case that was profiled. */
  profiles?: Profile[];
  /** The reason why nothing was measured. */
  skipped?: string;
}

/** The result as written, with the day, the commit and the machine. */
export interface Recorded extends Result {
  measured: string;
  revision: string;
  machine: Record<string, string | number>;
}

const output = (program: string, ...args: string[]): string | undefined => {
  try {
    const stdio = ['ignore', 'pipe', 'ignore'] as ('ignore' | 'pipe')[];
    return execFileSync(program, args, { cwd: fromPackageRoot('.'), encoding: 'utf8', stdio }).trim();
  } catch {
    return undefined;
  }
};

/** The measured commit. Files that the benches themselves write under docs do not count as a change. */
function revision(): string {
  const changed = output('git', 'status', '--porcelain', '--', '.', ':!docs');
  return `${output('git', 'rev-parse', '--short', 'HEAD') ?? 'unknown'}${changed === '' ? '' : ' with changes'}`;
}

/** Version of an installed Debian package. */
export const versionOf = (debianPackage: string): string =>
  output('dpkg-query', '--show', '--showformat=$' + '{Version}', debianPackage) ?? 'unknown';

const machine = (): Recorded['machine'] => ({
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  kernel: release(),
  node: process.version,
  dpdk: versionOf('librte-ethdev23'),
  ipsecMb: versionOf('libipsec-mb1'),
  openssl: versionOf('libssl3'),
});

/** Prints one line and exits. */
export function refuse(message: string): never {
  console.error(`bench: ${message}`);
  process.exit(2);
}

/** Parses the command line: `--json FILE` and the bench's own options. Unknown options are refused. */
export function optionsOf<T extends NonNullable<ParseArgsConfig['options']>>(own: T) {
  try {
    const { values } = parseArgs({ options: { json: { type: 'string' }, ...own } });
    const { json } = values as { json?: string };
    if (json !== undefined && !existsSync(dirname(resolve(json)))) refuse(`no folder for --json ${json}`);
    return values;
  } catch (error) {
    return refuse(`${(error as Error).message.split('. ')[0]}`);
  }
}

/** An integer of at least 1 from the command line. */
export function countOf(name: string, value: string): number {
  if (!/^[1-9]\d*$/.test(value)) refuse(`--${name} takes a number from 1 on, not '${value}'`);
  return Number(value);
}

/** One line per row, so that a diff shows each change. */
const asJson = (recorded: Recorded): string => {
  const rows = (list: readonly unknown[]) => list.map((one) => `\n    ${JSON.stringify(one)}`).join(',');
  const fields = Object.entries(recorded).map(([name, value]) =>
    Array.isArray(value)
      ? `  "${name}": [${rows(value)}${value.length === 0 ? '' : '\n  '}]`
      : `  "${name}": ${JSON.stringify(value)}`,
  );
  return `{\n${fields.join(',\n')}\n}\n`;
};

export const readResult = (file: string): Recorded => JSON.parse(readFileSync(file, 'utf8')) as Recorded;

const digits = (value: number): string => Number(value.toPrecision(4)).toLocaleString('en');
export const shown = ({ median, noisePercent, rounds }: Figure): string =>
  rounds === 1 ? digits(median) : `${digits(median)} ±${noisePercent} %`;

const isMissed = ({ ratio, reach }: Row): boolean => reach !== undefined && ratio < reach;

/** For a bench whose limits apply to every machine: a ratio that is not reached ends it with exit code 1. */
export function endByGoals(rows: readonly Row[]): void {
  if (rows.some(isMissed)) process.exitCode = 1;
}

/** Prints the table and, if a file is given, writes it. Marks each ratio that is not reached. */
export function report(result: Result, json?: string): void {
  const where = { ...machine(), ...result.versions };
  const line = Object.entries(where).map(([name, value]) => `${name} ${value}`);
  console.log(line.join(', '));
  if (result.skipped !== undefined) console.log(`${result.bench}: skipped, ${result.skipped}`);
  if (result.rows.length > 0) {
    const noise = 'medians, ± nine of ten rounds';
    console.log(`${result.bench}: ours against ${result.against}, ${result.unit}; ${noise}`);
    console.table(result.rows.map(tableRow));
  }
  for (const { name, parts, samples, nsPerPacket } of result.profiles ?? []) {
    const ns = nsPerPacket === undefined ? '' : `${digits(nsPerPacket)} ns each, `;
    console.log(`${result.bench}, ${name}: ${ns}${samples} samples`);
    for (const { part, percent } of parts) console.log(`  ${percent.toFixed(1).padStart(5)} %  ${part}`);
  }
  for (const note of result.notes ?? []) console.log(note);
  if (json === undefined) return;
  const measured = new Date().toISOString().slice(0, 10);
  const { versions: _, ...rest } = result;
  writeFileSync(json, asJson({ ...rest, measured, revision: revision(), machine: where }));
}

function tableRow(one: Row) {
  const { what, ours, against, ratio, ratioNoisePercent, reach } = one;
  return {
    ...what,
    ours: shown(ours),
    against: shown(against),
    ratio: `${ratio.toFixed(3)} ±${ratioNoisePercent} %`,
    ...(reach === undefined ? {} : { reach: `${isMissed(one) ? 'MISSES' : 'reaches'} ${reach}` }),
  };
}
