// SPDX-License-Identifier: Apache-2.0
// One connection to a server of the node, for whoever speaks over it (bus.ts, bus_stream.ts): made at the first
// chance, made again for ever, and closed with a deadline.
import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises';
import { connect, ErrorCode, Events, type NatsConnection, type NatsError } from 'nats';
import { type BusUser, inboxPrefixOf } from '../contracts.js';
import { PspError } from '../errors.js';

export interface LinkOptions {
  /** host:port of the server. */
  server: string;
  user: BusUser;
  password: string;
  /** Called when the connection comes and goes. */
  onState?: (connected: boolean) => void;
  /** false: fail at once when the server cannot be reached (tools); default: wait for it (services). */
  waitOnFirstConnect?: boolean;
  /** Called while waiting for the first connect, once for each new reason. */
  onWaiting?: (reason: PspError) => void;
  /** Ends the wait for the first connect. */
  signal?: AbortSignal;
}

/** Between attempts to connect for the first time. */
const firstConnectWaitMs = 100;
/** How long one attempt to connect may take. A server that dies in the middle of one costs this time, too. */
const dialMs = 2000;
/** How long close waits for whoever speaks here and for the server. */
const closeMs = 2000;

export class BusLink {
  #connected = true;
  #closing: Promise<void> | undefined;

  private constructor(
    readonly connection: NatsConnection,
    private readonly options: LinkOptions,
  ) {}

  /** @throws PspError BUS_UNAVAILABLE, only with waitOnFirstConnect false or when `signal` ended the wait. */
  static async connect(options: LinkOptions): Promise<BusLink> {
    for (let reported = ''; ; ) {
      try {
        const link = new BusLink(await dial(options), options);
        void link.#watch();
        return link;
      } catch (cause) {
        const reason = unavailable(options, cause);
        if (options.waitOnFirstConnect === false || options.signal?.aborted) throw reason;
        if (reason.message !== reported) options.onWaiting?.(reason);
        reported = reason.message;
        await delay(firstConnectWaitMs, undefined, {
          ...(options.signal && { signal: options.signal }),
        }).catch(() => {
          throw reason;
        });
      }
    }
  }

  get connected(): boolean {
    return this.#connected;
  }

  get isClosed(): boolean {
    return this.connection.isClosed();
  }

  /**
   * Waits until what was published and subscribed so far has reached the server, or the connection is lost: then
   * what was subscribed is subscribed anew with the next one.
   */
  async flush(): Promise<void> {
    await this.connection.flush().catch((error: NatsError) => {
      if (error.code !== ErrorCode.Disconnect) throw error;
    });
  }

  /** Whether the server answers on this connection within the deadline: a server that accepts connections may hang. */
  async answers(deadlineMs: number): Promise<boolean> {
    if (!this.#connected || this.isClosed) return false;
    const answered = this.connection.flush().then(
      () => true,
      () => false,
    );
    return answeredIn(deadlineMs, answered);
  }

  /** Sends what is queued and leaves, within closeMs. @param settle what has to end before. */
  close(settle: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    this.#closing ??= this.#close(settle);
    return this.#closing;
  }

  async #close(settle: () => Promise<void>): Promise<void> {
    if (this.isClosed) return;
    const leave = async () => {
      await settle();
      await this.connection.drain();
    };
    const late = new AbortController();
    if (this.#connected) {
      const deadline = delay(closeMs, undefined, { signal: late.signal }).catch(() => undefined);
      await Promise.race([leave().catch(() => undefined), deadline]);
    }
    late.abort();
    await this.connection.close();
  }

  /**
   * Follows the connection. A dial that the client gave up stays open, and when it ends at last the client takes
   * that for the loss of the connection in use: it dials anew and leaves the old one open beside. The server would
   * send half of all requests there, and their answers, which come by the new one, would be nobody's to give.
   */
  async #watch(): Promise<void> {
    let inUse = transportOf(this.connection);
    for await (const status of this.connection.status()) {
      if (status.type === Events.Disconnect) {
        await inUse.close();
        this.#state(false);
      }
      if (status.type === Events.Reconnect) {
        inUse = transportOf(this.connection);
        this.#state(true);
      }
    }
    if (this.#closing === undefined) this.#state(false);
  }

  #state(connected: boolean): void {
    if (this.#connected === connected) return;
    this.#connected = connected;
    this.options.onState?.(connected);
  }
}

/**
 * What came of a question within the deadline, false if nothing did. An answer that has arrived when the deadline is
 * noticed counts: this process may have been the slow one.
 */
export async function answeredIn(deadlineMs: number, answered: Promise<boolean>): Promise<boolean> {
  const late = new AbortController();
  const deadline = delay(deadlineMs, false, { signal: late.signal })
    .then(() => immediate(false))
    .catch(() => false);
  return Promise.race([answered, deadline]).finally(() => late.abort());
}

/** One socket of a client, and its end. Closing it twice is no fault. The client gives out none: bus.test.ts tells when it changes. */
interface Transport {
  close(): Promise<void>;
}
const transportOf = (connection: NatsConnection): Transport =>
  (connection as unknown as { protocol: { transport: Transport } }).protocol.transport;

const dial = ({ server, user, password }: LinkOptions): Promise<NatsConnection> =>
  connect({
    servers: server,
    user,
    pass: password,
    name: user,
    inboxPrefix: inboxPrefixOf(user),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
    reconnectJitter: 100,
    pingInterval: 2000,
    maxPingOut: 2,
    noAsyncTraces: true,
    ignoreAuthErrorAbort: true,
    timeout: dialMs,
  });

function unavailable({ server }: LinkOptions, cause: unknown): PspError {
  const detail = (cause as NatsError).code?.toLowerCase().replaceAll('_', ' ') ?? String(cause);
  return new PspError('BUS_UNAVAILABLE', { server, detail }, { cause });
}
