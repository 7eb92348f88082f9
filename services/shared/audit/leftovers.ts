// SPDX-License-Identifier: Apache-2.0
// The folders of one service's producers, and their owners. Each folder has a file `owner` with the incarnation of the
// process that owns it, which updates the file's time every two seconds. A folder without an owner, or whose owner has not
// updated it for ten seconds of our own clock, was left behind by a process that ended. A process whose audit server is
// connected takes such a folder over, publishes the events that the stream lacks, and removes the folder once the stream
// has held all of them for long enough. A process that finds another name in a file of its own has lost that folder: it
// gives a leftover up, but takes its own folder back. If two processes publish the same events for a moment, the ids of
// the events keep the stream free of duplicates.
import { mkdir, readdir, readFile, rename, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuditData } from './event.js';
import { type Line, lineOf, linesIn, type Segment, SegmentReader, segmentsIn } from './segment.js';
import { type LossNote, lossFile } from './spool.js';

/** The events of one producer, as the publisher reads them. */
export interface AuditSource {
  incarnation: string;
  /** Numbers of the oldest and the newest event on disk. */
  readonly first: number;
  readonly last: number;
  read(after: number): Promise<Line[]>;
  confirm(sequence: number): void;
  rewind(sequence: number): void;
  /** The stream was queried: it holds everything up to here. */
  resumed?(held: number): void;
}

const ownerFile = 'owner';
const isIncarnation = (name: string): boolean => /^[0-9a-f]{16}$/.test(name);

/** Makes this incarnation the owner of a folder. */
async function take(folder: string, incarnation: string): Promise<void> {
  const draft = join(folder, `${ownerFile}.${incarnation}`);
  await writeFile(draft, incarnation, { mode: 0o600 });
  await rename(draft, join(folder, ownerFile));
}

/** Updates the time of the owner file. @returns false when the owner is another. */
async function touch(folder: string, incarnation: string, nowMs: number): Promise<boolean> {
  const file = join(folder, ownerFile);
  const name = await readFile(file, 'utf8').catch(() => undefined);
  if (name !== incarnation) return false;
  await utimes(file, nowMs / 1000, nowMs / 1000);
  return true;
}

/** The folder of a process that has ended. */
export class Leftover implements AuditSource {
  readonly #reader = new SegmentReader();
  #storedMs: number | undefined;

  private constructor(
    readonly incarnation: string,
    readonly folder: string,
    private readonly segments: readonly Segment[],
    /** Made here: the loss that its producer could not record before it ended. */
    private readonly epilogue: Line | undefined,
    private readonly monotonicMs: () => number,
  ) {}

  static async open(
    incarnation: string,
    folder: string,
    lossEvent: (sequence: number, data: AuditData['audit.lost'], node: string | undefined) => string,
    monotonicMs: () => number,
  ): Promise<Leftover> {
    const segments = (await segmentsIn(folder)).filter(({ first, last }) => last >= first);
    const loss = await readLoss(folder);
    const last = segments.at(-1)?.last ?? 0;
    const unreported = loss !== undefined && loss.last > last;
    const count = unreported ? loss.last - loss.first + 1 : 0;
    const lost = unreported && { first: loss.first, last: loss.last, count, reason: 'spoolFull' as const };
    const json = lost && lossEvent(lost.last + 1, lost, loss?.node);
    const epilogue = json ? linesIn(lineOf(json)).lines[0] : undefined;
    return new Leftover(incarnation, folder, segments, epilogue, monotonicMs);
  }

  get first(): number {
    return this.segments[0]?.first ?? this.epilogue?.sequence ?? 1;
  }

  get last(): number {
    return this.epilogue?.sequence ?? this.segments.at(-1)?.last ?? 0;
  }

  get bytes(): number {
    return this.segments.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Whether nothing was added since it was opened. */
  async isWhole(): Promise<boolean> {
    const now = await segmentsIn(this.folder);
    return now.reduce((sum, { bytes }) => sum + bytes, 0) === this.bytes;
  }

  /** Since when the stream holds all of its events. */
  get storedMs(): number | undefined {
    return this.last === 0 ? Number.NEGATIVE_INFINITY : this.#storedMs;
  }

  async read(after: number): Promise<Line[]> {
    const lines = await this.#reader.read(this.segments, after);
    if (lines.length > 0 || this.epilogue === undefined || after >= this.epilogue.sequence) return lines;
    return [this.epilogue];
  }

  confirm(sequence: number): void {
    if (sequence >= this.last) this.#storedMs ??= this.monotonicMs();
  }

  rewind(): void {
    this.#storedMs = undefined;
  }
}

async function readLoss(folder: string): Promise<LossNote | undefined> {
  try {
    const { first, last, node } = JSON.parse(await readFile(join(folder, lossFile), 'utf8')) as LossNote;
    if (!Number.isSafeInteger(first) || !Number.isSafeInteger(last)) return undefined;
    return { first, last, ...(typeof node === 'string' && { node }) };
  } catch {
    return undefined;
  }
}

export interface LeftoversOptions {
  /** The folder of the service, with one folder for each producer. */
  folder: string;
  /** Our own. */
  incarnation: string;
  silentMs: number;
  keepMs: number;
  /** @param node the name that the node had then, where it is known. */
  lossEvent: (
    incarnation: string,
    sequence: number,
    data: AuditData['audit.lost'],
    node: string | undefined,
  ) => string;
  monotonicMs: () => number;
  unixMs: () => number;
  onTaken: (leftover: Leftover) => void;
  onLeft: (leftover: Leftover) => void;
  /** Our own folder had been taken over, and may have been removed meanwhile. */
  onRetaken: () => Promise<void>;
}

export class Leftovers {
  /** Octets that other producers keep on disk. */
  othersBytes = 0;
  /** Which of their folders could not be handled in the last round, and why. */
  failure: string | undefined;
  readonly #taken = new Map<string, Leftover>();
  /** When the owner of a folder last updated it: the file's time, and our clock when we noticed. */
  readonly #updates = new Map<string, { mtimeMs: number; seenMs: number }>();

  #wasTaken = false;

  constructor(private readonly options: LeftoversOptions) {}

  /** Whether no other process ever took our own folder over. */
  async isOursAlone(): Promise<boolean> {
    const { incarnation, unixMs } = this.options;
    return !this.#wasTaken && (await touch(this.own, incarnation, unixMs()).catch(() => false));
  }

  get own(): string {
    return join(this.options.folder, this.options.incarnation);
  }

  /** Makes our own folder. */
  async begin(): Promise<void> {
    await mkdir(this.own, { recursive: true, mode: 0o700 });
    await take(this.own, this.options.incarnation);
  }

  /** One round: updates our owner file, takes over folders without an owner if `takes`, removes those that are done. */
  async tend(takes: boolean): Promise<void> {
    const { incarnation, unixMs } = this.options;
    if (!(await touch(this.own, incarnation, unixMs()))) {
      this.#wasTaken = true;
      await this.begin();
      await this.options.onRetaken();
    }
    const names = (await readdir(this.options.folder)).filter(isIncarnation);
    let bytes = 0;
    let failure: string | undefined;
    for (const name of names.filter((each) => each !== incarnation)) {
      const folder = join(this.options.folder, name);
      const taken = this.#taken.get(name);
      try {
        if (taken !== undefined) await this.#keep(taken);
        else if ((await this.#isLeft(name, folder)) && takes) await this.#take(name, folder);
      } catch (error) {
        // The remaining folders are still handled.
        failure ??= `${folder} (${(error as NodeJS.ErrnoException).code ?? String(error)})`;
      }
      bytes += await bytesIn(folder);
    }
    this.othersBytes = bytes;
    this.failure = failure;
  }

  /** Removes folders that the stream holds at once, because space is needed. */
  async makeSpace(): Promise<void> {
    for (const leftover of this.#taken.values()) {
      const { incarnation, unixMs } = this.options;
      const isDone = leftover.storedMs !== undefined && (await leftover.isWhole());
      if (isDone && (await touch(leftover.folder, incarnation, unixMs()))) await this.#remove(leftover);
    }
  }

  /** Gives every folder up, so that the next process takes it over. */
  async end(): Promise<void> {
    for (const folder of [this.own, ...Array.from(this.#taken.values(), ({ folder }) => folder)]) {
      if (await touch(folder, this.options.incarnation, this.options.unixMs())) {
        await unlink(join(folder, ownerFile));
      }
    }
  }

  async #keep(leftover: Leftover): Promise<void> {
    const { incarnation, keepMs, monotonicMs, unixMs } = this.options;
    if (!(await touch(leftover.folder, incarnation, unixMs()))) {
      this.#taken.delete(leftover.incarnation);
      this.options.onLeft(leftover);
      return;
    }
    const { storedMs } = leftover;
    if (storedMs === undefined || storedMs + keepMs > monotonicMs()) return;
    if (await leftover.isWhole()) return this.#remove(leftover);
    // Its producer is still running, and recorded more.
    this.#taken.delete(leftover.incarnation);
    this.options.onLeft(leftover);
    await this.#take(leftover.incarnation, leftover.folder);
  }

  async #isLeft(name: string, folder: string): Promise<boolean> {
    const nowMs = this.options.monotonicMs();
    const mtimeMs = await stat(join(folder, ownerFile)).then(
      (found) => found.mtimeMs,
      () => undefined,
    );
    if (mtimeMs === undefined) return true;
    const update = this.#updates.get(name);
    if (update?.mtimeMs !== mtimeMs) this.#updates.set(name, { mtimeMs, seenMs: nowMs });
    return update?.mtimeMs === mtimeMs && nowMs - update.seenMs >= this.options.silentMs;
  }

  async #take(name: string, folder: string): Promise<void> {
    const { incarnation, lossEvent, monotonicMs } = this.options;
    await take(folder, incarnation);
    const lossEventOf: Parameters<typeof Leftover.open>[2] = (...of) => lossEvent(name, ...of);
    const leftover = await Leftover.open(name, folder, lossEventOf, monotonicMs);
    this.#updates.delete(name);
    this.#taken.set(name, leftover);
    this.options.onTaken(leftover);
  }

  async #remove(leftover: Leftover): Promise<void> {
    this.#taken.delete(leftover.incarnation);
    this.options.onLeft(leftover);
    await rm(leftover.folder, { recursive: true, force: true });
  }
}

async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder).catch(() => [])) {
    bytes += await stat(join(folder, name)).then(
      ({ size }) => size,
      () => 0,
    );
  }
  return bytes;
}
