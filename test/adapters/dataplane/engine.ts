// SPDX-License-Identifier: Apache-2.0
// An engine that moves no packets: it makes offers with random keys, seals and opens as the native one does, and
// keeps what it was told in a list. `busy` makes its next commands fail, `full` its next offers or installs.
import { randomBytes } from 'node:crypto';
import type {
  EngineCapabilities,
  EngineEvent,
  EngineInfo,
  NativeEngine,
  OfferColumns,
  OpenedKeys,
  SampleColumns,
  SealBinding,
  SealFields,
} from '../../../native/addon/engine.js';
import { Mode } from '../../../proto/gen/bus.js';
import { columnsOf, flowsIn, offersIn, sealOf } from '../../../services/dataplane/adapters/columns.js';
import {
  Engine,
  type EngineListener,
  ratesOf,
  reportEvents,
} from '../../../services/dataplane/adapters/engine.js';
import type { DataplaneConfig } from '../../../services/dataplane/config.js';
import { flowOf, mapped, parseAddress } from '../../../services/shared/address.js';
import { type KeyRole, Opener, Sealer } from '../../../services/shared/bus/seal.js';
import { keyLengthOf } from '../../../services/shared/protocols.js';

const failure = (code: string) => Object.assign(new Error(code), { code, data: {} });

export class FakeEngine implements NativeEngine {
  readonly calls: { name: string; flows: string[]; about: unknown }[] = [];
  /** How many of the next commands find the ring full. */
  busy = 0;
  /** Whether an install of the n-th opened keys finds the ring full. */
  busyFor: (opened: number) => boolean = () => false;
  /** With what the next offer fails. */
  offerFails: string | undefined;
  /** What the next install says of every row. */
  installSays = 1;
  generation = 1;
  released = 0;
  #spi = 0;
  readonly #opened = new WeakMap<OpenedKeys, number>();
  readonly #used = new WeakSet<OpenedKeys>();
  #listener: EngineListener | undefined;
  #sealer: Sealer;
  readonly #opener: Opener;

  constructor(
    private readonly config: DataplaneConfig,
    listener: EngineListener,
  ) {
    this.#listener = listener;
    this.#sealer = new Sealer(config.busSecret.octets, config.node, 'dataplane');
    this.#opener = new Opener(config.busSecret.octets, config.node, 'keyexchange');
  }

  /** In the place of the native engine. */
  wrapped(): Engine {
    return new Engine(this, this.config, ratesOf(this.config.engine), this.capabilities());
  }

  emit(...events: EngineEvent[]): void {
    if (this.#listener) reportEvents(events, this.#listener);
  }

  sample(columns: SampleColumns): void {
    this.#listener?.onSamples(columns);
  }

  /** What the native engine would be opened with. */
  get options(): DataplaneConfig['engine'] {
    return this.config.engine;
  }

  called(name: string) {
    return this.calls.filter((call) => call.name === name);
  }

  capabilities(): EngineCapabilities {
    return {
      ...{
        versions: [0, 1, 2, 3],
        modes: [1, 2],
        inner: [4, 6],
        outer: [4, 6],
        samplePoints: [1, 2, 3, 4, 5],
      },
      ...{ cryptOffset: 63, lcores: 64, maxFlows: 1 << 24, spisPerFlow: 8 },
    };
  }

  addBusSecret(secret: Uint8Array): void {
    this.#sealer = new Sealer(secret, this.config.node, 'dataplane');
    this.#opener.addSecret(secret);
  }

  retireBusSecret(): void {
    this.#opener.retireSecret();
  }

  async reconfigure(topology: Parameters<NativeEngine['reconfigure']>[0]): Promise<void> {
    this.#note('reconfigure', new Uint8Array(), topology);
    this.#ring();
  }

  async start(): Promise<EngineInfo> {
    const port = { mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1600, up: true };
    return { crypto: 'none', unsecured: port, secured: port, wantedMtu: 1668 };
  }

  async stop(): Promise<void> {
    this.#listener = undefined;
    this.#note('stop', new Uint8Array());
  }

  async offer(flows: Uint8Array, peer: number, version: number, binding: SealBinding) {
    this.#note('offer', flows, { peer, version, binding });
    this.#ring();
    const failed = this.offerFails;
    this.offerFails = undefined;
    if (failed !== undefined) throw failure(failed);
    const top = this.generation & 1 ? 0 : 0x8000_0000;
    const rows = flowsIn(flows).map(() => ({
      spi: (top | ++this.#spi) >>> 0,
      version,
      number: BigInt(this.#spi),
      cookie: this.config.terms[peer]?.cookie ? BigInt(0xc00c1e00 + this.#spi) : 0n,
      mode: this.config.terms[peer]?.mode ?? Mode.MODE_UNSPECIFIED,
      address: Buffer.from(mapped(parseAddress('192.0.2.1'))),
      mac: Buffer.from('020000000001', 'hex'),
    }));
    const keys = rows.map(() => randomBytes(keyLengthOf(version)));
    const seal = this.#sealer.seal(this.#context(flows, columnsOf(rows), binding, 'offer'), keys);
    return { offers: columnsOf(rows), seal, generation: this.generation, spisLeft: 1000 - this.#spi };
  }

  open(flows: Uint8Array, offers: OfferColumns, binding: SealBinding, seal: SealFields): OpenedKeys {
    this.#note('open', flows);
    const keys = this.#opener.open(this.#context(flows, offers, binding, 'egress'), sealOf(seal));
    const handle = {
      count: keys.length,
      release: () => {
        if (!this.#used.has(handle)) this.released++;
        this.#used.add(handle);
      },
    };
    this.#opened.set(handle, this.called('open').length);
    return handle;
  }

  async install(keys: OpenedKeys, rows: Uint32Array, peer: number): Promise<Uint8Array> {
    this.#note('install', new Uint8Array(), { count: keys.count, rows: [...rows], peer });
    if (this.#used.has(keys)) throw new Error('these keys were installed or released before');
    this.#ring();
    if (this.busyFor(this.#opened.get(keys) ?? 0)) throw failure('ENGINE_BUSY');
    this.#used.add(keys);
    const said = this.installSays;
    this.installSays = 1;
    return Uint8Array.from(rows, () => said);
  }

  async withdraw(inbound: Uint8Array, spis: Uint32Array): Promise<void> {
    this.#note('withdraw', inbound, [...spis]);
    this.#ring();
  }

  async refuse(flows: Uint8Array, refusal: number, holdDownMs: number): Promise<void> {
    this.#note('refuse', flows, { refusal, holdDownMs });
    this.#ring();
  }

  async remove(flows: Uint8Array): Promise<void> {
    this.#note('remove', flows);
  }

  async rotate() {
    this.#note('rotate', new Uint8Array());
    this.#ring();
    return { generation: ++this.generation };
  }

  async sampling(egressLog2: number | undefined, peer?: number): Promise<void> {
    this.#note('sampling', new Uint8Array(), peer === undefined ? egressLog2 : { egressLog2, peer });
    this.#ring();
  }

  async flows(cursor: number, limit: number) {
    this.#note('flows', new Uint8Array(), { cursor, limit });
    const flows = Buffer.from('00000000000000000000ffff0a02000100000000000000000000ffff0a010001', 'hex');
    return {
      flows,
      states: Uint8Array.of(4),
      peers: Uint16Array.of(0),
      spis: Uint32Array.of(0x8000_0007),
      versions: Uint8Array.of(1),
      modes: Uint8Array.of(Mode.MODE_TUNNEL),
      pathMtus: Uint16Array.of(1400),
      packets: BigUint64Array.of(3n),
      bytes: BigUint64Array.of(300n),
      held: Uint32Array.of(0),
      liveSpis: Uint8Array.of(2),
      nextCursor: 7,
    };
  }

  counters() {
    const traffic = { rxPackets: 1n, rxBytes: 2n, txPackets: 3n, txBytes: 4n };
    return {
      pipes: [{ name: 'egress_acl', hit: 5n, miss: 6n }],
      drops: [{ reason: 'no_peer', direction: 'egress' as const, packets: 7n }],
      ports: [
        { role: 'unsecured' as const, ...traffic },
        { role: 'secured' as const, ...traffic },
      ],
      peers: [
        {
          egressPackets: 11n,
          egressBytes: 12n,
          ingressPackets: 13n,
          ingressBytes: 14n,
          lastEgressMs: process.hrtime.bigint() / 1_000_000n - 5000n,
          lastIngressMs: 0n,
          keyedFlows: 15,
          inboundFlows: 16,
        },
      ],
      lcores: [
        { rxPackets: 41n, txPackets: 42n },
        { rxPackets: 43n, txPackets: 44n },
      ],
      bypass: this.config.bypass.map((_, i) => ({
        egressPackets: BigInt(21 + i),
        ingressPackets: BigInt(31 + i),
      })),
      values: { held: 8n, eventsLost: 0n, rxPackets: 41n, txBytes: 42n },
    };
  }

  #ring(): void {
    if (this.busy === 0) return;
    this.busy--;
    throw failure('ENGINE_BUSY');
  }

  #note(name: string, flows: Uint8Array, about: unknown = undefined): void {
    this.calls.push({ name, flows: flowsIn(flows), about });
  }

  #context(flows: Uint8Array, offers: OfferColumns, binding: SealBinding, role: KeyRole) {
    return {
      ...binding,
      node: this.config.node,
      sender: role === 'offer' ? ('dataplane' as const) : ('keyexchange' as const),
      role,
      peerEpoch: binding.peerEpoch,
      flows: flowsIn(flows).map((key) => {
        const { source, destination } = flowOf(key);
        return { source: Buffer.from(source), destination: Buffer.from(destination) };
      }),
      offers: offersIn(offers),
    };
  }
}
