// SPDX-License-Identifier: Apache-2.0
// The format of the vector files: blocks of `key: value` lines, separated by one empty line. Lines that begin with #
// are comments. C++ reads the same files (test/native/psp/vector_table.h).

export type Row = Readonly<Record<string, string>>;

/** The value that represents an absent one. */
export const absent = '-';

export function writeTable(heading: string, rows: readonly Row[]): string {
  const blocks = rows.map((row) => Object.entries(row).map(([key, value]) => `${key}: ${value}\n`));
  const comment = heading.split('\n').map((line) => `# ${line}\n`);
  return [comment, ...blocks].map((lines) => lines.join('')).join('\n');
}

/**
 * @throws Error for a line that is neither comment, nor empty, nor `key: value`.
 */
export function readTable(text: string): Row[] {
  return text
    .split('\n\n')
    .map((block) => block.split('\n').filter((line) => line !== '' && !line.startsWith('#')))
    .filter((lines) => lines.length > 0)
    .map((lines) => Object.fromEntries(lines.map(readLine)));
}

function readLine(line: string): [string, string] {
  const colon = line.indexOf(': ');
  if (colon < 1) throw new Error(`no "key: value": ${line}`);
  return [line.slice(0, colon), line.slice(colon + 2)];
}

/**
 * @throws Error if the row lacks the key.
 */
export function cell(row: Row, key: string): string {
  const value = row[key];
  if (value === undefined) throw new Error(`${row.name ?? 'a row'} lacks ${key}`);
  return value;
}

export const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');
export const unhex = (text: string): Buffer => Buffer.from(text, 'hex');
