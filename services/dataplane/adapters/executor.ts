// SPDX-License-Identifier: Apache-2.0
// Reports facts to the arbiter and carries out its actions: commands to the engine, exchanges on the bus, replies to
// requests. All actions of one fact are carried out in the same turn of the event loop, in their order, so the engine
// receives commands in the order in which the arbiter decided. `withdraw` and `refuse` must not be lost (a refusal
// drops held packets, a withdrawal ends a receive SPI), so they are repeated while the engine's ring is full. A removal
// waits for space in the ring by itself, before every later command. An offer is not repeated, because its want is tried
// again.
import { type FlowWanted, WantReason } from '../../../proto/gen/bus.js';
import { type FlowKey, flowOf } from '../../shared/address.js';
import type { Bus } from '../../shared/bus/bus.js';
import { contracts } from '../../shared/contracts.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs, monotonicNs } from '../../shared/process/clock.js';
import type { FlowTraces } from '../../shared/service/flow_traces.js';
import type { DataplaneConfig } from '../config.js';
import { type Arbiter, tickMs } from '../core/arbiter.js';
import type { Action, Fact, Miss, Replies, RequestFact } from '../core/facts.js';
import type { AuditReport } from './audit_report.js';
import type { Engine, OpenedKeys } from './engine.js';

const retryMs = 20;
/** Flows whose last miss is remembered. */
const missesRemembered = 1024;

type ActionOf<T extends Action['type']> = Extract<Action, { type: T }>;

/** What a request contains beside its fact. */
export interface RequestContext {
  /** The keys of its message; released when the request ends. */
  keys?: OpenedKeys;
  /** Makes the offers that answer an accept. */
  offerInReturn?: () => Promise<{ generation: number; spis: readonly number[]; spisLeft: number }>;
}

interface Request extends RequestContext {
  resolve(reply: ActionOf<'reply'>['reply']): void;
  reject(error: Error): void;
}

const wants = {
  miss: { contract: contracts.flowMissed, reason: WantReason.WANT_REASON_MISS },
  configured: { contract: contracts.flowMissed, reason: WantReason.WANT_REASON_CONFIGURED },
  renew: { contract: contracts.flowMissed, reason: WantReason.WANT_REASON_RENEW },
  stale: { contract: contracts.flowStale, reason: WantReason.WANT_REASON_STALE },
} as const;

export class Executor {
  #ticks: NodeJS.Timeout | undefined;
  #stopped = false;
  /** Messages of exchanges whose offers were made in this turn. */
  readonly #unpublished = new Map<bigint, { want: FlowWanted; reason: ActionOf<'offer'>['reason'] }>();
  readonly #requests = new Map<number, Request>();
  /** When the engine reported the last misses; for traces only. */
  readonly #missedNs = new Map<FlowKey, bigint>();
  #lastRequest = 0;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(
    private readonly config: Pick<DataplaneConfig, 'peers' | 'terms'>,
    private readonly arbiter: Arbiter,
    private readonly engine: Engine,
    private readonly auditor: AuditReport,
    private readonly bus: Pick<Bus, 'publish'>,
    private readonly traces: FlowTraces,
  ) {}

  /** Called once the engine runs. */
  start(): void {
    this.#ticks = setInterval(() => this.on({ type: 'tick' }), tickMs);
  }

  /** The engine receives no command afterwards; requests that are under way fail. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#ticks);
    for (const timer of this.#timers) clearTimeout(timer);
    for (const request of this.#requests.keys()) this.#end(request).reject(new PspError('ENGINE_BUSY'));
  }

  busState(connected: boolean): void {
    if (connected) this.bus.publish(contracts.dataplaneStarted, { epoch: this.arbiter.epoch });
    this.on({ type: 'bus', connected });
  }

  /** Reports a fact to the arbiter and carries out its actions. */
  on(fact: Fact): void {
    if (this.#stopped) return;
    if (fact.type === 'missed') this.#missed(fact.misses);
    for (const action of this.arbiter.on(fact, monotonicMs())) this.#perform(action);
  }

  #missed(misses: readonly Miss[]): void {
    const nowNs = monotonicNs();
    for (const { flow } of misses.slice(0, missesRemembered)) {
      this.#missedNs.delete(flow);
      this.#missedNs.set(flow, nowNs);
    }
    for (const flow of this.#missedNs.keys()) {
      if (this.#missedNs.size <= missesRemembered) break;
      this.#missedNs.delete(flow);
    }
  }

  /** Reports a request. @returns the reply of the arbiter. @throws the error with which the request failed. */
  request<F extends RequestFact>(fact: F, context: RequestContext = {}): Promise<Replies[F['type']]> {
    const request = ++this.#lastRequest;
    return new Promise((resolve, reject) => {
      // The arbiter answers every request with the reply of its type.
      this.#requests.set(request, { ...context, resolve: resolve as Request['resolve'], reject });
      if (this.#stopped) this.#end(request).reject(new PspError('ENGINE_BUSY'));
      else this.on({ ...fact, request });
    });
  }

  #perform(action: Action): void {
    switch (action.type) {
      case 'offer':
        void this.#offer(action);
        break;
      case 'publish':
        this.#publish(action);
        break;
      case 'offerInReturn':
        void this.#offerInReturn(action);
        break;
      case 'install':
        void this.#install(action);
        break;
      case 'retryLater':
        this.#after(action.afterMs, () => this.on({ type: 'retryDue', request: action.request }));
        break;
      case 'greet':
        this.#greet(action);
        break;
      case 'rotate':
        void this.#rotate(action);
        break;
      case 'remove':
        void this.#remove(action);
        break;
      case 'withdraw':
        this.#repeat(() => this.engine.withdraw(action.offers));
        break;
      case 'refuse':
        this.#repeat(() => this.engine.refuse(action));
        break;
      case 'reply':
        this.#end(action.request).resolve(action.reply);
        break;
      case 'fail':
        this.#end(action.request).reject(action.error);
        break;
      case 'audit':
        this.auditor.record(action.event);
    }
  }

  async #offer({ exchange, peer, reason, flows }: ActionOf<'offer'>): Promise<void> {
    const { contract, reason: why } = wants[reason];
    const { epoch } = this.arbiter;
    const name = this.config.peers[peer] as string;
    const version = this.config.terms[peer]?.versions[0] as number;
    const trace = this.traces.begin({ epoch, exchange, peer: name }, flows, (key) => key);
    const missedNs = reason === 'miss' ? this.#missedNs.get(flows[0] as FlowKey) : undefined;
    if (missedNs !== undefined) trace.mark('missed', missedNs);
    trace.mark('offerRequested', monotonicNs());
    try {
      const binding = { contract: contract.subject, epoch, peer: name, exchange };
      const { offers, seal, generation, spisLeft } = await this.engine.offer(flows, peer, version, binding);
      trace.mark('offerMade', monotonicNs());
      const want = {
        exchange,
        epoch,
        publishedNs: 0n,
        timeoutMs: undefined,
        reason: why,
        peer: name,
        flows: flows.map(messageOf),
        offers,
        seal,
      };
      this.#unpublished.set(exchange, { want, reason });
      const spis = offers.map(({ spi }) => spi);
      this.on({ type: 'offered', exchange, generation, spis, spisLeft });
      this.#unpublished.delete(exchange);
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      this.on({ type: 'offerFailed', exchange, code: error.code });
    }
  }

  #publish({ exchange, timeoutMs }: ActionOf<'publish'>): void {
    const unpublished = this.#unpublished.get(exchange);
    if (unpublished === undefined) throw new Error(`exchange ${exchange} has no offers to publish`);
    const want = { ...unpublished.want, publishedNs: monotonicNs(), timeoutMs };
    this.bus.publish(wants[unpublished.reason].contract, want);
    this.traces.find(exchange)?.mark('wantPublished', want.publishedNs);
  }

  #greet({ peer, spis }: ActionOf<'greet'>): void {
    const name = this.config.peers[peer] as string;
    const greet = {
      peer: name,
      epoch: this.arbiter.epoch,
      publishedNs: monotonicNs(),
      unknownSpis: [...spis],
    };
    this.bus.publish(contracts.peerGreet, greet);
  }

  #offerInReturn({ request }: ActionOf<'offerInReturn'>): Promise<void> {
    const make = this.#requests.get(request)?.offerInReturn;
    if (make === undefined) throw new Error(`request ${request} has no offers to make`);
    return this.#report(
      make().then((made): Fact => ({ type: 'offeredInReturn', request, ...made })),
      (error) => ({ type: 'offerInReturnFailed', request, error }),
    );
  }

  #install({ request, peer, rows }: ActionOf<'install'>): Promise<void> {
    const keys = this.#requests.get(request)?.keys;
    if (keys === undefined) throw new Error(`request ${request} has no keys to install`);
    return this.#report(
      this.engine
        .install(keys, rows, peer)
        .then((results): Fact => ({ type: 'installed', request, results })),
      (error) => ({ type: 'installFailed', request, error }),
    );
  }

  #rotate({ request }: ActionOf<'rotate'>): Promise<void> {
    return this.#report(
      this.engine.rotate().then((generation): Fact => ({ type: 'rotated', request, generation })),
      (error) => ({ type: 'rotateFailed', request, error }),
    );
  }

  #remove({ request, flows }: ActionOf<'remove'>): Promise<void> {
    return this.#report(
      this.engine.remove(flows).then((): Fact => ({ type: 'removed', request })),
      (error) => ({ type: 'removeFailed', request, error }),
    );
  }

  /** Reports the result of a command, or its failure. */
  async #report(result: Promise<Fact>, failed: (error: Error) => Fact): Promise<void> {
    this.on(await result.catch(failed));
  }

  /** Gives the engine a command, again and again while its ring is full. */
  #repeat(command: () => Promise<void>): void {
    if (this.#stopped) return;
    command().catch((error: unknown) => {
      if (this.#stopped) return;
      if (!(error instanceof PspError && error.code === 'ENGINE_BUSY')) throw error;
      this.#after(retryMs, () => this.#repeat(command));
    });
  }

  #after(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, ms);
    this.#timers.add(timer);
  }

  /** Forgets a request and releases its keys. */
  #end(number: number): Request {
    const request = this.#requests.get(number);
    if (request === undefined) throw new Error(`request ${number} was answered before`);
    this.#requests.delete(number);
    request.keys?.release();
    return request;
  }
}

const messageOf = (key: FlowKey) => {
  const { source, destination } = flowOf(key);
  return { source: Buffer.from(source), destination: Buffer.from(destination) };
};
