// SPDX-License-Identifier: Apache-2.0
// The form of events on disk: segments of lines, each line a CRC-32 in hex, a space and the event's JSON. A torn or corrupt
// line ends its segment: nothing after it was ever acknowledged. Events are read by number, sequentially and in pieces, so
// that a large spool is never in memory as a whole.
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { type AuditEvent, readEvent } from './event.js';

/** A run of events in one file, complete and in order. */
export interface Segment {
  file: string;
  /** Numbers of its events; last is first - 1 while it is empty. */
  first: number;
  last: number;
  /** Octets up to the end of the last complete line. */
  bytes: number;
  /** Since when the stream holds all of it, on the monotonic clock; undefined: it does not. */
  storedMs: number | undefined;
}

/** An event that was read back. */
export interface Line extends AuditEvent {
  /** Its JSON, as it is published. */
  octets: Uint8Array;
}

/** No event is larger. */
export const maxLineBytes = 65_536;
const pieceBytes = 2 * maxLineBytes;
const headBytes = 9;
const lineFeed = 0x0a;

const headOf = (json: Buffer): string => `${crc32(json).toString(16).padStart(8, '0')} `;

export function lineOf(json: string): Buffer {
  const octets = Buffer.from(json);
  const line = Buffer.alloc(headBytes + octets.length + 1, lineFeed);
  line.write(headOf(octets));
  octets.copy(line, headBytes);
  if (line.length > maxLineBytes) throw new Error(`an audit event of ${line.length} octets`);
  return line;
}

/** The complete, valid lines at the start of some octets. @returns also the offset of their end. */
export function linesIn(octets: Buffer): { lines: Line[]; end: number } {
  const lines: Line[] = [];
  let end = 0;
  for (;;) {
    const feed = octets.indexOf(lineFeed, end);
    if (feed < end + headBytes) return { lines, end };
    const json = octets.subarray(end + headBytes, feed);
    const event =
      octets.toString('latin1', end, end + headBytes) === headOf(json) ? readEvent(json) : undefined;
    if (event === undefined) return { lines, end };
    lines.push({ ...event, octets: json });
    end = feed + 1;
  }
}

/** Reads segments forward. It keeps its position, so that the next read needs no search. */
export class SegmentReader {
  #at: { file: string; after: number; offset: number } | undefined;

  /** Some of the events after a number, in order; none only if there are none. */
  async read(segments: readonly Segment[], after: number): Promise<Line[]> {
    const segment = segments.find(({ first, last }) => last > after && last >= first);
    if (segment === undefined) return [];
    const known = this.#at?.file === segment.file && this.#at.after === after ? this.#at : undefined;
    let offset = known?.offset ?? 0;
    const file = await open(segment.file, 'r');
    try {
      while (offset < segment.bytes) {
        const piece = Buffer.alloc(Math.min(pieceBytes, segment.bytes - offset));
        const { bytesRead } = await file.read(piece, 0, piece.length, offset);
        const { lines, end } = linesIn(piece.subarray(0, bytesRead));
        if (end === 0) break;
        offset += end;
        const wanted = lines.filter(({ sequence }) => sequence > after);
        if (wanted.length === 0) continue;
        this.#at = { file: segment.file, after: wanted.at(-1)?.sequence ?? after, offset };
        return wanted;
      }
    } finally {
      await file.close();
    }
    throw new Error(`${segment.file} lacks event ${after + 1}`);
  }
}

const suffix = '.log';
export const segmentFile = (folder: string, first: number): string =>
  join(folder, `${String(first).padStart(10, '0')}${suffix}`);

/** The segments that an earlier process left behind, up to the first torn line of each. */
export async function segmentsIn(folder: string): Promise<Segment[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(suffix)).sort();
  return Promise.all(
    names.map(async (name) => {
      const file = join(folder, name);
      const first = Number.parseInt(name, 10);
      const segment: Segment = { file, first, last: first - 1, bytes: 0, storedMs: undefined };
      const handle = await open(file, 'r');
      try {
        for (;;) {
          const piece = Buffer.alloc(pieceBytes);
          const { bytesRead } = await handle.read(piece, 0, piece.length, segment.bytes);
          const { lines, end } = linesIn(piece.subarray(0, bytesRead));
          if (end === 0) return segment;
          segment.bytes += end;
          segment.last = lines.at(-1)?.sequence ?? segment.last;
        }
      } finally {
        await handle.close();
      }
    }),
  );
}
