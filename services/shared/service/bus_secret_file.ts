// SPDX-License-Identifier: Apache-2.0
// The bus secret of a node while a service runs. Its file is looked at once a second, and at once when a seal cannot be opened,
// because the sender may have read a newer secret before this service has. From then on the service seals with the new secret.
// It opens seals of the old one for a minute more, for messages that were sealed before. A file that cannot be used changes
// nothing and is reported.
import type { AuditRecorder } from '../audit/trail.js';
import { type BusSecret, readBusSecret } from '../bus/secret.js';
import { FileWatch } from '../config/file_watch.js';
import { fileState } from '../config/node_file.js';
import { PspError } from '../errors.js';
import { monotonicMs, unixMs } from '../process/clock.js';
import type { Logger } from '../process/log.js';
import type { FaultList } from './fault_list.js';

/** Whoever makes and opens the seals of a service. */
export interface SecretUser {
  /** Seals with this secret from now on, and opens seals of it and of earlier ones. The caller wipes `octets`. */
  addSecret(octets: Buffer): void;
  /** Opens no more seals of the oldest of several secrets, and wipes it. */
  retireSecret(): void;
}

/** How long seals of a replaced secret are opened; far longer than any message is under way. */
const keptMs = 60_000;
const part = 'bus secret';

export class BusSecretFile {
  readonly #watch: FileWatch;
  #user: SecretUser | undefined;
  #readMs = unixMs();
  /** When each replaced secret retires, in monotonic milliseconds, oldest first. */
  readonly #retireMs: number[] = [];

  /** @param secret as it was read at the start. */
  constructor(
    private readonly secret: Pick<BusSecret, 'file' | 'state'>,
    private readonly audit: AuditRecorder,
    private readonly faults: FaultList,
    private readonly log: Logger,
  ) {
    this.#watch = new FileWatch(secret.state);
  }

  /** @param user has the secret of the start, and receives each later one. */
  begin(user: SecretUser): void {
    this.#user = user;
  }

  /** To be called once a second. */
  look(nowMs = monotonicMs()): void {
    while (nowMs >= (this.#retireMs[0] ?? Number.POSITIVE_INFINITY)) {
      this.#retireMs.shift();
      this.#user?.retireSecret();
    }
    const state = fileState(this.secret.file);
    if (!this.#watch.isDue(state)) return;
    try {
      this.#read(state, nowMs);
    } catch (error) {
      this.#refuse(error, state);
    }
  }

  /**
   * Opens a seal, and once more if that fails and the file has a secret that was not read yet.
   * @throws what `open` throws.
   */
  opening<T>(open: () => T): T {
    try {
      return open();
    } catch (error) {
      if (!(error instanceof PspError && error.code === 'SEAL_INVALID' && this.#readsNewer())) throw error;
      return open();
    }
  }

  #readsNewer(): boolean {
    const state = fileState(this.secret.file);
    if (this.#user === undefined || !this.#watch.isOther(state)) return false;
    try {
      return this.#read(state, monotonicMs());
    } catch (error) {
      // A file that is being written is judged by the next looks.
      if (error instanceof PspError) return false;
      throw error;
    }
  }

  /** @returns whether another secret is in use now. @throws PspError as readBusSecret. */
  #read(state: string, nowMs: number): boolean {
    const read = readBusSecret(this.secret.file);
    try {
      // A file that changed meanwhile is read again at the next look.
      if (read.state !== state || this.#user === undefined) return false;
      this.#user.addSecret(read.octets);
    } finally {
      read.octets.fill(0);
    }
    this.#watch.wasRead(state);
    this.#retireMs.push(nowMs + keptMs);
    this.#readMs = unixMs();
    this.faults.clear(part);
    this.audit.record('busSecret.replaced', {});
    this.log.info('bus secret replaced');
    return true;
  }

  #refuse(cause: unknown, state: string): void {
    if (!(cause instanceof PspError)) throw cause;
    this.#watch.wasRead(state);
    const since = new Date(this.#readMs).toISOString();
    const { code, message } = new PspError('SECRET_NOT_RELOADED', { fault: cause.message, since });
    if (this.faults.set(part, `${code}: ${message}`)) {
      this.log.error({ code, err: message }, 'bus secret not reloaded');
    }
  }
}
