// SPDX-License-Identifier: Apache-2.0
// The audit stream, in the terms of JetStream: store one message and have it acknowledged, find the last one below a
// subject, create the stream, read it in order. It has a server of its own (contracts.ts) and a connection of its own, so
// that nothing that waits for a disk shares a connection with a command. Each call is one attempt with a deadline; the
// caller decides whether to try again. Nothing is ever deleted here: a full stream drops its oldest messages by itself.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import {
  AckPolicy,
  type Consumer,
  type ConsumerConfig,
  DeliverPolicy,
  DiscardPolicy,
  ErrorCode,
  type JetStreamClient,
  type JetStreamManager,
  type Msg,
  type MsgRequest,
  type NatsConnection,
  type NatsError,
  nanos,
  ReplayPolicy,
  RetentionPolicy,
  StorageType,
  type StoredMsg,
} from 'nats';
import { auditStream, auditSubjectsOf } from '../contracts.js';
import { PspError } from '../errors.js';
import { monotonicMs } from '../process/clock.js';
import { answeredIn, BusConnection, type ConnectionOptions } from './connection.js';

/** A message that the stream holds. */
export interface Stored {
  /** Its sequence number in the stream, from 1. */
  place: number;
  subject: string;
  octets: Uint8Array;
}

/** Of the stream as a whole. */
export interface StreamState {
  /** Sequence numbers of the oldest and of the newest message; 0 and 0 before the first message. */
  first: number;
  last: number;
  messages: number;
  bytes: number;
}

const answerMs = 2000;
/** JetStream's code of "no message found", which is a valid answer; "stream not found" has the same status. */
const noMessage = 10037;
const streamMissing = 10059;
const consumerMissing = 10014;
/** JetStream's status of "not enabled" and "temporarily unavailable". */
const unavailable = 503;
/** Messages that a reader requests at once, and how long it waits for them. */
const readAhead = 256;
const pageMs = 1000;
const retryMs = 500;
/** A reader that does not follow gives up when no message arrives for so long. */
const stallMs = 10_000;
/** The server removes a consumer that requests nothing for so long. */
const forgottenMs = 30_000;

export interface StreamOptions extends ConnectionOptions {
  node: string;
}

export class BusStream {
  private readonly link: BusConnection;
  private readonly node: string;
  #client: JetStreamClient | undefined;
  #manager: Promise<JetStreamManager> | undefined;

  constructor({ node, ...options }: StreamOptions) {
    this.link = new BusConnection(options);
    this.node = node;
  }

  /** A stream whose server is connected. @throws PspError as `connect`. */
  static async connect(options: StreamOptions): Promise<BusStream> {
    const stream = new BusStream(options);
    await stream.connect();
    return stream;
  }

  /** @throws PspError BUS_UNAVAILABLE with waitOnFirstConnect false, or when `signal` or `close` ended the wait. */
  connect(): Promise<void> {
    return this.link.connect();
  }

  get connected(): boolean {
    return this.link.connected;
  }

  /**
   * Whether JetStream answers, even if only that there is no stream. A server may answer everything else while JetStream
   * hangs, or is switched off because its disk is full.
   */
  async answers(deadlineMs: number): Promise<boolean> {
    if (!this.#isConnected) return false;
    const manager = await this.#managed();
    const answered = manager.streams.info(auditStream).then(
      () => true,
      ({ api_error }: NatsError) => api_error !== undefined && api_error.code !== unavailable,
    );
    return answeredIn(deadlineMs, answered);
  }

  /** Receives every message on a subject, wildcards allowed, as it is published. Only the operator has the right. */
  subscribe(subject: string, handler: (message: { subject: string; octets: Uint8Array }) => void): void {
    const callback = (error: Error | null, { subject, data }: Msg) =>
      void (error ?? handler({ subject, octets: data }));
    this.#connection.subscribe(subject, { callback });
  }

  /** Waits until every subscription so far has reached the server, or the connection is lost. */
  flush(): Promise<void> {
    return this.link.flush();
  }

  close(): Promise<void> {
    return this.link.close();
  }

  get #isConnected(): boolean {
    return this.link.connected && !this.link.isClosed;
  }

  /**
   * Resolves once the stream holds the message. @param id within two minutes a second message of the same id is
   * acknowledged, but not stored again. @returns its sequence number; undefined without a stream: nothing was stored.
   * @throws PspError STREAM_UNAVAILABLE; then it is unknown whether it is stored.
   */
  store(subject: string, octets: Uint8Array, id: string): Promise<number | undefined> {
    return this.#attempt(async () => {
      const expect = { streamName: auditStream };
      const stored = this.#jetStream.publish(subject, octets, { msgID: id, expect });
      return stored.then(
        ({ seq }) => seq,
        (error: NatsError) => {
          if (error.code === ErrorCode.NoResponders) return undefined;
          throw error;
        },
      );
    });
  }

  /** The newest message below a subject, which may hold wildcards. @throws PspError STREAM_UNAVAILABLE */
  last(subject: string): Promise<Stored | undefined> {
    return this.#message({ last_by_subj: subject });
  }

  /** @throws PspError STREAM_UNAVAILABLE */
  at(place: number): Promise<Stored | undefined> {
    return this.#message({ seq: place });
  }

  /** Creates the stream, or changes its limit. @throws PspError STREAM_UNAVAILABLE */
  ensure(maxBytes: number): Promise<void> {
    return this.#attempt(async (manager) => {
      const { streams } = manager;
      const known = await streams.info(auditStream).catch((error: NatsError) => {
        if (error.api_error?.err_code === streamMissing) return undefined;
        throw error;
      });
      const subjects = [auditSubjectsOf(this.node)];
      if (known === undefined) {
        await streams.add({
          name: auditStream,
          subjects,
          storage: StorageType.File,
          retention: RetentionPolicy.Limits,
          discard: DiscardPolicy.Old,
          max_bytes: maxBytes,
          deny_delete: true,
          deny_purge: true,
        });
      } else if (known.config.max_bytes !== maxBytes || known.config.subjects[0] !== subjects[0]) {
        await streams.update(auditStream, { ...known.config, subjects, max_bytes: maxBytes });
      }
    });
  }

  /** @throws PspError STREAM_UNAVAILABLE */
  state(): Promise<StreamState> {
    return this.#attempt(async (manager) => {
      const { state } = await manager.streams.info(auditStream);
      return { first: state.first_seq, last: state.last_seq, messages: state.messages, bytes: state.bytes };
    });
  }

  /**
   * The messages of the stream, oldest first, from an instant (unix milliseconds) on. It waits while the server is away.
   * @param follow false: ends after the message that was the newest at the call; true: goes on until `signal`.
   * @throws PspError STREAM_UNAVAILABLE at the start, and later unless it follows.
   */
  async *read(
    { sinceMs, follow }: { sinceMs?: number; follow: boolean },
    signal: AbortSignal,
  ): AsyncGenerator<Stored> {
    const { last, messages } = await this.state();
    if (!follow && messages === 0) return;
    let next: number | undefined;
    let progressMs = monotonicMs();
    while (!signal.aborted) {
      try {
        const consumer = await this.#consumer(next, sinceMs);
        const { num_pending: pending } = await consumer.info(true);
        if (!follow && pending === 0) return;
        for await (const message of this.#pages(consumer, follow, signal)) {
          next = message.place + 1;
          yield message;
          progressMs = monotonicMs();
          if (!follow && message.place >= last) return;
        }
        if (!follow && monotonicMs() - progressMs > stallMs) {
          const detail = `it delivers nothing from message ${next ?? 1} on, although ${pending} follow`;
          throw new PspError('STREAM_UNAVAILABLE', { detail });
        }
      } catch (error) {
        if (!follow || !(error instanceof PspError)) throw error;
        await delay(retryMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  #consumer(next: number | undefined, sinceMs: number | undefined): Promise<Consumer> {
    return this.#attempt(async (manager) => {
      const info = await manager.consumers.add(auditStream, {
        name: randomBytes(8).toString('hex'),
        ack_policy: AckPolicy.None,
        replay_policy: ReplayPolicy.Instant,
        mem_storage: true,
        inactive_threshold: nanos(forgottenMs),
        ...startOf(next, sinceMs),
      });
      return this.#jetStream.consumers.getPullConsumerFor(info);
    });
  }

  /**
   * Reads through one consumer, until it is gone or one of its messages was lost; unless it `waits`, also until nothing
   * arrives.
   */
  async *#pages(consumer: Consumer, waits: boolean, signal: AbortSignal): AsyncGenerator<Stored> {
    for (let delivered = 0; !signal.aborted; ) {
      const before = delivered;
      const page = await this.#attempt(() => consumer.fetch({ max_messages: readAhead, expires: pageMs }));
      const leave = () => void page.close();
      signal.addEventListener('abort', leave);
      const overdue = setTimeout(leave, pageMs + answerMs);
      try {
        for await (const { seq, subject, data, info } of page) {
          if (info.deliverySequence !== ++delivered) return;
          yield { place: seq, subject, octets: data };
        }
      } catch (cause) {
        if (!(await this.#exists(consumer))) return;
        throw new PspError('STREAM_UNAVAILABLE', { detail: detailOf(cause as NatsError) }, { cause });
      } finally {
        signal.removeEventListener('abort', leave);
        clearTimeout(overdue);
      }
      if (delivered === before && !waits) return;
      // A consumer that is gone does not answer.
      if (delivered === before && !(await this.#exists(consumer))) return;
    }
  }

  #exists(consumer: Consumer): Promise<boolean> {
    return this.#attempt(() =>
      consumer.info().then(
        () => true,
        (error: NatsError) => {
          if (error.api_error?.err_code === consumerMissing) return false;
          throw error;
        },
      ),
    );
  }

  #message(query: MsgRequest): Promise<Stored | undefined> {
    return this.#attempt(async (manager) => {
      const found: StoredMsg | undefined = await manager.streams
        .getMessage(auditStream, query)
        .catch((error: NatsError) => {
          if (error.api_error?.err_code === noMessage) return undefined;
          throw error;
        });
      return found && { place: found.seq, subject: found.subject, octets: found.data };
    });
  }

  async #attempt<T>(work: (manager: JetStreamManager) => Promise<T>): Promise<T> {
    if (!this.#isConnected)
      throw new PspError('STREAM_UNAVAILABLE', { detail: 'the audit server is not connected' });
    try {
      return await work(await this.#managed());
    } catch (cause) {
      throw new PspError('STREAM_UNAVAILABLE', { detail: detailOf(cause as NatsError) }, { cause });
    }
  }

  #managed(): Promise<JetStreamManager> {
    this.#manager ??= this.#connection.jetstreamManager({ timeout: answerMs, checkAPI: false });
    return this.#manager;
  }

  get #jetStream(): JetStreamClient {
    this.#client ??= this.#connection.jetstream({ timeout: answerMs });
    return this.#client;
  }

  /** Set whenever the server is connected: see `#attempt`. */
  get #connection(): NatsConnection {
    const { connection } = this.link;
    if (connection === undefined) throw new Error('the audit stream was never connected');
    return connection;
  }
}

function startOf(next: number | undefined, sinceMs: number | undefined): Partial<ConsumerConfig> {
  if (next !== undefined) return { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: next };
  if (sinceMs === undefined) return { deliver_policy: DeliverPolicy.All };
  const opt_start_time = new Date(sinceMs).toISOString();
  return { deliver_policy: DeliverPolicy.StartTime, opt_start_time };
}

function detailOf(error: NatsError): string {
  if (error.api_error) return error.api_error.description;
  return error.code === ErrorCode.Timeout ? `no answer within ${answerMs} ms` : error.message;
}
