// SPDX-License-Identifier: Apache-2.0
// The programs that benches run: measurements of bench/native, which are built when they are wanted, and peers and
// tools of Debian's packages, which are installed when they are missing.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fromPackageRoot } from '../../services/shared/package_root.js';
import { refuse } from './result.js';

/** Builds a measurement of bench/native and returns the path of its program. Ends the bench where that fails. */
export function nativeBench(name: string): string {
  const build = fromPackageRoot('build/native');
  const target = `${name}_bench`;
  try {
    execFileSync('ninja', ['-C', build, '--quiet', target], { stdio: ['ignore', 'pipe', 'inherit'] });
  } catch (error) {
    process.stderr.write((error as { stdout?: Buffer }).stdout ?? '');
    refuse(`bench/native/${name}.cc does not build`);
  }
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

/**
 * Runs it twice, with all rounds of a case in one line: what moves slowly, as the load of others does, is then in
 * the noise of each case.
 */
export function runNativeTwice<T extends object>(name: string): T[] {
  const [first, second] = [runNative<T>(name), runNative<T>(name)];
  return first.map((line, i) => {
    const again = Object.entries(second[i] ?? {}) as [keyof T, T[keyof T]][];
    const rounds = again.flatMap(([key, value]) =>
      Array.isArray(value) ? [[key, [...(line[key] as unknown[]), ...value]]] : [],
    );
    return { ...line, ...Object.fromEntries(rounds) };
  });
}

/** Whether a Debian package with this file is installed, or could be installed now. Says what it installs. */
export function install(debianPackage: string, file: string): boolean {
  if (existsSync(file)) return true;
  console.log(`bench: installs by apt: ${debianPackage}`);
  const apt = (...args: string[]) =>
    execFileSync('apt-get', args, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  try {
    apt('update', '-qq');
    apt('install', '-y', '-qq', '--no-install-recommends', debianPackage);
  } catch {
    return false;
  }
  return existsSync(file);
}
