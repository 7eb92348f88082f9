// SPDX-License-Identifier: Apache-2.0
// Carries out what the arbiter decides: on the engine, and as wants on the bus. Every decision reaches the
// engine in the same turn in which it was made, so that the engine's order is the arbiter's. What must not be
// lost (a refusal ends the hold of packets, a withdrawal ends a receive SPI) is tried again while the
// engine's ring is full, and so are keys, as long as their sender waits and no newer one was decided on; an
// offer is not, because its want comes back by itself.
import { setTimeout as delay } from 'node:timers/promises';
import { type FlowWanted, InstallResult, type Offer, WantReason } from '../../../proto/gen/bus.js';
import { type FlowKey, flowOf } from '../../shared/address.js';
import type { Bus } from '../../shared/bus/bus.js';
import { contracts } from '../../shared/contracts.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs, monotonicNs } from '../../shared/process/clock.js';
import type { DataplaneConfig } from '../config.js';
import { type Arbiter, tickMs } from '../core/arbiter.js';
import type { Action, Decision, Fact, PlacedKey } from '../core/facts.js';
import type { Auditor } from './audit_report.js';
import type { Engine, OpenedKeys } from './engine.js';

const retryMs = 20;
/** Keys are tried again for this long; their sender waits about as long, or longer where exchanges are slow. */
const installMs = 500;

type OfferAction = Extract<Action, { type: 'offer' }>;

/** Keys that came in a message. */
export interface Given {
  peer: number;
  /** We had asked for them, or the peer asked us. */
  asked: 'us' | 'peer';
  /** One for each of the message's flows. */
  egress: readonly Offer[];
}

const placedKey = ({ spi, version }: Offer): PlacedKey => ({ spi, version });

const wants = {
  miss: { contract: contracts.flowMissed, reason: WantReason.WANT_REASON_MISS },
  configured: { contract: contracts.flowMissed, reason: WantReason.WANT_REASON_CONFIGURED },
  stale: { contract: contracts.flowStale, reason: WantReason.WANT_REASON_STALE },
} as const;

export class Executor {
  #bus: Bus | undefined;
  #ticks: NodeJS.Timeout | undefined;
  #stopped = false;
  /** Wants whose offers were made in this turn. */
  readonly #ready = new Map<bigint, { want: FlowWanted; reason: OfferAction['reason'] }>();
  readonly #retries = new Set<NodeJS.Timeout>();

  constructor(
    private readonly config: Pick<DataplaneConfig, 'peers' | 'terms'>,
    private readonly arbiter: Arbiter,
    private readonly engine: Engine,
    private readonly auditor: Auditor,
  ) {}

  /** Once the engine runs. */
  start(): void {
    this.#ticks = setInterval(() => this.tell({ type: 'tick' }), tickMs);
  }

  /** Nothing reaches the engine afterwards. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#ticks);
    for (const retry of this.#retries) clearTimeout(retry);
  }

  /** Wants go here from now on, as long as it says that it is connected. */
  useBus(bus: Bus): void {
    this.#bus = bus;
    this.busState(bus.connected);
  }

  busState(connected: boolean): void {
    if (this.#bus === undefined) return;
    if (connected) this.#bus.publish(contracts.dataplaneStarted, { epoch: this.arbiter.epoch });
    this.tell({ type: 'bus', connected });
  }

  tell(fact: Fact): void {
    if (!this.#stopped) this.perform(this.arbiter.on(fact, monotonicMs()));
  }

  perform(actions: readonly Action[]): void {
    for (const action of actions) {
      switch (action.type) {
        case 'offer':
          void this.#offer(action);
          break;
        case 'publish':
          this.#publish(action);
          break;
        case 'withdraw':
          this.#insist(() => this.engine.withdraw(action.offers));
          break;
        case 'refuse':
          this.#insist(() => this.engine.refuse(action));
          break;
        case 'audit':
          this.auditor.tell(action.event);
      }
    }
  }

  /**
   * Installs the rows that the arbiter chose; the handle is used up.
   * @returns what became of each row. @throws PspError ENGINE_BUSY: then none was installed.
   */
  async install(
    keys: OpenedKeys,
    flows: readonly FlowKey[],
    { rows, takes }: Decision,
    { peer, asked, egress }: Given,
  ): Promise<Map<number, InstallResult>> {
    if (rows.length === 0) {
      keys.release();
      return new Map();
    }
    const flowAt = (row: number) => flows[row] as FlowKey;
    const newest = () => rows.filter((row, i) => this.arbiter.isNewest(flowAt(row), takes[i] as number));
    try {
      const placed = await this.#place(keys, rows, newest, peer);
      const named = (wanted: InstallResult, among = rows) =>
        among.filter((row) => placed.get(row) === wanted);
      const installed = named(InstallResult.INSTALL_RESULT_INSTALLED);
      const keysOf = installed.map((row) => egress[row] as Offer);
      this.tell({ type: 'keyed', peer, asked, flows: installed.map(flowAt), keys: keysOf.map(placedKey) });
      const without = named(InstallResult.INSTALL_RESULT_TABLE_FULL, newest()).map(flowAt);
      this.tell({ type: 'notKeyed', peer, flows: without, noRoom: true });
      return placed;
    } catch (error) {
      this.tell({ type: 'notKeyed', peer, flows: newest().map(flowAt), noRoom: false });
      throw error;
    } finally {
      keys.release();
    }
  }

  /** Tries at once, and again while the ring is full: then without the rows that are not the newest any more. */
  async #place(
    keys: OpenedKeys,
    rows: readonly number[],
    newest: () => number[],
    peer: number,
  ): Promise<Map<number, InstallResult>> {
    const untilMs = monotonicMs() + installMs;
    for (let left = rows; ; left = newest()) {
      const placed = new Map(rows.map((row) => [row, InstallResult.INSTALL_RESULT_SUPERSEDED]));
      if (left.length === 0) return placed;
      try {
        const results = await this.engine.install(keys, left, peer);
        for (const [i, row] of left.entries()) placed.set(row, results[i] as InstallResult);
        return placed;
      } catch (error) {
        if (!isBusy(error) || this.#stopped || monotonicMs() + retryMs > untilMs) throw error;
      }
      await delay(retryMs);
    }
  }

  async #offer({ exchange, peer, reason, flows }: OfferAction): Promise<void> {
    const { contract, reason: why } = wants[reason];
    const { epoch } = this.arbiter;
    const name = this.config.peers[peer] as string;
    const version = this.config.terms[peer]?.versions[0] as number;
    try {
      const binding = { contract: contract.subject, epoch, peer: name, exchange };
      const { offers, seal, generation } = await this.engine.offer(flows, peer, version, binding);
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
      this.#ready.set(exchange, { want, reason });
      this.tell({ type: 'offered', exchange, generation, spis: offers.map(({ spi }) => spi) });
      this.#ready.delete(exchange);
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      this.tell({ type: 'offerFailed', exchange, code: error.code });
    }
  }

  #publish({ exchange, timeoutMs }: Extract<Action, { type: 'publish' }>): void {
    const ready = this.#ready.get(exchange);
    if (ready === undefined) throw new Error(`exchange ${exchange} has no offers to publish`);
    const want = { ...ready.want, publishedNs: monotonicNs(), timeoutMs };
    this.#bus?.publish(wants[ready.reason].contract, want);
  }

  #insist(work: () => Promise<void>): void {
    if (this.#stopped) return;
    work().catch((error: unknown) => {
      if (this.#stopped) return;
      if (!isBusy(error)) throw error;
      const retry = setTimeout(() => {
        this.#retries.delete(retry);
        this.#insist(work);
      }, retryMs);
      this.#retries.add(retry);
    });
  }
}

const isBusy = (error: unknown): boolean => error instanceof PspError && error.code === 'ENGINE_BUSY';

const messageOf = (key: FlowKey) => {
  const { source, destination } = flowOf(key);
  return { source: Buffer.from(source), destination: Buffer.from(destination) };
};
