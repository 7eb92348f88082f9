// SPDX-License-Identifier: Apache-2.0
// The output of `psp tap`: standard output, a new file or a viewer, behind a bounded backlog, so that a slow reader
// loses entries, which are counted, while the bus is still read. It also decides when the tap ends: Ctrl-C, enough
// entries, a reader that has gone (`| head`), or a file that accepts no more.
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

/** The most octets that may wait. */
const backlogBytes = 16 * 1024 * 1024;
/** The longest entry: a message of maximum size in JSON. */
const chunkBytes = 4 * 1024 * 1024;
/** How long the end of the tap waits for the reader. */
const finishMs = 1000;
/** A tap does not retry: its first failure ends it. */
const retryMs = 1000;

export class TapOutput {
  /** Resolves when the tap ends. */
  readonly over: Promise<void>;
  /** The reason, if the end was a failure. */
  failure: PspError | undefined;
  #end: () => void = () => undefined;
  #isOver = false;
  #isGone = false;
  #headers = 0;
  #entries = 0;
  readonly #backlog = new Backlog(backlogBytes, chunkBytes);
  readonly #pump: Pump;
  /** The file, if this class has to close it. */
  readonly #file: number | undefined;

  /**
   * @param target a new file, or an existing pipe or device; "-": standard output; or an outlet of the caller.
   * @param limit number of entries after which the tap ends.
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

  /** Entries lost to a slow reader, without those that a reader which has gone did not accept. */
  get dropped(): number {
    return this.#isGone ? 0 : this.#backlog.dropped + this.#backlog.queuedEntries;
  }

  /** After `finish`: a write that waits for a slow reader would keep this process alive. */
  get isStuck(): boolean {
    return this.#backlog.queuedBytes > 0;
  }

  /** Entries that the reader accepted. */
  get written(): number {
    return this.#pump.written - this.#headers;
  }

  /** The beginning of a file, which is no entry. */
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

  /** Writes the backlog, as far as the reader accepts it. */
  async finish(): Promise<void> {
    this.#isOver = true;
    await within(finishMs, this.#pump.finish());
    // A write that blocks stays at its descriptor, and ends with the process.
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

  /** The tap is over: no further entry is accepted. */
  stop(): void {
    this.#isOver = true;
    this.#end();
  }
}

/**
 * @throws PspError FILE_UNWRITABLE, also for a file that is not empty.
 */
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
    // A write to a pipe that no process reads must not keep the process from ending.
    const unblocked = reopened(opened);
    if (unblocked !== opened) closeSync(opened);
    return unblocked;
  } catch (cause) {
    throw unwritable(file, (cause as NodeJS.ErrnoException).code, cause);
  }
}

const unwritable = (file: string, detail = 'error', cause?: unknown): PspError =>
  new PspError('FILE_UNWRITABLE', { file, detail, remedy: checkDisk }, { cause });
