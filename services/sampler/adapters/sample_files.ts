// SPDX-License-Identifier: Apache-2.0
// The ring of sample files on disk, as an outlet for packets. The first packet opens a file, so that a sampler without
// samples creates none; a file that is full, or that another replica removed, is followed by a new one. A chunk is written
// completely or truncated, so that a full disk leaves no partial packet; while an old file cannot be removed, none is
// added. Copies are data of tenants, so only the sampler may read the folder and the files.
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Chunk } from '../../shared/backlog.js';
import { monotonicMs, unixMs } from '../../shared/process/clock.js';
import { ensureFolder } from '../../shared/process/folders.js';
import type { Outlet } from '../../shared/process/outlet.js';
import { type FileRing, fileName, fits, outdated } from '../core/file_ring.js';

/** A new file is not checked for so long: more replicas than files would do nothing but open files. */
const undisturbedMs = 1000;

/**
 * Creates the folder for the sampler, as far as this process has the rights; a failure shows when the first file is
 * opened.
 */
export function prepareFolder(folder: string, owner: { uid: number; gid: number }): void {
  try {
    ensureFolder(folder, { mode: 0o750, owner });
  } catch {
    // It is reported with the code of the failure to open a file.
  }
}

interface Current {
  name: string;
  handle: FileHandle;
  size: number;
  openedMs: number;
}

export class SampleFiles implements Outlet {
  readonly counters = { filesOpened: 0, filesRemoved: 0, filesVanished: 0 };
  readonly #owner = randomBytes(4).toString('hex');
  #turn = 0;
  #current: Current | undefined;

  /** @param header the first octets of each file. */
  constructor(
    private readonly folder: string,
    private readonly ring: FileRing,
    private readonly header: Buffer,
  ) {}

  /** The most octets of a chunk, so that it fits into a file. */
  get longestChunk(): number {
    return this.ring.bytes - this.header.length;
  }

  async write(chunk: Chunk): Promise<void> {
    const file = await this.#fileFor(chunk.length);
    await append(file, chunk.octets, chunk.length);
  }

  /** Everything written is on the disk once this resolves. */
  async close(): Promise<void> {
    const file = this.#current;
    this.#current = undefined;
    await file?.handle.sync();
    await file?.handle.close();
  }

  async #fileFor(length: number): Promise<Current> {
    const file = this.#current;
    if (file !== undefined) {
      const vanished = await isGone(file);
      if (vanished) this.counters.filesVanished++;
      if (!vanished && fits(file.size, length, this.ring)) return file;
      this.#current = undefined;
      await file.handle.close();
    }
    this.#current = await this.#open();
    return this.#current;
  }

  async #open(): Promise<Current> {
    const name = fileName(new Date(unixMs()).toISOString(), this.#owner, ++this.#turn);
    const path = join(this.folder, name);
    const handle = await open(path, 'wx', 0o640);
    const file = { name, handle, size: 0, openedMs: monotonicMs() };
    try {
      await append(file, this.header, this.header.length);
      await this.#prune(name);
    } catch (error) {
      await handle.close();
      await rm(path, { force: true });
      throw error;
    }
    this.counters.filesOpened++;
    return file;
  }

  async #prune(opened: string): Promise<void> {
    for (const name of outdated(await readdir(this.folder), opened, this.ring)) {
      await rm(join(this.folder, name), { force: true });
      this.counters.filesRemoved++;
    }
  }
}

async function isGone({ handle, openedMs }: Current): Promise<boolean> {
  return monotonicMs() - openedMs >= undisturbedMs && (await handle.stat()).nlink === 0;
}

/** Appends all octets, or throws and appends none. */
async function append(file: Current, octets: Buffer, length: number): Promise<void> {
  try {
    for (let done = 0; done < length; ) {
      const { bytesWritten } = await file.handle.write(octets, done, length - done, file.size + done);
      done += bytesWritten;
    }
    file.size += length;
  } catch (error) {
    await file.handle.truncate(file.size).catch(() => undefined);
    throw error;
  }
}
