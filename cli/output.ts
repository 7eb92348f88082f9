// SPDX-License-Identifier: Apache-2.0
// How commands print: tables and times for people, JSON for programs. In JSON, 64-bit counts are numbers (exact up to
// 2^53); SPIs and epochs are strings of 0x and hex digits.

/** The command failed, and its output has reported why. */
export class Reported extends Error {}

export const print = (text: string): void =>
  void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);

/** How many objects this process has printed by `printJson`. */
export let objectsPrinted = 0;

export function printJson(value: unknown): void {
  objectsPrinted++;
  const plain = (_: string, part: unknown) => (typeof part === 'bigint' ? Number(part) : part);
  print(JSON.stringify(value, plain, 2));
}

type Cell = string | number | bigint;

/** Columns as wide as their widest cell, two spaces apart; columns of numbers are right-aligned. */
export function table(head: string[], rows: Cell[][]): string {
  const columns = head.map((title, i) => ({
    width: Math.max(title.length, ...rows.map((row) => String(row[i]).length)),
    numbers: rows.length > 0 && rows.every((row) => typeof row[i] !== 'string'),
  }));
  const line = (cells: Cell[]) =>
    columns
      .map(({ width, numbers }, i) => {
        const cell = String(cells[i]);
        return numbers ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [line(head), ...rows.map(line)].join('\n');
}

/** "4 s", "3 min", "2 h", "5 d". */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
