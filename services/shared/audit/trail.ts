// SPDX-License-Identifier: Apache-2.0
// The audit of one service: the rest of the service only calls `record`. An event goes into the spool of this start
// (spool.ts) and from there into the stream (publisher.ts) whenever the audit server is connected; events that earlier
// starts left behind go the same way (leftovers.ts). A trail exists from the start of its service on: until `begin` its
// events wait in memory. Recording never waits and never fails: an event that finds no space is counted, and the loss is
// recorded later. The trail has a connection of its own to the audit server, so that nothing else of a service depends
// on it.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Counter, Health } from '../../../proto/gen/bus.js';
import { BusStream } from '../bus/stream.js';
import { anyNode, auditContracts, auditSubjectsOf, type Service, subjectOf } from '../contracts.js';
import { countersOf } from '../counters.js';
import { PspError } from '../errors.js';
import { monotonicMs, unixMs } from '../process/clock.js';
import { ensureFolder } from '../process/folders.js';
import { accounts } from '../process/privileges.js';
import { within } from '../process/within.js';
import { type AuditData, type AuditType, envelopeOf, type Producer } from './event.js';
import { Leftovers } from './leftovers.js';
import { AuditPublisher, type StreamDoor } from './publisher.js';
import { AuditSpool } from './spool.js';

export interface AuditOptions {
  node: string;
  service: Service;
  /** The folder of this service, made by `makeAuditFolder`. */
  folder: string;
  spoolBytes: number;
  /** host:port of the audit server, and the service's password there. */
  server: string;
  password: string;
  /** How long events are kept after the stream holds them: longer than a server may take to sync them. */
  keepMs?: number;
  /** A folder whose owner has not updated it for so long was left behind. */
  silentMs?: number;
  tendMs?: number;
}

/** All that the rest of a service needs of the audit. */
export interface AuditRecorder {
  record<T extends AuditType>(type: T, data: AuditData[T]): void;
}

/** nats-server syncs every two minutes. */
const defaultKeepMs = 180_000;
const defaultSilentMs = 10_000;
const defaultTendMs = 2000;
/** How long the start waits for a disk that hangs. */
const startMs = 1000;
/** Trouble is reported once it has lasted so long. */
const troubleMs = 5000;
/** A service starts with a disk that is full, read-only, broken or gone, but not with a wrong owner or path. */
const diskTroubles = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'ENODEV', 'ESTALE'];
const isDiskTrouble = (error: unknown): boolean =>
  diskTroubles.includes((error as NodeJS.ErrnoException).code ?? '');

/**
 * Makes the folder that a service spools into, accessible to that service alone. Call it while still root. It does not
 * fail because of a disk in trouble: `psp up` makes the folder once it can. @throws PspError FILE_UNWRITABLE
 */
export function makeAuditFolder(stateDir: string, service: Service): string {
  const folder = join(stateDir, 'audit', service);
  try {
    for (const each of [stateDir, join(stateDir, 'audit')]) ensureFolder(each, { mode: 0o755 });
    ensureFolder(folder, { mode: 0o700, owner: accounts[service] });
  } catch (cause) {
    if (isDiskTrouble(cause)) return folder;
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    const remedy = 'give stateDir a folder that can be written';
    throw new PspError('FILE_UNWRITABLE', { file: folder, detail, remedy }, { cause });
  }
  return folder;
}

/** The stream, with its connection. */
type Stream = StreamDoor & Pick<BusStream, 'connect' | 'close'>;

export class AuditTrail implements AuditRecorder {
  readonly producer: Producer;
  readonly #stream: Stream;
  readonly #spool: AuditSpool;
  readonly #publisher: AuditPublisher;
  readonly #leftovers: Leftovers;
  #folderTried: () => void = () => undefined;
  #tending: NodeJS.Timeout | undefined;
  #tended: Promise<void> = Promise.resolve();
  #closed = false;
  /** Why the last round failed. */
  #failure: string | undefined;

  /** @param stream in place of the audit server, for tests. */
  constructor(
    private readonly options: AuditOptions,
    stream?: Stream,
  ) {
    const { node, service, folder, spoolBytes, server, password } = options;
    const keepMs = options.keepMs ?? defaultKeepMs;
    const incarnation = randomBytes(8).toString('hex');
    const producer = { node, service, incarnation };
    this.producer = producer;
    this.#stream =
      stream ??
      new BusStream({
        node,
        server,
        user: service,
        password,
        onState: (connected) => this.streamState(connected),
      });
    const contract = auditContracts[service];
    this.#publisher = new AuditPublisher(this.#stream, {
      subjectOf: (tail) => subjectOf(node, contract, tail),
      storedSubjectOf: (tail) => subjectOf(anyNode, contract, tail),
      everySubject: auditSubjectsOf(anyNode),
      monotonicMs,
      unixMs,
      onUnfillable: (source, first, last) => {
        if (source.incarnation === incarnation) spool.recordRollback(first, last);
      },
    });
    this.#leftovers = new Leftovers({
      folder,
      incarnation,
      keepMs,
      silentMs: options.silentMs ?? defaultSilentMs,
      monotonicMs,
      unixMs,
      lossEvent: (incarnation, sequence, data, name = node) =>
        envelopeOf({ service, node: name, incarnation }, sequence, 'audit.lost', data, unixMs()),
      onTaken: (leftover) => this.#publisher.add(leftover),
      onLeft: (leftover) => this.#publisher.remove(leftover),
      onRetaken: async () => {
        await spool.renew();
        this.#publisher.resync();
      },
    });
    const spool = new AuditSpool({
      folder: this.#leftovers.own,
      node,
      ready: new Promise<void>((resolve) => {
        this.#folderTried = resolve;
      }),
      limitBytes: spoolBytes,
      othersBytes: () => this.#leftovers.othersBytes,
      keepMs,
      envelope: (sequence, type, data) => envelopeOf(producer, sequence, type, data, unixMs()),
      monotonicMs,
      onRecorded: () => this.#publisher.wake(),
    });
    this.#spool = spool;
    const own = {
      incarnation,
      get first() {
        return spool.first;
      },
      get last() {
        return spool.last;
      },
      read: (after: number) => spool.read(after),
      confirm: (sequence: number) => spool.confirm(sequence),
      rewind: (sequence: number) => spool.rewind(sequence),
      resumed: (held: number) => spool.recordGone(held),
    };
    this.#publisher.add(own, () => this.#leftovers.isOursAlone());
  }

  /**
   * Begins to write to disk, and to publish as soon as the audit server can be reached, for which it does not wait. Call
   * it once, as the user that the service runs as. @throws PspError FILE_UNWRITABLE
   */
  async begin(): Promise<void> {
    const begun = this.#leftovers.begin();
    void begun.catch(() => undefined).then(this.#folderTried);
    try {
      await within(startMs, begun);
    } catch (cause) {
      const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
      const remedy = 'give the folder to the user that the service runs as';
      // Without a folder, events are lost and counted, and the loss is recorded once there is one.
      if (!isDiskTrouble(cause) && detail !== 'ENOENT') {
        throw new PspError('FILE_UNWRITABLE', { file: this.options.folder, detail, remedy }, { cause });
      }
    }
    this.#tending = setInterval(() => this.#tend(), this.options.tendMs ?? defaultTendMs);
    this.#tend();
    this.#stream.connect().catch((error: unknown) => {
      if (!this.#closed) throw error;
    });
  }

  /** Records the last event of the service, then closes the trail. */
  async end(reason: AuditData['service.stopped']['reason'], deadlineMs: number): Promise<void> {
    this.record('service.stopped', { reason });
    await this.close(deadlineMs);
  }

  record<T extends AuditType>(type: T, data: AuditData[T]): void {
    if (!this.#closed) this.#spool.record(type, data);
  }

  /** The audit server was connected, or lost. */
  streamState(connected: boolean): void {
    this.#publisher.serverState(connected);
  }

  /** Resolves once everything recorded so far is synced. */
  flush(): Promise<void> {
    return this.#spool.flush();
  }

  /** Counters that all services have; auditBacklog is a gauge. */
  counters(): Counter[] {
    return countersOf({
      auditRecorded: this.#spool.counters.recorded,
      auditPublished: this.#publisher.counters.published,
      auditLost: this.#spool.counters.lost,
      auditBacklog: this.#publisher.backlog,
    });
  }

  health(): Health[] {
    const lines: Health[] = [];
    const { failure, loss, bytes, writingMs } = this.#spool;
    const report = (message: string, sinceMs = 0) =>
      lines.push({ part: 'audit', message, sinceMs: BigInt(sinceMs) });
    const unwritten = failure ?? this.#failure;
    if (unwritten !== undefined) report(`events cannot be written to ${this.options.folder} (${unwritten})`);
    if (writingMs > troubleMs)
      report(`the disk of ${this.options.folder} does not answer; events wait for it`);
    if (this.#leftovers.failure !== undefined) {
      report(`events of an earlier start cannot be taken over: ${this.#leftovers.failure}`);
    }
    if (loss !== undefined) {
      report(`the spool is full and events are lost since number ${loss.first}; check the disk of stateDir`);
    } else if (
      2 * (bytes + this.#leftovers.othersBytes) > this.options.spoolBytes &&
      this.#publisher.backlog > 0
    ) {
      report(`the spool is more than half full; check the disk of stateDir or raise audit.spoolBytes`);
    }
    const { trouble } = this.#publisher;
    if (trouble !== undefined && this.#publisher.backlog > 0 && unixMs() - trouble.sinceMs > troubleMs) {
      report(`${this.#publisher.backlog} events wait on disk: ${trouble.detail}`, trouble.sinceMs);
    }
    return lines;
  }

  /** Publishes events until the deadline; the rest is left to the next start. */
  async close(deadlineMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#tending);
    // If `begin` was not called, the spool must not wait for its folder.
    this.#folderTried();
    await this.#spool.close();
    await this.#publisher.finish(deadlineMs);
    await this.#stream.close();
    await this.#tended;
    await this.#leftovers.end().catch(() => undefined);
  }

  /** One round at a time; a folder that cannot be read is tried again in the next round. */
  #tend(): void {
    this.#spool.sweep();
    this.#tended = this.#tended
      .then(async () => {
        if (this.#spool.loss !== undefined) await this.#leftovers.makeSpace();
        await this.#leftovers.tend(this.#publisher.connected);
        this.#failure = undefined;
      })
      .catch((error: NodeJS.ErrnoException) => {
        this.#failure = error.code ?? String(error);
      });
  }
}
