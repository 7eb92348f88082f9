// SPDX-License-Identifier: Apache-2.0
// The node's bus, in the terms of the contract table: publish, request, respond, receive. With connection.ts and stream.ts
// this is the only module that uses the `nats` package. A bus exists disconnected: handlers are registered at any time, `connect`
// connects it as soon as the server can be reached, it reconnects for ever and, on close, lets handlers finish within a
// deadline. A message that cannot be sent or handled at once is dropped and counted, never queued without bound: its
// sender repeats it, or no receiver depends on it.
import {
  Empty,
  ErrorCode,
  headers,
  type Msg,
  type NatsConnection,
  type NatsError,
  type Service as NatsService,
  type QueuedIterator,
  type ServiceMsg,
  type Subscription,
  type SubscriptionOptions,
} from 'nats';
import { type Codec, type EventContract, queueOf, type RequestContract, subjectOf } from '../contracts.js';
import { isErrorCode, PspError } from '../errors.js';
import { BusConnection, type ConnectionOptions } from './connection.js';

export interface BusOptions extends ConnectionOptions {
  node: string;
  /** Of a service: announced in the NATS services protocol at the first connect. */
  service?: { description: string; version: string };
  /** Called with what a handler threw, which is a fault of its service (a PspError is an answer, not a fault). */
  onFault?: (subject: string, error: unknown) => void;
}

/** Messages of one subscription that may be in progress at once; more are dropped and counted. */
const inFlightLimit = 4096;
/** As in the NATS services protocol: code of errors.ts in the first, data of the error as JSON in the body. */
const errorHeader = 'Nats-Service-Error';
const errorCodeHeader = 'Nats-Service-Error-Code';

export interface BusCounters {
  /** Events and answers that were not sent: no connection, it is being closed, or an event too long for it. */
  unsent: number;
  /** Not handled: too much in flight. */
  overrun: number;
  /** Not decoded. */
  malformed: number;
}

/** A service that answered the NATS services protocol. */
export interface Discovered {
  name: string;
  id: string;
  version: string;
}

/** How long answers are collected. */
interface GatherOptions {
  waitMs: number;
  timeoutMs: number;
  /** By default, one answer is enough. */
  isEnough?: (answers: readonly Msg[]) => boolean;
}

/** A message as it travels. */
export interface RawMessage {
  subject: string;
  octets: Uint8Array;
}

export class Bus {
  readonly counters: BusCounters = { unsent: 0, overrun: 0, malformed: 0 };
  readonly #link: BusConnection;
  #settled: Promise<void> | undefined;
  #service: NatsService | undefined;
  /** What is registered at the first connect; undefined from then on. */
  #registrations: ((connection: NatsConnection) => void)[] | undefined = [];
  readonly #subscriptions: Subscription[] = [];
  readonly #inFlight = new Set<Promise<void>>();

  constructor(private readonly options: BusOptions) {
    this.#link = new BusConnection(options);
  }

  /** A bus that is connected. @throws PspError as `connect`. */
  static async connect(options: BusOptions): Promise<Bus> {
    const bus = new Bus(options);
    await bus.connect();
    return bus;
  }

  /**
   * Connects; call it once. Resolves once connected.
   * @throws PspError BUS_UNAVAILABLE with waitOnFirstConnect false, or when `signal` or `close` ended the wait.
   */
  connect(): Promise<void> {
    return this.#link.connect(async (connection) => {
      const { service, user } = this.options;
      if (service) this.#service = await connection.services.add({ name: user, ...service });
      for (const register of this.#registrations ?? []) register(connection);
      this.#registrations = undefined;
    });
  }

  get connected(): boolean {
    return this.#link.connected;
  }

  /** Id of this instance in the NATS services protocol; empty until the first connect. */
  get id(): string {
    return this.#service?.info().id ?? '';
  }

  /**
   * Sends an event. @param id for contracts that are perSender.
   * @returns false, counted, when there is no connection, it is being closed, or the event is too long for it.
   */
  publish<T>(contract: EventContract<T>, message: T, id?: string): boolean {
    const connection = this.#usable;
    if (connection === undefined || connection.isDraining()) {
      this.counters.unsent++;
      return false;
    }
    const payload = contract.payload.encode(message).finish();
    if (payload.length > (connection.info?.max_payload ?? payload.length)) {
      this.counters.unsent++;
      return false;
    }
    connection.publish(subjectOf(this.options.node, contract, id), payload);
    return true;
  }

  /**
   * @throws PspError SERVICE_DOWN at once when there is no receiver, SERVICE_TIMEOUT without an answer in time (whether the
   * request was carried out is unknown), PAYLOAD_INVALID for an answer that does not decode, and the PspError that the
   * receiver's handler threw.
   */
  async request<T, R>(contract: RequestContract<T, R>, message: T, timeoutMs: number): Promise<R> {
    const subject = subjectOf(this.options.node, contract);
    const service = contract.to.join();
    const connection = this.#usable;
    if (connection === undefined) throw new PspError('SERVICE_DOWN', { service });
    let answer: Msg;
    try {
      answer = await connection.request(subject, contract.payload.encode(message).finish(), {
        timeout: timeoutMs,
      });
    } catch (cause) {
      throw (cause as NatsError).code === ErrorCode.Timeout
        ? new PspError('SERVICE_TIMEOUT', { service, ms: timeoutMs }, { cause })
        : new PspError('SERVICE_DOWN', { service }, { cause });
    }
    const refusal = refusalIn(answer);
    if (refusal) throw refusal;
    return this.#decode(contract.reply, answer.data, subject);
  }

  /**
   * Sends a request to every replica and returns the valid answers that arrive within waitMs; malformed ones are counted.
   * Without any answer it waits up to timeoutMs.
   */
  async requestAll<T, R>(
    contract: RequestContract<T, R>,
    message: T,
    waitMs: number,
    timeoutMs = waitMs,
  ): Promise<R[]> {
    const subject = subjectOf(this.options.node, contract);
    const service = contract.to.join();
    const answers: R[] = [];
    const payload = contract.payload.encode(message).finish();
    for (const answer of await this.#gather(subject, payload, service, { waitMs, timeoutMs })) {
      const reply = refusalIn(answer) ? undefined : this.#tryDecode(contract.reply, answer.data);
      if (reply !== undefined) answers.push(reply);
    }
    return answers;
  }

  /**
   * The services that answer the NATS services protocol within waitMs.
   * @param isEnough while it is false, the wait lasts up to timeoutMs.
   */
  async discover(
    waitMs: number,
    timeoutMs = waitMs,
    isEnough: (found: readonly Discovered[]) => boolean = () => true,
  ): Promise<Discovered[]> {
    const found = (answers: readonly Msg[]) =>
      answers.map((answer) => {
        const { name, id, version } = answer.json<Discovered>();
        return { name, id, version };
      });
    const options = { waitMs, timeoutMs, isEnough: (answers: readonly Msg[]) => isEnough(found(answers)) };
    return found(await this.#gather('$SRV.PING', Empty, 'services', options));
  }

  /** Receives an event. The handler must not throw; a promise that it returns counts against the limit in progress. */
  receive<T>(contract: EventContract<T>, handler: (message: T) => void | Promise<void>): void {
    const subject = subjectOf(this.options.node, contract);
    const gate = { inFlight: 0 };
    this.#subscribe(subject, {
      ...(contract.queue ? { queue: queueOf(this.options.user) } : {}),
      callback: (error, message) => {
        if (error) return this.options.onFault?.(subject, error);
        const payload = this.#tryDecode(contract.payload, message.data);
        if (payload !== undefined) this.#admit(subject, gate, async () => handler(payload));
      },
    });
  }

  /**
   * Receives every message on a subject, wildcards allowed, beside its receivers: in no queue group, and without answering.
   * Only the operator has the right.
   */
  subscribe(subject: string, handler: (message: RawMessage) => void): void {
    const callback = (error: Error | null, { subject, data }: Msg) =>
      error ? this.options.onFault?.(subject, error) : handler({ subject, octets: data });
    this.#subscribe(subject, { callback });
  }

  /**
   * Answers a request. Requests that replicas share become endpoints of this service in the NATS services protocol, so that
   * `nats micro ls|info|stats` shows them. A PspError that the handler throws is the answer. Anything else that it throws is
   * a fault and is answered with ENGINE_FAILED.
   */
  respond<T, R>(contract: RequestContract<T, R>, handler: (message: T) => R | Promise<R>): void {
    const subject = subjectOf(this.options.node, contract);
    const gate = { inFlight: 0 };
    const send = (answer: () => unknown) => {
      if (this.#usable !== undefined) answer();
      else this.counters.unsent++;
    };
    const answer = (message: Msg | ServiceMsg) => {
      const no = (error: PspError) => send(() => refuse(message, error));
      const payload = this.#tryDecode(contract.payload, message.data);
      if (payload === undefined) {
        return no(new PspError('PAYLOAD_INVALID', { subject, detail: 'it does not decode' }));
      }
      const admitted = this.#admit(subject, gate, async () => {
        try {
          const reply = contract.reply.encode(await handler(payload)).finish();
          send(() => message.respond(reply));
        } catch (error) {
          if (error instanceof PspError) return no(error);
          no(new PspError('ENGINE_FAILED', { detail: 'internal error of the service' }));
          throw error;
        }
      });
      if (!admitted) no(new PspError('OVERLOADED'));
    };
    const callback = (error: Error | null, message: Msg | ServiceMsg) =>
      error ? this.options.onFault?.(subject, error) : answer(message);
    if (!contract.queue) {
      this.#subscribe(subject, { callback });
      return;
    }
    if (this.options.service === undefined) throw new Error('only a service responds to shared requests');
    const name = contract.subject.replaceAll('.', '-');
    const endpoint = { subject, queue: queueOf(this.options.user), handler: callback };
    this.#register(() => this.#service?.addEndpoint(name, endpoint));
  }

  /** Waits until everything published and subscribed so far has reached the server, or the connection is lost. */
  flush(): Promise<void> {
    return this.#link.flush();
  }

  /** Whether the server answers within the deadline. */
  answers(deadlineMs: number): Promise<boolean> {
    return this.#link.answers(deadlineMs);
  }

  /** Receives no more messages and lets handlers finish; messages can still be sent. */
  async settle(): Promise<void> {
    if (this.#usable === undefined) return;
    this.#settled ??= this.#settle();
    await this.#settled;
  }

  async #settle(): Promise<void> {
    await Promise.allSettled([this.#service?.stop(), ...this.#subscriptions.map((each) => each.drain())]);
    await Promise.all(this.#inFlight);
  }

  /** Receives no more messages, lets handlers finish, sends what is queued and disconnects, within two seconds. */
  close(): Promise<void> {
    return this.#link.close(() => this.settle());
  }

  /** The connection while messages can be sent. */
  get #usable(): NatsConnection | undefined {
    return this.#link.connected && !this.#link.isClosed ? this.#link.connection : undefined;
  }

  #subscribe(subject: string, options: SubscriptionOptions): void {
    this.#register((connection) => this.#subscriptions.push(connection.subscribe(subject, options)));
  }

  /** Registers now, or at the first connect; the client repeats it at each later one. */
  #register(work: (connection: NatsConnection) => void): void {
    if (this.#registrations !== undefined) this.#registrations.push(work);
    else work(this.#link.connection as NatsConnection);
  }

  /** Starts work. @returns false, counted, when too much is in progress already. */
  #admit(subject: string, gate: { inFlight: number }, work: () => Promise<void>): boolean {
    if (gate.inFlight >= inFlightLimit) {
      this.counters.overrun++;
      return false;
    }
    gate.inFlight++;
    const running = work()
      .catch((error: unknown) => this.options.onFault?.(subject, error))
      .finally(() => {
        gate.inFlight--;
        this.#inFlight.delete(running);
      });
    this.#inFlight.add(running);
    return true;
  }

  /** The answers within waitMs, or later as soon as they are enough; after timeoutMs those that have arrived. */
  async #gather(
    subject: string,
    payload: Uint8Array,
    service: string,
    { waitMs, timeoutMs, isEnough = ({ length }) => length > 0 }: GatherOptions,
  ): Promise<Msg[]> {
    const connection = this.#usable;
    if (connection === undefined) throw new PspError('SERVICE_DOWN', { service });
    const answers: Msg[] = [];
    let isDue = false;
    let due: NodeJS.Timeout | undefined;
    try {
      const replies = await connection.requestMany(subject, payload, { maxWait: timeoutMs });
      due = setTimeout(() => {
        isDue = true;
        if (isEnough(answers)) (replies as QueuedIterator<Msg>).stop();
      }, waitMs);
      for await (const reply of replies) {
        answers.push(reply);
        if (isDue && isEnough(answers)) break;
      }
    } catch (cause) {
      if ((cause as NatsError).code !== ErrorCode.NoResponders)
        throw new PspError('SERVICE_DOWN', { service }, { cause });
    } finally {
      clearTimeout(due);
    }
    return answers;
  }

  #tryDecode<T>(codec: Codec<T>, octets: Uint8Array): T | undefined {
    try {
      return codec.decode(octets);
    } catch {
      this.counters.malformed++;
      return undefined;
    }
  }

  #decode<T>(codec: Codec<T>, octets: Uint8Array, subject: string): T {
    const message = this.#tryDecode(codec, octets);
    if (message === undefined)
      throw new PspError('PAYLOAD_INVALID', { subject, detail: 'it does not decode' });
    return message;
  }
}

function refuse(message: Msg | ServiceMsg, error: PspError): void {
  const data = JSON.stringify(error.data, (_, value) => (typeof value === 'bigint' ? String(value) : value));
  const head = headers();
  head.set(errorHeader, error.code);
  head.set(errorCodeHeader, '500');
  message.respond(Buffer.from(data), { headers: head });
}

/** The PspError that an answer contains, if any. */
function refusalIn(answer: Msg): PspError | undefined {
  const code = answer.headers?.get(errorHeader);
  if (!code) return undefined;
  if (!isErrorCode(code)) return new PspError('ENGINE_FAILED', { detail: code });
  try {
    return new PspError(code, answer.json<Record<string, string>>());
  } catch {
    return new PspError(code);
  }
}
