// SPDX-License-Identifier: Apache-2.0
// The files of the repository for the house tests: tracked and untracked files that git does not ignore, and their
// imports.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';

const ignored = new Set(['node_modules', 'dist', 'build', '.git', 'gen', 'coverage']);

/** Paths below the root of all files that belong to the repository. */
export function files(): string[] {
  const root = fromPackageRoot('.');
  try {
    const args = ['-C', root, 'ls-files', '--cached', '--others', '--exclude-standard', '-z'];
    const listed = execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return listed.split('\0').filter((path) => path !== '' && existsSync(join(root, path)));
  } catch {
    // An unpacked archive has no .git folder.
    return walk(root, '');
  }
}

function walk(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter((entry) => !ignored.has(entry.name))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? walk(root, path) : [path];
    });
}

export const read = (path: string): string => readFileSync(fromPackageRoot(path), 'utf8');

const specifier = (path: string, text: string): string =>
  text.startsWith('.') ? normalize(join(dirname(path), text)).replace(/\.js$/, '.ts') : text;

/** What a TypeScript file imports: paths below the root for our own files, package names for others. */
export function importsOf(path: string): string[] {
  return [...read(path).matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g)].map(([, text]) =>
    specifier(path, text as string),
  );
}

/** As importsOf, without type-only imports, which do not exist at run time. */
export function valueImportsOf(path: string): string[] {
  const typesOnly = /\b(?:import|export) type [^;]*? from '[^']+'/g;
  return [
    ...read(path)
      .replace(typesOnly, '')
      .matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g),
  ].map(([, text]) => specifier(path, text as string));
}
