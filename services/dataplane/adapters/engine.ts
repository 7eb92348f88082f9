// SPDX-License-Identifier: Apache-2.0
// The engine as the dataplane speaks to it: rows instead of columns, facts instead of events, PspErrors instead
// of native ones. No key byte is ever seen: keys stay sealed or behind a handle. Commands are carried out in
// the order in which these methods are called, whether or not earlier ones have been answered.
import {
  type EngineCapabilities,
  type EngineCounters,
  type EngineEvent,
  type EngineInfo,
  type LinkChange,
  type NativeEngine,
  type OpenedKeys,
  refusals,
  type SampleColumns,
  type SealBinding,
} from '../../../native/addon/engine.js';
import { type Addon, loadAddon } from '../../../native/addon/load.js';
import type { FlowsPage, InstallResult, Offer, Seal } from '../../../proto/gen/bus.js';
import { addressKeyOf, type FlowKey } from '../../shared/address.js';
import type { NodeConfig } from '../../shared/config/config.js';
import { isErrorCode, PspError } from '../../shared/errors.js';
import { checkCapabilities, checkKind, checkSampling } from '../capabilities.js';
import type { DataplaneConfig } from '../config.js';
import type { Action, Fact, MadeOffer, Miss } from '../core/facts.js';
import type { UnknownSpi } from '../core/greetings.js';
import { LiveCounts } from '../core/live_counts.js';
import { SampleRates } from '../core/sample_rates.js';
import { columnOf, columnsOf, flowsIn, offersIn, rowsIn, sealOf } from './columns.js';

export type {
  EngineCounters,
  EngineInfo,
  NativeEngine,
  OpenedKeys,
  SampleColumns,
  SealBinding,
} from '../../../native/addon/engine.js';

export interface SealedOffers {
  offers: Offer[];
  seal: Seal;
  generation: number;
  /** SPIs of the active master key that are left. */
  spisLeft: number;
}

/** Receives the events, samples and link changes that an engine reports without a command. */
export interface EngineListener {
  onFact(fact: Fact): void;
  /** Packets were sampled; the columns are the listener's to keep. */
  onSamples(samples: SampleColumns): void;
  /** How a port's link is now; without `present` its interface is gone, and the engine stopped. */
  onLink(change: LinkChange): void;
}

type Refuse = Extract<Action, { type: 'refuse' }>;

function nativeAddon(): Addon {
  try {
    return loadAddon();
  } catch (cause) {
    throw new PspError('ENGINE_FAILED', { detail: (cause as Error).message }, { cause });
  }
}

/**
 * Opens the native engine; nothing is touched before `start`.
 * @throws PspError ENGINE_FAILED, or ENGINE_MISSING and ENGINE_UNSUPPORTED for what the node file asks.
 */
export function openEngine(
  config: DataplaneConfig,
  epoch: bigint,
  listener: EngineListener,
  addon = nativeAddon(),
): Engine {
  const { engine, busSecret } = config;
  const { Engine: Native, engines } = addon;
  checkKind(config.nodeFile, engines);
  const onEvents = (events: EngineEvent[]) => reportEvents(events, listener);
  const onSamples = (samples: SampleColumns) => listener.onSamples(samples);
  try {
    const native = new Native({ ...engine, epoch, busSecret: busSecret.octets, onEvents, onSamples });
    const can = native.capabilities();
    checkCapabilities(config.nodeFile, can);
    return new Engine(native, config, ratesOf(engine), can);
  } catch (error) {
    throw translated(error);
  }
}

/** What an engine that was opened with these options samples. */
export const ratesOf = ({ sampling, peers }: DataplaneConfig['engine']): SampleRates =>
  new SampleRates(
    sampling.egressLog2,
    peers.map((peer) => peer.sampling),
  );

/** Why packets are dropped, by the number in the samples' column of reasons: "ingress/icv_failure". */
export function dropReasons(): string[] {
  return nativeAddon().dropReasons.map(({ direction, name }) => `${direction}/${name}`);
}

/**
 * Passes events on: misses that lie together as one fact, so that they can share exchanges, and all unknown SPIs as one
 * fact, so that they can share greetings.
 */
export function reportEvents(events: readonly EngineEvent[], listener: EngineListener): void {
  let misses: Miss[] = [];
  const packets: UnknownSpi[] = [];
  const reportMisses = () => {
    if (misses.length > 0) listener.onFact({ type: 'missed', misses });
    misses = [];
  };
  for (const event of events) {
    if (event.type === 'missed') {
      misses.push({ flow: flowsIn(event.flow)[0] as FlowKey, peer: event.peer });
      continue;
    }
    if (event.type === 'unknownSpi') {
      packets.push({ source: addressKeyOf(event.source), spi: event.spi });
      continue;
    }
    reportMisses();
    if (event.type === 'link') {
      const { type: _, ...change } = event;
      listener.onLink(change);
    } else if (event.type === 'worn') {
      const { peer, stopped } = event;
      listener.onFact({ type: 'worn', flow: flowsIn(event.flow)[0] as FlowKey, peer, stopped });
    } else listener.onFact({ type: 'seen', inbound: flowsIn(event.flow)[0] as FlowKey, spi: event.spi });
  }
  reportMisses();
  if (packets.length > 0) listener.onFact({ type: 'unknownSpis', packets });
}

/** Native errors with a code of ours as PspErrors; anything else as it is. */
function translated(error: unknown): unknown {
  const { code, data } = error as { code?: unknown; data?: Record<string, string | number> };
  return typeof code === 'string' && isErrorCode(code)
    ? new PspError(code, data ?? {}, { cause: error })
    : error;
}

async function translating<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw translated(error);
  }
}

export class Engine {
  readonly #counts = new LiveCounts();

  /**
   * @param rates what the native engine was opened with.
   * @param can what the node file is checked against; undefined: nothing.
   */
  constructor(
    private readonly native: NativeEngine,
    private readonly config: Pick<DataplaneConfig, 'peers' | 'bypass' | 'nodeFile'>,
    private readonly rates: SampleRates,
    private readonly can?: EngineCapabilities,
  ) {}

  /** @throws PspError ENGINE_UNSUPPORTED if the engine cannot do what a node file asks for. */
  check(node: NodeConfig): void {
    if (this.can !== undefined) checkCapabilities(node, this.can);
  }

  /** One of 2^n packets that leave, or that leave towards this peer, is sampled; undefined: none. */
  samplingLog2(peer?: number): number | undefined {
    return this.rates.of(peer);
  }

  /** @throws PspError for a port, a driver or a right that is missing, an MTU that is too small. */
  start(): Promise<EngineInfo> {
    return translating(() => this.native.start());
  }

  stop(): Promise<void> {
    return this.native.stop();
  }

  /** Seals with this bus secret from now on, opens seals of it and of earlier ones, and wipes `octets`. */
  addSecret(octets: Buffer): void {
    this.native.addBusSecret(octets);
  }

  /** Opens no more seals of the oldest of several bus secrets. */
  retireSecret(): void {
    this.native.retireBusSecret();
  }

  /** Offers the reverse of each flow. @throws PspError SPI_EXHAUSTED, TABLE_FULL or ENGINE_BUSY. */
  offer(
    flows: readonly FlowKey[],
    peer: number,
    version: number,
    binding: SealBinding,
  ): Promise<SealedOffers> {
    return translating(async () => {
      const made = await this.native.offer(columnOf(flows), peer, version, binding);
      const { generation, spisLeft } = made;
      return { offers: offersIn(made.offers), seal: sealOf(made.seal), generation, spisLeft };
    });
  }

  /** @throws PspError SEAL_INVALID or REPLAY. */
  open(flows: readonly FlowKey[], offers: readonly Offer[], binding: SealBinding, seal: Seal): OpenedKeys {
    try {
      return this.native.open(columnOf(flows), columnsOf(offers), binding, seal);
    } catch (error) {
      throw translated(error);
    }
  }

  /** @returns one result for each of rows. @throws PspError ENGINE_BUSY: then the handle can be used again. */
  install(keys: OpenedKeys, rows: readonly number[], peer: number): Promise<InstallResult[]> {
    return translating(async () =>
      Array.from(
        await this.native.install(keys, Uint32Array.from(rows), peer),
        (result): InstallResult => result,
      ),
    );
  }

  /** @throws PspError ENGINE_BUSY. */
  withdraw(offers: readonly MadeOffer[]): Promise<void> {
    const inbound = columnOf(offers.map(({ inbound }) => inbound));
    return translating(() =>
      this.native.withdraw(
        inbound,
        Uint32Array.from(offers, ({ spi }) => spi),
      ),
    );
  }

  /** @throws PspError ENGINE_BUSY. */
  refuse({ flows, holdDownMs }: Refuse): Promise<void> {
    return translating(() => this.native.refuse(columnOf(flows), refusals.refused, holdDownMs));
  }

  /** Removes both directions of flows. A full ring does not fail it: it waits, and later commands fail meanwhile. */
  remove(flows: readonly FlowKey[]): Promise<void> {
    return translating(() => this.native.remove(columnOf(flows)));
  }

  /** @returns the new generation. @throws PspError ENGINE_BUSY. */
  rotate(): Promise<number> {
    return translating(async () => (await this.native.rotate()).generation);
  }

  /**
   * Samples one of 2^egressLog2 packets that leave, 0 to 16, towards one peer or all; undefined: none.
   * @returns the rate that this one took the place of, and whether anything changed.
   * @throws PspError ENGINE_UNSUPPORTED or ENGINE_BUSY.
   */
  sampling(
    egressLog2: number | undefined,
    peer?: number,
  ): Promise<{ from: number | undefined; changed: boolean }> {
    return translating(async () => {
      if (egressLog2 !== undefined && this.can !== undefined) checkSampling(this.config.nodeFile, this.can);
      await this.native.sampling(egressLog2, peer);
      const from = this.rates.of(peer);
      return { from, changed: this.rates.set(egressLog2, peer) };
    });
  }

  /** @throws PspError ENGINE_BUSY. */
  flows(cursor: bigint, limit: number): Promise<FlowsPage> {
    return translating(async () => {
      const page = await this.native.flows(Number(cursor), limit);
      return { rows: rowsIn(page, this.config.peers), nextCursor: BigInt(page.nextCursor) };
    });
  }

  /**
   * Replaces VIPs, peers and bypass; sampling rates stay. Packets of a bypass entry stay counted as long as the entry does.
   * @param bypass entries as text. @param added peers with new numbers, which are counted from zero.
   * @throws PspError ENGINE_BUSY or ENGINE_FAILED; then nothing changed.
   */
  reconfigure(
    topology: Parameters<NativeEngine['reconfigure']>[0],
    bypass: readonly string[],
    added: ReadonlySet<number>,
  ): Promise<void> {
    return translating(async () => {
      const before = { counters: this.native.counters(), bypass: this.config.bypass };
      await this.native.reconfigure(topology);
      this.#counts.reconfigured(before, { counters: this.native.counters(), bypass }, added);
    });
  }

  /** The peer has the general sampling rate, as every new one. */
  sampleAsOthers(peer: number): Promise<void> {
    this.rates.forget(peer);
    return translating(() => this.native.sampling(this.rates.of(), peer));
  }

  counters(): EngineCounters {
    return this.#counts.shown(this.native.counters());
  }
}
