// SPDX-License-Identifier: Apache-2.0
// The memory of a process, as a core dump contains it and in whole. The kernel leaves the ranges that are marked with
// MADV_DONTDUMP out of a core dump (core(5)), and so does gcore.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

interface Range {
  start: number;
  end: number;
  dumped: boolean;
}

const page = 4096;
const chunk = 16 << 20;

/** The ranges that are readable and have any page in memory. */
function rangesOf(pid: number): Range[] {
  const ranges: Range[] = [];
  for (const text of readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [, start = '', end = '', mode = ''] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(text) ?? [];
    const resident = Number(/^Rss:\s+(\d+) kB$/m.exec(text)?.[1]);
    const flags = /^VmFlags: (.*)$/m.exec(text)?.[1]?.split(' ') ?? [];
    if (!mode.startsWith('r') || resident === 0 || text.includes('[vvar]')) continue;
    ranges.push({
      start: Number.parseInt(start, 16),
      end: Number.parseInt(end, 16),
      dumped: !flags.includes('dd') && !flags.includes('io'),
    });
  }
  return ranges;
}

export interface Piece {
  octets: Buffer;
  /** Whether a core dump contains it. */
  dumped: boolean;
}

/**
 * Reads the pages that a process has in memory, in pieces of up to 16 MiB, each of pages in a row. The process should be
 * stopped meanwhile.
 */
export function* memoryOf(pid: number): Generator<Piece> {
  const [memory, pagemap] = [openSync(`/proc/${pid}/mem`, 'r'), openSync(`/proc/${pid}/pagemap`, 'r')];
  try {
    for (const { start, end, dumped } of rangesOf(pid)) {
      for (let at = start; at < end; at += chunk) {
        const pages = Math.min(chunk, end - at) / page;
        const present = Buffer.alloc(pages * 8);
        readSync(pagemap, present, 0, present.length, (at / page) * 8);
        for (let first = 0; first < pages; ) {
          let last = first;
          while (last < pages && ((present[last * 8 + 7] as number) & 0xc0) !== 0) last++;
          if (last > first) {
            const octets = Buffer.alloc((last - first) * page);
            const read = readSync(memory, octets, 0, octets.length, at + first * page);
            yield { octets: octets.subarray(0, read), dumped };
          }
          first = last + 1;
        }
      }
    }
  } finally {
    closeSync(memory);
    closeSync(pagemap);
  }
}
