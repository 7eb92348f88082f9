// SPDX-License-Identifier: Apache-2.0
// Which sample files there may be. Names tell the time of opening and who opened them, so that files of all replicas
// and of earlier processes sort by age; whoever opens one removes the oldest beyond the bound.

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
 * What is to be removed once a file was opened.
 * @param names all in the folder; what bears no name of ours is left alone.
 * @param opened kept whatever its name says, for clocks are set back.
 */
export function outdated(names: readonly string[], opened: string, { count }: FileRing): string[] {
  const others = names.filter((name) => pattern.test(name) && name !== opened).sort();
  return others.slice(0, Math.max(0, others.length + 1 - count));
}

/** Whether so many octets more still fit into a file of this size. */
export const fits = (size: number, length: number, { bytes }: FileRing): boolean => size + length <= bytes;
