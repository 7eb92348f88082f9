// SPDX-License-Identifier: Apache-2.0
// The ring of sample files. A name has the time of opening and its process, so that the files of all replicas and of earlier
// processes sort by age; a process that opens one removes the oldest beyond the limit.

const suffix = '.pcapng';
const pattern = /^\d{8}T\d{9}Z-[0-9a-f]{8}-\d+\.pcapng$/;

export interface FileRing {
  /** Files of all replicas together. */
  count: number;
  /** Octets of one. */
  bytes: number;
}

/** "20260102T030405678Z-1a2b3c4d-1.pcapng". @param owner 8 hex digits, other for each process. @param turn from 1. */
export const fileName = (openedAt: string, owner: string, turn: number): string =>
  `${openedAt.replace(/[-:.]/g, '')}-${owner}-${turn}${suffix}`;

/**
 * The files to remove after one was opened.
 * @param names all in the folder; files with other names are ignored.
 * @param opened never removed, because the clock may have been set back.
 */
export function outdated(names: readonly string[], opened: string, { count }: FileRing): string[] {
  const others = names.filter((name) => pattern.test(name) && name !== opened).sort();
  return others.slice(0, Math.max(0, others.length + 1 - count));
}

/** Whether so many octets more still fit into a file of this size. */
export const fits = (size: number, length: number, { bytes }: FileRing): boolean => size + length <= bytes;
