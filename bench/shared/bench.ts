// SPDX-License-Identifier: Apache-2.0
// What the benches share: the machine's description, medians with their noise, running a native measurement, and
// one form of result. A row says what was measured, our figure, that of the limit or peer measured by turns with it,
// and the ratio, which is always better when greater. `--json FILE` writes what is printed.
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fromPackageRoot } from '../../services/shared/package_root.js';

/** A median, and how far half of the rounds lie from it at most, in percent of it. */
export interface Figure {
  median: number;
  noisePercent: number;
}

export interface Row {
  /** The case, by the names of the table's first columns. */
  what: Record<string, string | number>;
  ours: Figure;
  against: Figure;
  ratio: number;
  /** The ratio to reach, where one is set. */
  reach?: number;
}

export interface Report {
  bench: string;
  /** Of `ours` and `against`. */
  unit: string;
  /** What `against` is. */
  against: string;
  rows: Row[];
  notes?: string[];
  versions?: Record<string, string>;
}

export function figure(rounds: readonly number[]): Figure {
  const middle = (values: readonly number[]) =>
    [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
  const median = middle(rounds);
  const spread = middle(rounds.map((value) => Math.abs(value - median)));
  return { median, noisePercent: Number(((100 * spread) / median).toFixed(1)) };
}

/** Millions a second, of nanoseconds each. */
export const perSecond = (ns: readonly number[]): Figure => figure(ns.map((each) => 1e3 / each));

function version(debianPackage: string): string {
  try {
    return execFileSync('dpkg-query', ['--show', debianPackage], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .trim()
      .split('\t')[1] as string;
  } catch {
    return 'unknown';
  }
}

function machine(): Record<string, string | number> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    kernel: release(),
    node: process.version,
    dpdk: version('librte-ethdev23'),
    ipsecMb: version('libipsec-mb1'),
    openssl: version('libssl3'),
  };
}

/** Builds a measurement of bench/native and returns the path of its program. */
export function nativeBench(name: string): string {
  const build = fromPackageRoot('build/native');
  const target = `${name}_bench`;
  execFileSync('ninja', ['-C', build, '--quiet', target], { stdio: ['ignore', 'ignore', 'inherit'] });
  return join(build, target);
}

/** Runs a measurement of bench/native and returns the lines that it printed. */
export function runNative<T>(name: string, args: readonly string[] = []): T[] {
  const printed = execFileSync(nativeBench(name), args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 << 20,
  });
  return printed
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as T);
}

const digits = (value: number): string => Number(value.toPrecision(4)).toLocaleString('en');
const shown = ({ median, noisePercent }: Figure): string => `${digits(median)} ±${noisePercent} %`;

/** Prints the table and, with --json, writes it. A ratio that is not reached shows, and fails nothing. */
export function report(result: Report): void {
  const { values: options } = parseArgs({ options: { json: { type: 'string' } }, strict: false });
  const where = { ...machine(), ...result.versions };
  console.log(
    Object.entries(where)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
  );
  console.log(`${result.bench}: ours against ${result.against}, ${result.unit}; ± half of the rounds`);
  console.table(
    result.rows.map(({ what, ours, against, ratio, reach }) => ({
      ...what,
      ours: shown(ours),
      against: shown(against),
      ratio: Number(ratio.toFixed(3)),
      ...(reach === undefined ? {} : { reach: `${ratio >= reach ? 'reaches' : 'MISSES'} ${reach}` }),
    })),
  );
  for (const note of result.notes ?? []) console.log(note);
  if (typeof options.json === 'string') {
    writeFileSync(options.json, `${JSON.stringify({ machine: where, ...result }, null, 2)}\n`);
  }
}

/** Whether a Debian package of this name is installed, or could be installed now. Says what it installs. */
export function install(debianPackage: string, file: string): boolean {
  if (existsSync(file)) return true;
  console.log(`bench: installs by apt: ${debianPackage}`);
  try {
    execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', debianPackage], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  } catch {
    return false;
  }
  return existsSync(file);
}
