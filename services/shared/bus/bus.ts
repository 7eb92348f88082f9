// SPDX-License-Identifier: Apache-2.0
// The room that knows the `nats` package, with bus_link.ts and bus_stream.ts. A service speaks in contracts: publish,
// request, respond, hear. Clients wait for the first connect, reconnect for ever and, on close, let handlers finish
// within a deadline.
// What cannot be sent or handled at once is dropped and counted, never queued without bound: every message here
// is repeated by its sender or missed by nobody.
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
} from 'nats';
import { type Codec, type EventContract, queueOf, type RequestContract, subjectOf } from '../contracts.js';
import { isErrorCode, PspError } from '../errors.js';
import { BusLink, type LinkOptions } from './link.js';

export interface BusOptions extends LinkOptions {
  node: string;
  /** What a handler threw although handlers must not (a PspError is an answer, not a fault). */
  onFault?: (subject: string, error: unknown) => void;
}

/** Messages of one subscription that may be worked on at once; more are dropped and counted. */
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

/** How long answers are gathered. */
interface Patience {
  waitMs: number;
  patienceMs: number;
  /** By default one answer is. */
  isEnough?: (answers: readonly Msg[]) => boolean;
}

/** A message that was meant for others. */
export interface Overheard {
  subject: string;
  octets: Uint8Array;
}

export class Bus {
  readonly counters: BusCounters = { unsent: 0, overrun: 0, malformed: 0 };
  #settled: Promise<void> | undefined;
  #service: NatsService | undefined;
  readonly #subscriptions: Subscription[] = [];
  readonly #inFlight = new Set<Promise<void>>();
  private readonly connection: NatsConnection;

  private constructor(
    private readonly link: BusLink,
    private readonly options: BusOptions,
  ) {
    this.connection = link.connection;
  }

  /** @throws PspError BUS_UNAVAILABLE, only with waitOnFirstConnect false or when `signal` ended the wait. */
  static async connect(options: BusOptions): Promise<Bus> {
    return new Bus(await BusLink.connect(options), options);
  }

  get connected(): boolean {
    return this.link.connected;
  }

  /** Sends an event; false and counted when there is no connection, it is being closed, or the event is too long for it. `id` for contracts that are perSender. */
  publish<T>(contract: EventContract<T>, message: T, id?: string): boolean {
    if (!this.link.connected || this.connection.isClosed() || this.connection.isDraining()) {
      this.counters.unsent++;
      return false;
    }
    const payload = contract.payload.encode(message).finish();
    if (payload.length > (this.connection.info?.max_payload ?? payload.length)) {
      this.counters.unsent++;
      return false;
    }
    this.connection.publish(subjectOf(this.options.node, contract, id), payload);
    return true;
  }

  /**
   * @throws PspError SERVICE_DOWN at once when nobody hears it, SERVICE_TIMEOUT on no answer in time (what became of
   * it is unknown), PAYLOAD_INVALID on one that does not decode, and whatever PspError the receiver's handler threw.
   */
  async request<T, R>(contract: RequestContract<T, R>, message: T, timeoutMs: number): Promise<R> {
    const subject = subjectOf(this.options.node, contract);
    const service = contract.to.join();
    if (!this.link.connected) throw new PspError('SERVICE_DOWN', { service });
    let answer: Msg;
    try {
      answer = await this.connection.request(subject, contract.payload.encode(message).finish(), {
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
   * Asks every replica and gathers the good answers that arrive within waitMs; malformed ones are counted. While
   * nobody answered, it waits on up to patienceMs.
   */
  async requestAll<T, R>(
    contract: RequestContract<T, R>,
    message: T,
    waitMs: number,
    patienceMs = waitMs,
  ): Promise<R[]> {
    const subject = subjectOf(this.options.node, contract);
    const service = contract.to.join();
    if (!this.link.connected) throw new PspError('SERVICE_DOWN', { service });
    const answers: R[] = [];
    const payload = contract.payload.encode(message).finish();
    for (const answer of await this.#gather(subject, payload, service, { waitMs, patienceMs })) {
      const reply = refusalIn(answer) ? undefined : this.#tryDecode(contract.reply, answer.data);
      if (reply !== undefined) answers.push(reply);
    }
    return answers;
  }

  /**
   * Everybody who answers the services protocol within waitMs.
   * @param isEnough while it says no, it waits on up to patienceMs.
   */
  async discover(
    waitMs: number,
    patienceMs = waitMs,
    isEnough: (found: readonly Discovered[]) => boolean = () => true,
  ): Promise<Discovered[]> {
    const found = (answers: readonly Msg[]) =>
      answers.map((answer) => {
        const { name, id, version } = answer.json<Discovered>();
        return { name, id, version };
      });
    const patience = { waitMs, patienceMs, isEnough: (answers: readonly Msg[]) => isEnough(found(answers)) };
    return found(await this.#gather('$SRV.PING', Empty, 'services', patience));
  }

  /** Hears an event. The handler must not throw; a promise that it returns is counted against the bound. */
  hear<T>(contract: EventContract<T>, handler: (message: T) => void | Promise<void>): void {
    const subject = subjectOf(this.options.node, contract);
    const gate = { inFlight: 0 };
    const subscription = this.connection.subscribe(subject, {
      ...(contract.queue ? { queue: queueOf(this.options.user) } : {}),
      callback: (error, message) => {
        if (error) return this.options.onFault?.(subject, error);
        const payload = this.#tryDecode(contract.payload, message.data);
        if (payload !== undefined) this.#admit(subject, gate, async () => handler(payload));
      },
    });
    this.#subscriptions.push(subscription);
  }

  /**
   * Hears whatever travels on a subject, wildcards allowed, beside its receivers: in no queue group, and nothing is
   * answered. Only the operator has the right.
   */
  listen(subject: string, handler: (message: Overheard) => void): void {
    const callback = (error: Error | null, { subject, data }: Msg) =>
      error ? this.options.onFault?.(subject, error) : handler({ subject, octets: data });
    this.#subscriptions.push(this.connection.subscribe(subject, { callback }));
  }

  /**
   * Answers a request. Shared ones become endpoints of this service in the NATS services protocol, so that
   * `nats micro ls|info|stats` sees them; call `announce` first. A PspError that the handler throws is the answer;
   * anything else is a fault, answered ENGINE_FAILED.
   */
  respond<T, R>(contract: RequestContract<T, R>, handler: (message: T) => R | Promise<R>): void {
    const subject = subjectOf(this.options.node, contract);
    const gate = { inFlight: 0 };
    const send = (answer: () => unknown) => {
      if (this.link.connected && !this.connection.isClosed()) answer();
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
          no(new PspError('ENGINE_FAILED', { detail: 'a fault of its own' }));
          throw error;
        }
      });
      if (!admitted) no(new PspError('OVERLOADED'));
    };
    const callback = (error: Error | null, message: Msg | ServiceMsg) =>
      error ? this.options.onFault?.(subject, error) : answer(message);
    if (contract.queue) {
      if (this.#service === undefined) throw new Error('announce the service before it responds');
      const name = contract.subject.replaceAll('.', '-');
      this.#service.addEndpoint(name, { subject, queue: queueOf(this.options.user), handler: callback });
    } else {
      this.#subscriptions.push(this.connection.subscribe(subject, { callback }));
    }
  }

  /** Joins the NATS services protocol. @returns the instance's id. */
  async announce(description: string, version: string): Promise<string> {
    this.#service = await this.connection.services.add({ name: this.options.user, version, description });
    return this.#service.info().id;
  }

  /** Waits until what was published and subscribed so far has reached the server, or the connection is lost. */
  flush(): Promise<void> {
    return this.link.flush();
  }

  /** Whether the server answers within the deadline. */
  answers(deadlineMs: number): Promise<boolean> {
    return this.link.answers(deadlineMs);
  }

  /** Takes no more messages and lets handlers finish, if there is a connection; what we send still goes. */
  async settle(): Promise<void> {
    if (!this.link.connected || this.connection.isClosed()) return;
    this.#settled ??= this.#settle();
    await this.#settled;
  }

  async #settle(): Promise<void> {
    await Promise.allSettled([this.#service?.stop(), ...this.#subscriptions.map((each) => each.drain())]);
    await Promise.all(this.#inFlight);
  }

  /** Takes no more messages, lets handlers finish, sends what is queued, leaves; all of it within two seconds. */
  close(): Promise<void> {
    return this.link.close(() => this.settle());
  }

  /** Starts work unless too much is in flight already: then false, and counted. */
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

  /** The answers within waitMs, or those that were enough later; after patienceMs those that there are. */
  async #gather(
    subject: string,
    payload: Uint8Array,
    service: string,
    { waitMs, patienceMs, isEnough = ({ length }) => length > 0 }: Patience,
  ): Promise<Msg[]> {
    const answers: Msg[] = [];
    let isDue = false;
    let due: NodeJS.Timeout | undefined;
    try {
      const replies = await this.connection.requestMany(subject, payload, { maxWait: patienceMs });
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

/** The PspError that an answer stands for, if it is one. */
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
