// SPDX-License-Identifier: Apache-2.0
// Publishes events to the stream: those of each producer strictly in order, each acknowledged before the next is sent.
// After every connect and every failure it queries the stream for the newest event of a producer and continues after it,
// so that a lost acknowledgement costs nothing, and a stream that was rolled back is filled again. Nothing is dropped here:
// while the server or the stream is away, it waits up to five seconds between attempts. The stream can hold nothing of a
// producer that just began, so it is not queried then: nats-server 2.9.10 of Debian 12 crashes when a message is requested
// from a stream that is being created.

import type { Stored } from '../bus/stream.js';
import { idOf, readEvent, tailOf } from './event.js';
import type { AuditSource } from './leftovers.js';

/** What the publisher needs of the stream (bus/stream.ts). */
export interface StreamDoor {
  store(subject: string, octets: Uint8Array, id: string): Promise<number | undefined>;
  last(subject: string): Promise<Stored | undefined>;
  at(place: number): Promise<Stored | undefined>;
}

export interface PublisherOptions {
  /** The subject of events with this tail. */
  subjectOf: (tail: string) => string;
  /** Subjects of events with this tail in the stream, under this name of the node or an earlier one. */
  storedSubjectOf: (tail: string) => string;
  /** Subjects of all events in the stream. */
  everySubject: string;
  monotonicMs: () => number;
  unixMs: () => number;
  /** The stream lost these events, and their producer, which is this process, no longer has them. */
  onUnfillable: (source: AuditSource, first: number, last: number) => void;
}

interface Progress {
  /** The stream holds everything up to here. */
  at: number;
  /** Sequence number in the stream of the newest event that we stored ourselves. */
  place: number;
  /** Whether `at` was queried since the last connect or failure. */
  known: boolean;
  /** While nothing was sent: whether no other process sent any of it either. */
  isNew: (() => Promise<boolean>) | undefined;
}

const firstWaitMs = 100;
const longestWaitMs = 5000;

class ConnectionLost extends Error {}

export class AuditPublisher {
  readonly counters = { published: 0 };
  /** Why nothing could be published lately, and since when (unix milliseconds). */
  trouble: { detail: string; sinceMs: number } | undefined;
  readonly #sources = new Map<AuditSource, Progress>();
  #connected = false;
  #stopped = false;
  #lost: (error: Error) => void = () => undefined;
  #connection: Promise<never> = new Promise(() => undefined);
  #wake: () => void = () => undefined;
  #woken = false;
  /** Ends the wait that follows a failure. */
  #endRest: () => void = () => undefined;
  #waitMs = firstWaitMs;
  readonly #running: Promise<void>;

  /** @param stream disconnected until `serverState` says otherwise. */
  constructor(
    private readonly stream: StreamDoor,
    private readonly options: PublisherOptions,
  ) {
    this.#running = this.#run();
  }

  /** @param isNew of a producer that just began: whether the stream can still hold nothing of it. */
  add(source: AuditSource, isNew?: () => Promise<boolean>): void {
    this.#sources.set(source, { at: 0, place: 0, known: false, isNew });
    this.wake();
  }

  remove(source: AuditSource): void {
    this.#sources.delete(source);
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Events that the stream does not hold yet, as far as we know. */
  get backlog(): number {
    let sum = 0;
    for (const [source, { at }] of this.#sources)
      sum += Math.max(0, source.last - Math.max(at, source.first - 1));
    return sum;
  }

  /** The server connected or disconnected. Calls in progress end with the connection, and the stream is queried again. */
  serverState(connected: boolean): void {
    this.#connected = connected;
    for (const progress of this.#sources.values()) progress.known = false;
    if (connected) {
      this.#connection = new Promise((_, reject) => {
        this.#lost = reject;
      });
      this.#connection.catch(() => undefined);
      this.#waitMs = firstWaitMs;
      this.wake();
      this.#endRest();
    } else {
      this.#lost(new ConnectionLost('the audit server is not connected'));
    }
  }

  /** The content of a spool changed from outside: the stream is queried again. */
  resync(): void {
    for (const progress of this.#sources.values()) progress.known = false;
    this.wake();
  }

  /** There may be something to do. */
  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Resolves once nothing is left to publish, or after the deadline. Nothing is published afterwards. */
  async finish(deadlineMs: number): Promise<void> {
    const untilMs = this.options.monotonicMs() + deadlineMs;
    while (this.#connected && this.backlog > 0 && this.options.monotonicMs() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.#stopped = true;
    this.#lost(new ConnectionLost('this process ends'));
    this.wake();
    this.#endRest();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#woken = false;
      if (!this.#connected) {
        this.#setTrouble('the audit server is not connected');
        await this.#idle();
        continue;
      }
      try {
        let done = 0;
        for (const [source, progress] of this.#sources) done += await this.#publish(source, progress);
        this.trouble = undefined;
        this.#waitMs = firstWaitMs;
        if (done === 0) await this.#idle();
      } catch (error) {
        for (const progress of this.#sources.values()) progress.known = false;
        if (error instanceof ConnectionLost) continue;
        this.#setTrouble((error as Error).message);
        await this.#rest();
        this.#waitMs = Math.min(2 * this.#waitMs, longestWaitMs);
      }
    }
  }

  /** One round for one producer. @returns how many events were stored. */
  async #publish(source: AuditSource, progress: Progress): Promise<number> {
    if (!progress.known && (await progress.isNew?.())) progress.known = true;
    if (!progress.known) await this.#resume(source, progress);
    if (progress.at >= source.last) return 0;
    const lines = await source.read(progress.at);
    let done = 0;
    for (const line of lines) {
      if (!progress.known || !this.#sources.has(source)) break;
      const subject = this.options.subjectOf(tailOf(line));
      const id = idOf(line.incarnation, line.sequence);
      const { isNew } = progress;
      progress.isNew = undefined;
      const place = await this.#during(this.stream.store(subject, line.octets, id));
      if (place === undefined) {
        progress.isNew = isNew;
        throw new Error('there is no audit stream');
      }
      progress.place = place;
      progress.at = line.sequence;
      source.confirm(line.sequence);
      this.counters.published++;
      done++;
    }
    return done;
  }

  /** Queries what the stream holds of a producer. */
  async #resume(source: AuditSource, progress: Progress): Promise<void> {
    const newest = await this.#during(
      this.stream.last(this.options.storedSubjectOf(`${source.incarnation}.>`)),
    );
    const held = (newest && readEvent(newest.octets)?.sequence) ?? 0;
    if (held < progress.at && (await this.#wasRolledBack(source, progress))) {
      source.rewind(held);
      if (held + 1 < source.first) this.options.onUnfillable(source, held + 1, source.first - 1);
      progress.at = held;
    } else {
      progress.at = Math.max(progress.at, held);
      if (newest !== undefined && held === progress.at) progress.place = newest.place;
    }
    source.confirm(progress.at);
    source.resumed?.(progress.at);
    progress.known = true;
  }

  /** Whether the stream lost events that it had acknowledged, rather than dropped them because it was full. */
  async #wasRolledBack(source: AuditSource, { at, place }: Progress): Promise<boolean> {
    const there = await this.#during(this.stream.at(place));
    if (there !== undefined) {
      const event = readEvent(there.octets);
      return event === undefined || event.id !== idOf(source.incarnation, at);
    }
    const newest = await this.#during(this.stream.last(this.options.everySubject));
    return newest === undefined || newest.place < place;
  }

  /** The result of a call, which fails at once when the connection ends. */
  #during<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    return Promise.race([work, this.#connection]);
  }

  #setTrouble(detail: string): void {
    const sinceMs = this.trouble?.sinceMs ?? this.options.unixMs();
    this.trouble = { detail, sinceMs };
  }

  /** Waits until there may be something to do. */
  #idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#woken || this.#stopped) resolve();
    });
  }

  /** Waits after a failure, at most until the next connect. */
  #rest(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#waitMs);
      this.#endRest = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#stopped) this.#endRest();
    });
  }
}
