// SPDX-License-Identifier: Apache-2.0
// Where `psp tap` puts what it hears: standard output, a new file or a viewer, behind a bounded backlog, so that a
// slow reader loses entries, counted, and the bus is read on. It also says when the tap is over: Ctrl-C, enough heard,
// a reader who has gone (`| head`), or a file that takes no more.
import { closeSync, constants, fsyncSync, openSync, rmSync, statSync } from 'node:fs';
import { Backlog } from '../../services/shared/backlog.js';
import { PspError } from '../../services/shared/errors.js';
import {
  fileOutlet,
  type Outlet,
  Pump,
  reopened,
  standardOutlet,
} from '../../services/shared/process/outlet.js';
import { within } from '../../services/shared/process/within.js';
import { type Packet, packetLength, writePacket } from '../../services/shared/samples/pcapng.js';
import { checkDisk, demandReplaceable } from '../draft.js';

/** Octets that may wait. */
const backlogBytes = 16 * 1024 * 1024;
/** Longest entry: a message of the largest size in JSON. */
const chunkBytes = 4 * 1024 * 1024;
/** How long the end waits for the reader. */
const finishMs = 1000;
/** A tap does not try again: its first failure ends it. */
const retryMs = 1000;

export class TapOutput {
  /** Resolves when the tap is over. */
  readonly over: Promise<void>;
  /** Why, when it was not meant to be over. */
  failure: PspError | undefined;
  #end: () => void = () => undefined;
  #isOver = false;
  #isGone = false;
  #headers = 0;
  #entries = 0;
  readonly #backlog = new Backlog(backlogBytes, chunkBytes);
  readonly #pump: Pump;
  /** The file, if it is ours to close. */
  readonly #file: number | undefined;

  /**
   * @param target a new file, or a pipe or device that is there; "-": standard output; or an outlet of the caller's.
   * @param limit entries after which the tap is over.
   * @throws PspError FILE_UNWRITABLE.
   */
  constructor(
    target: string | Outlet,
    private readonly limit = Number.POSITIVE_INFINITY,
    force = false,
  ) {
    const file = typeof target === 'string' && target !== '-' ? target : undefined;
    this.#file = file === undefined ? undefined : openNew(file, force);
    const outlet =
      typeof target !== 'string'
        ? target
        : this.#file === undefined
          ? standardOutlet()
          : fileOutlet(this.#file);
    this.over = new Promise((resolve) => {
      this.#end = resolve;
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
    });
    this.#pump = new Pump(this.#backlog, outlet, {
      retryMs,
      onState: (code, gone) => {
        this.#isGone = gone;
        if (!gone && code !== undefined) this.failure ??= unwritable(file ?? 'standard output', code);
        this.stop();
      },
    });
  }

  /** Entries lost to a slow reader; those that one who has gone did not take are not lost. */
  get dropped(): number {
    return this.#isGone ? 0 : this.#backlog.dropped + this.#backlog.queuedEntries;
  }

  /** After `finish`: a write waits for a reader who does not read, and would keep this process alive. */
  get isStuck(): boolean {
    return this.#backlog.queuedBytes > 0;
  }

  /** Entries that the reader took. */
  get written(): number {
    return this.#pump.written - this.#headers;
  }

  /** What a file begins with; no entry. */
  header(octets: Buffer): void {
    this.#headers++;
    const room = this.#backlog.reserve(octets.length);
    if (room) octets.copy(room.octets, room.at);
    this.#pump.kick();
  }

  /** @param text ended by a newline. */
  line(text: string): void {
    const room = this.#room(Buffer.byteLength(text));
    room?.octets.write(text, room.at, 'utf8');
  }

  packet(packet: Packet): void {
    const room = this.#room(packetLength(packet));
    if (room) writePacket(room.octets, room.at, packet);
  }

  /** Writes what waits, as far as the reader takes it. */
  async finish(): Promise<void> {
    this.#isOver = true;
    await within(finishMs, this.#pump.finish());
    // What is stuck is still at its descriptor, and ends with the process.
    if (this.#file === undefined || this.isStuck) return;
    if (statSync(`/proc/self/fd/${this.#file}`).isFile()) fsyncSync(this.#file);
    closeSync(this.#file);
  }

  #room(length: number): { octets: Buffer; at: number } | undefined {
    if (this.#isOver) return undefined;
    const room = this.#backlog.reserve(length);
    if (room) this.#entries++;
    this.#pump.kick();
    if (this.#entries >= this.limit) this.stop();
    return room;
  }

  /** It is over: nothing more is taken. */
  stop(): void {
    this.#isOver = true;
    this.#end();
  }
}

/** @throws PspError FILE_UNWRITABLE, for a file with something in it too. */
function openNew(file: string, force: boolean): number {
  const stat = statSync(file, { throwIfNoEntry: false });
  const isNew = stat === undefined || stat.isFile();
  if (stat?.isFile()) demandReplaceable(stat, file, force);
  try {
    if (stat?.isFile()) rmSync(file);
    // Only the user who ran the command may read copies of packets.
    const creating = isNew ? constants.O_CREAT | constants.O_EXCL : 0;
    const opened = openSync(file, constants.O_WRONLY | creating, 0o600);
    if (isNew) return opened;
    // A write to a pipe that nobody reads must not keep the process from ending.
    const unblocked = reopened(opened);
    if (unblocked !== opened) closeSync(opened);
    return unblocked;
  } catch (cause) {
    throw unwritable(file, (cause as NodeJS.ErrnoException).code, cause);
  }
}

const unwritable = (file: string, detail = 'error', cause?: unknown): PspError =>
  new PspError('FILE_UNWRITABLE', { file, detail, remedy: checkDisk }, { cause });
