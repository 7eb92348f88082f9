// SPDX-License-Identifier: Apache-2.0
// One connection to a server of the node, for bus.ts and stream.ts. It exists disconnected; `connect` connects it as
// soon as the server can be reached, it reconnects for ever, and `close` ends it with a deadline.
import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises';
import { connect, ErrorCode, Events, type NatsConnection, type NatsError } from 'nats';
import { type BusUser, inboxPrefixOf } from '../contracts.js';
import { PspError } from '../errors.js';

export interface ConnectionOptions {
  /** host:port of the server. */
  server: string;
  user: BusUser;
  password: string;
  /** Called at each change, the first connect among them. */
  onState?: (connected: boolean) => void;
  /** false: fail at once when the server cannot be reached (tools); default: wait for it (services). */
  waitOnFirstConnect?: boolean;
  /** Called while waiting for the first connect, once for each new reason. */
  onWaiting?: (reason: PspError) => void;
  /** Ends the wait for the first connection. */
  signal?: AbortSignal;
}

/** Between attempts to connect for the first time. */
const firstConnectWaitMs = 100;
/** How long one attempt to connect may take, also when the server dies during it. */
const dialMs = 2000;
/** How long `close` waits for handlers and for the server. */
const closeMs = 2000;

export class BusConnection {
  #connection: NatsConnection | undefined;
  /** Whether the client has a connection to the server. */
  #isUp = false;
  /** As reported by onState: up, and prepared. */
  #connected = false;
  #closing: Promise<void> | undefined;
  readonly #closed = new AbortController();

  constructor(private readonly options: ConnectionOptions) {}

  /**
   * Connects; call it once. Resolves once connected.
   * @param prepare what has to be done on the connection before it counts as connected.
   * @throws PspError BUS_UNAVAILABLE with waitOnFirstConnect false, or when `signal` or `close` ended the wait.
   */
  async connect(
    prepare: (connection: NatsConnection) => Promise<void> = async () => undefined,
  ): Promise<void> {
    const connection = await this.#firstConnection();
    this.#connection = connection;
    this.#isUp = true;
    let isPrepared = false;
    void this.#watch(connection, () => isPrepared && this.#report());
    await prepare(connection);
    isPrepared = true;
    this.#report();
  }

  /** Whether messages can be sent now. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Undefined until the first connect. */
  get connection(): NatsConnection | undefined {
    return this.#connection;
  }

  /** `close` was called, or the client gave up. */
  get isClosed(): boolean {
    return this.#closed.signal.aborted || (this.#connection?.isClosed() ?? false);
  }

  /**
   * Waits until everything published and subscribed so far has reached the server, or the connection is lost: then the
   * client repeats the subscriptions on the next one.
   */
  async flush(): Promise<void> {
    await this.#connection?.flush().catch((error: NatsError) => {
      if (error.code !== ErrorCode.Disconnect) throw error;
    });
  }

  /** Whether the server answers on this connection within the deadline. A server that accepts connections may hang. */
  async answers(deadlineMs: number): Promise<boolean> {
    if (this.#connection === undefined || !this.#connected || this.isClosed) return false;
    const answered = this.#connection.flush().then(
      () => true,
      () => false,
    );
    return answeredIn(deadlineMs, answered);
  }

  /** Sends what is queued and disconnects, within closeMs. @param settle what has to end before. */
  close(settle: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    this.#closing ??= this.#close(settle);
    return this.#closing;
  }

  async #close(settle: () => Promise<void>): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined || connection.isClosed()) {
      this.#closed.abort();
      return;
    }
    const leave = async () => {
      await settle();
      await connection.drain();
    };
    const late = new AbortController();
    if (this.#connected) {
      const deadline = delay(closeMs, undefined, { signal: late.signal }).catch(() => undefined);
      await Promise.race([leave().catch(() => undefined), deadline]);
    }
    late.abort();
    this.#closed.abort();
    await connection.close();
  }

  async #firstConnection(): Promise<NatsConnection> {
    const { options } = this;
    const ends = AbortSignal.any([this.#closed.signal, ...(options.signal ? [options.signal] : [])]);
    for (let reported = ''; ; ) {
      let reason: PspError;
      try {
        const connection = await dial(options);
        if (!ends.aborted) return connection;
        await connection.close();
        reason = unavailable(options, 'the attempt was ended');
      } catch (cause) {
        reason = unavailable(options, cause);
      }
      if (options.waitOnFirstConnect === false || ends.aborted) throw reason;
      if (reason.message !== reported) options.onWaiting?.(reason);
      reported = reason.message;
      await delay(firstConnectWaitMs, undefined, { signal: ends }).catch(() => {
        throw reason;
      });
    }
  }

  /**
   * Follows the state of the connection. When the client gives up an attempt to connect, that socket stays open. When it
   * ends later, the client takes this for the loss of the connection in use: it connects anew and leaves the old socket
   * open. The server would send half of all requests to the old socket, where no answer can be sent. So the socket that
   * was in use is closed here.
   */
  async #watch(connection: NatsConnection, report: () => void): Promise<void> {
    let inUse = transportOf(connection);
    for await (const status of connection.status()) {
      if (status.type === Events.Disconnect) {
        await inUse.close();
        this.#isUp = false;
        report();
      }
      if (status.type === Events.Reconnect) {
        inUse = transportOf(connection);
        this.#isUp = true;
        report();
      }
    }
    this.#isUp = false;
    if (this.#closing === undefined) report();
  }

  #report(): void {
    if (this.#connected === this.#isUp) return;
    this.#connected = this.#isUp;
    this.options.onState?.(this.#isUp);
  }
}

/**
 * The answer within the deadline; false without one. An answer that has arrived when the deadline is noticed counts,
 * because this process may have been the slow one.
 */
export async function answeredIn(deadlineMs: number, answered: Promise<boolean>): Promise<boolean> {
  const late = new AbortController();
  const deadline = delay(deadlineMs, false, { signal: late.signal })
    .then(() => immediate(false))
    .catch(() => false);
  return Promise.race([answered, deadline]).finally(() => late.abort());
}

/** One socket of a client; it may be closed twice. It is no part of the client's API: bus.test.ts fails if it changes. */
interface Transport {
  close(): Promise<void>;
}
const transportOf = (connection: NatsConnection): Transport =>
  (connection as unknown as { protocol: { transport: Transport } }).protocol.transport;

const dial = ({ server, user, password }: ConnectionOptions): Promise<NatsConnection> =>
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

function unavailable({ server }: ConnectionOptions, cause: unknown): PspError {
  const detail = (cause as NatsError).code?.toLowerCase().replaceAll('_', ' ') ?? String(cause);
  return new PspError('BUS_UNAVAILABLE', { server, detail }, { cause });
}
