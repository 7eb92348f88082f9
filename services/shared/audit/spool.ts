// SPDX-License-Identifier: Apache-2.0
// The durable first copy of one producer's events: segments in a folder of its own, appended to and synced in batches off
// the event loop. An event counts as recorded once it is synced. The spool is bounded in octets. When it is full, segments
// that the stream holds are removed first; then newer events are counted and not kept, and once there is space again one
// `audit.lost` records the first and the last of them. Space for that event is always reserved, and the loss so far is also
// in a small file, in case the process ends before it can record it. Events that the stream holds are kept for a while,
// because a server may lose acknowledged events when its machine loses power.
import { access, type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuditData, AuditType } from './event.js';
import { type Line, lineOf, type Segment, SegmentReader, segmentFile } from './segment.js';

export interface SpoolOptions {
  /** The folder of this producer. */
  folder: string;
  /** Resolves once the folder exists, or cannot be created. */
  ready: Promise<unknown>;
  /** Name of the node, for a loss that a later process records. */
  node: string;
  /** Octets that all producers of this service may keep together. */
  limitBytes: number;
  /** Octets that the other producers keep. */
  othersBytes: () => number;
  /** How long events are kept after the stream holds them. */
  keepMs: number;
  envelope: <T extends AuditType>(sequence: number, type: T, data: AuditData[T]) => string;
  monotonicMs: () => number;
  /** Called when more events are recorded. */
  onRecorded: () => void;
}

/** A run of numbers that were never stored. */
export interface Loss {
  first: number;
  last: number;
}

interface Pending {
  sequence: number;
  line: Buffer;
  /** Of audit.lost: the first number that is missing with it, if it is lost itself. */
  covers?: number;
}

/** Reserved for one audit.lost. */
const lossBytes = 1024;
const segmentsInLimit = 16;
const largestSegment = 1024 * 1024;
/** After a failed write, no event is accepted for so long. */
const restMs = 1000;
export const lossFile = 'lost';

/** Its content. */
export interface LossNote extends Loss {
  node?: string;
}

export class AuditSpool {
  /** Events that were synced; events that were numbered but not kept. */
  readonly counters = { recorded: 0, lost: 0 };
  /** Why the last write failed, until one succeeds. */
  failure: string | undefined;
  readonly #segments: Segment[] = [];
  readonly #reader = new SegmentReader();
  readonly #segmentBytes: number;
  #handle: FileHandle | undefined;
  #pending: Pending[] = [];
  #pendingBytes = 0;
  #next = 1;
  #durable = 0;
  #stored = 0;
  #lost: Loss | undefined;
  #lossWritten = 0;
  #restUntilMs = 0;
  #writing: Promise<void> | undefined;
  #writingSinceMs = 0;
  /** Events whose segments disappeared while it was unknown whether the stream holds them. */
  #gone: Loss | undefined;
  /** Removals run one after another: on a disk that hangs, each blocks a thread. */
  #removing: Promise<void> = Promise.resolve();

  constructor(private readonly options: SpoolOptions) {
    this.#segmentBytes = Math.min(largestSegment, Math.floor(options.limitBytes / segmentsInLimit));
  }

  /** Number of the newest synced event. */
  get last(): number {
    return this.#durable;
  }

  /** Number of the oldest event on disk; `last` + 1 when there is none. */
  get first(): number {
    return this.#segments.find(({ first, last }) => last >= first)?.first ?? this.#durable + 1;
  }

  /** Octets of segments and of events that wait to be written. */
  get bytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, this.#pendingBytes);
  }

  /** Events that are lost, until the loss is recorded. */
  get loss(): Readonly<Loss> | undefined {
    return this.#lost;
  }

  /** How long the write in progress has taken; a disk may hang. */
  get writingMs(): number {
    return this.#writing === undefined ? 0 : this.options.monotonicMs() - this.#writingSinceMs;
  }

  /** Numbers an event and keeps it, or counts it as lost. */
  record<T extends AuditType>(type: T, data: AuditData[T]): void {
    if (this.#lost !== undefined) this.recordLoss();
    const sequence = this.#next++;
    const line = lineOf(this.options.envelope(sequence, type, data));
    if (this.#lost === undefined && this.#makeSpace(line.length + lossBytes)) {
      this.#put({ sequence, line });
    } else {
      this.#lose(sequence, sequence);
    }
  }

  /** Records the loss, if there is space again. @param now also when only the reserved space is left. */
  recordLoss(now = false): void {
    if (this.#lost === undefined) return;
    const space = now ? lossBytes : Math.min(this.#segmentBytes, this.options.limitBytes / 4);
    if (!this.#makeSpace(space)) return;
    const { first, last } = this.#lost;
    this.#lost = undefined;
    this.#recordLost({ first, last, count: last - first + 1, reason: 'spoolFull' });
  }

  /** Records events that the stream lost and the spool no longer has. */
  recordRollback(first: number, last: number): void {
    if (this.#lost === undefined) {
      this.#recordLost({ first, last, count: last - first + 1, reason: 'streamRolledBack' });
    }
  }

  /** Resolves once all pending events were synced, or could not be. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  /** Events after a number, in order; none only if none is synced. */
  read(after: number): Promise<Line[]> {
    return this.#reader.read(this.#segments, after);
  }

  /** The stream holds everything up to here. */
  confirm(sequence: number): void {
    this.#stored = sequence;
    const nowMs = this.options.monotonicMs();
    for (const segment of this.#segments) {
      if (segment.last <= sequence) segment.storedMs ??= nowMs;
    }
  }

  /** The stream lost the events after this number. */
  rewind(sequence: number): void {
    this.#stored = sequence;
    for (const segment of this.#segments) if (segment.last > sequence) segment.storedMs = undefined;
  }

  /** Removes segments that the stream has held for long enough, and records a loss for which there is space now. */
  sweep(): void {
    const before = this.options.monotonicMs() - this.options.keepMs;
    this.#drop(({ storedMs }) => storedMs !== undefined && storedMs <= before);
    this.recordLoss();
  }

  /** Records which of the events whose segments disappeared the stream lacks. @param held the last that it holds. */
  recordGone(held: number): void {
    const gone = this.#gone;
    this.#gone = undefined;
    if (gone === undefined || held >= gone.last) return;
    const first = Math.max(gone.first, held + 1);
    this.counters.lost += gone.last - first + 1;
    if (this.#lost !== undefined)
      this.#lost = { first: Math.min(first, this.#lost.first), last: this.#lost.last };
    else this.#recordLost({ first, last: gone.last, count: gone.last - first + 1, reason: 'spoolGone' });
  }

  /** Our folder was created anew, or was taken over for a while: segments may have disappeared. */
  async renew(): Promise<void> {
    await this.flush();
    await this.#handle?.close();
    this.#handle = undefined;
    for (const segment of [...this.#segments]) {
      const there = await access(segment.file).then(
        () => true,
        () => false,
      );
      if (there) continue;
      this.#segments.splice(this.#segments.indexOf(segment), 1);
      if (segment.last >= segment.first) {
        this.#gone = { first: this.#gone?.first ?? segment.first, last: segment.last };
      }
    }
  }

  async close(): Promise<void> {
    this.recordLoss(true);
    await this.flush();
    await this.#handle?.close();
    this.#handle = undefined;
  }

  #recordLost(data: AuditData['audit.lost']): void {
    const sequence = this.#next++;
    const line = lineOf(this.options.envelope(sequence, 'audit.lost', data));
    this.#put({ sequence, line, covers: data.reason === 'streamRolledBack' ? sequence : data.first });
  }

  #put(pending: Pending): void {
    this.#pending.push(pending);
    this.#pendingBytes += pending.line.length;
    this.#write();
  }

  #lose(first: number, last: number): void {
    this.counters.lost += last - first + 1;
    this.#lost = { first: this.#lost?.first ?? first, last };
    this.#write();
  }

  /** Whether so many octets fit. Segments that the stream holds are removed for them, oldest first. */
  #makeSpace(bytes: number): boolean {
    if (this.options.monotonicMs() < this.#restUntilMs) return false;
    const fits = () => this.bytes + bytes + this.options.othersBytes() <= this.options.limitBytes;
    while (!fits()) {
      const oldest = this.#segments[0];
      if (oldest?.storedMs === undefined || (oldest === this.#segments.at(-1) && this.#isBusy)) return false;
      this.#drop((segment) => segment === oldest);
    }
    return true;
  }

  get #isBusy(): boolean {
    return this.#writing !== undefined;
  }

  /** Removes segments; the open one only when the stream holds all of it and no write is in progress. */
  #drop(which: (segment: Segment) => boolean): void {
    const open = this.#segments.at(-1);
    for (const segment of this.#segments.filter(which)) {
      if (segment === open) {
        if (this.#isBusy || segment.last > this.#stored) continue;
        this.#handle?.close().catch(() => undefined);
        this.#handle = undefined;
      }
      this.#segments.splice(this.#segments.indexOf(segment), 1);
      this.#removing = this.#removing.then(() => unlink(segment.file)).catch(() => undefined);
    }
  }

  #write(): void {
    if (this.options.monotonicMs() < this.#restUntilMs) return;
    if (this.#writing === undefined) this.#writingSinceMs = this.options.monotonicMs();
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
  }

  async #writeAll(): Promise<void> {
    // Events that are recorded in the same turn are synced together.
    await this.options.ready;
    while (this.#pending.length > 0 || (this.#lost !== undefined && this.#lost.last !== this.#lossWritten)) {
      try {
        this.#writingSinceMs = this.options.monotonicMs();
        await this.#append();
        await this.#writeLoss();
        this.failure = undefined;
      } catch (error) {
        this.failure = (error as NodeJS.ErrnoException).code ?? String(error);
        this.#restUntilMs = this.options.monotonicMs() + restMs;
        this.#giveUp();
        return;
      }
    }
  }

  /** An event that could not be written is lost, with all later ones. */
  #giveUp(): void {
    const [oldest] = this.#pending;
    if (oldest === undefined) return;
    const first = Math.min(oldest.covers ?? oldest.sequence, oldest.sequence);
    this.counters.lost += this.#pending.length;
    this.#lost = { first, last: this.#next - 1 };
    this.#pending = [];
    this.#pendingBytes = 0;
  }

  async #append(): Promise<void> {
    for (let oldest = this.#pending[0]; oldest !== undefined; oldest = this.#pending[0]) {
      const segment = await this.#segmentFor(oldest);
      const part: Pending[] = [];
      let bytes = 0;
      for (const each of this.#pending) {
        if (part.length > 0 && segment.bytes + bytes >= this.#segmentBytes) break;
        part.push(each);
        bytes += each.line.length;
      }
      const octets = Buffer.concat(part.map(({ line }) => line));
      const handle = this.#handle as FileHandle;
      for (let done = 0; done < octets.length; ) {
        done += (await handle.write(octets, done, octets.length - done, segment.bytes + done)).bytesWritten;
      }
      await handle.datasync();
      segment.bytes += bytes;
      segment.last = (part.at(-1) as Pending).sequence;
      segment.storedMs = undefined;
      this.#pending.splice(0, part.length);
      this.#pendingBytes -= bytes;
      this.#durable = segment.last;
      this.counters.recorded += part.length;
      this.options.onRecorded();
    }
  }

  /** The segment for this event: a new one when the last is full, or numbers are missing in between. */
  async #segmentFor({ sequence }: Pending): Promise<Segment> {
    const last = this.#segments.at(-1);
    if (last !== undefined && this.#handle !== undefined && last.bytes < this.#segmentBytes) return last;
    await this.#handle?.close();
    this.#handle = undefined;
    const file = segmentFile(this.options.folder, sequence);
    this.#handle = await open(file, 'w', 0o600);
    await syncFolder(this.options.folder);
    const segment = { file, first: sequence, last: sequence - 1, bytes: 0, storedMs: undefined };
    this.#segments.push(segment);
    return segment;
  }

  /** Writes the loss to its file, so that a later process can record it. */
  async #writeLoss(): Promise<void> {
    const loss = this.#lost;
    if (loss === undefined || loss.last === this.#lossWritten) return;
    const draft = join(this.options.folder, `${lossFile}.new`);
    const handle = await open(draft, 'w', 0o600);
    try {
      await handle.writeFile(JSON.stringify({ ...loss, node: this.options.node } satisfies LossNote));
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(draft, join(this.options.folder, lossFile));
    this.#lossWritten = loss.last;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
