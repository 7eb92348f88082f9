// SPDX-License-Identifier: Apache-2.0
// The programs that benches run: measurements of bench/native, which are built on demand, and tools and compared
// programs from Debian's packages. Missing tools are installed. Compared programs come from a newer Debian release
// than the machine's own, because that release has their newer versions; they are unpacked under build/ and never
// installed.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { refuse } from './result.js';

/** Builds a measurement of bench/native and returns the path of its program. Ends the bench if that fails. */
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
 * Runs it twice, with all rounds of a case in one line, so that slow changes, such as the load of other programs, are
 * part of the noise of each case.
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

/** Whether a Debian package with this file is installed, or can be installed now. Prints what it installs. */
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

/** A Debian package that was unpacked into its own folder. */
export interface Unpacked {
  version: string;
  /** The package's root: a program is at `root/usr/bin/NAME`. */
  root: string;
}

/**
 * Downloads a package of another Debian release, such as `trixie`, from the mirror of this machine's own packages,
 * and unpacks it under build/peers. apt verifies it with Debian's keys. The machine's package lists and installed
 * packages stay as they are; a program that needs libraries that the machine lacks does not run.
 * @returns undefined if the mirror or the package cannot be reached.
 */
export function unpackFrom(release: string, debianPackage: string): Unpacked | undefined {
  const folder = fromPackageRoot('build/peers');
  const sources = join(folder, `${release}.list`);
  for (const one of ['lists/partial', 'cache/archives/partial']) {
    mkdirSync(join(folder, release, one), { recursive: true });
  }
  const places = [
    `Dir::Etc::sourcelist=${sources}`,
    'Dir::Etc::sourceparts=-',
    `Dir::State::lists=${join(folder, release, 'lists')}`,
    `Dir::Cache=${join(folder, release, 'cache')}`,
    'APT::Sandbox::User=root',
  ].flatMap((place) => ['-o', place]);
  const output = (program: string, args: string[]) =>
    execFileSync(program, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    const mirror = ownMirror();
    if (mirror === undefined) return undefined;
    const keys = '/usr/share/keyrings/debian-archive-keyring.gpg';
    writeFileSync(sources, `deb [signed-by=${keys}] ${mirror} ${release} main\n`);
    output('apt-get', [...places, 'update', '-qq']);
    const [record = ''] = output('apt-cache', [...places, 'show', '--no-all-versions', debianPackage]).split(
      '\n\n',
      1,
    );
    const version = /^Version: (.+)$/m.exec(record)?.[1];
    const file = /^Filename: .*\/(.+)$/m.exec(record)?.[1];
    if (version === undefined || file === undefined) return undefined;
    const root = join(folder, file.replace(/\.deb$/, ''));
    if (!existsSync(root)) {
      console.log(`bench: unpacks ${debianPackage} ${version} of Debian ${release} into build/peers`);
      output('apt-get', [...places, 'download', '-qq', debianPackage]);
      output('dpkg-deb', ['--extract', file, `${root}.partial`]);
      renameSync(`${root}.partial`, root);
    }
    return { version, root };
  } catch {
    return undefined;
  }
}

/** The address of the mirror of this machine's Debian packages. */
function ownMirror(): string | undefined {
  const codename = /^VERSION_CODENAME=(.+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  const format = '$' + '(CODENAME) $' + '(COMPONENT) $' + '(REPO_URI)';
  return execFileSync('apt-get', ['indextargets', '--format', format], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.split(' '))
    .find(([suite, component]) => suite === codename && component === 'main')?.[2];
}
