// SPDX-License-Identifier: Apache-2.0
// The core of a dataplane, connected to the bus and to the model of an engine as its adapters connect it.
import { InstallResult, Mode, type Offer } from '../../proto/gen/bus.js';
import { Arbiter, tickMs } from '../../services/dataplane/core/arbiter.js';
import {
  type Action,
  type Fact,
  type KeysReply,
  type RequestFact,
  reversed,
} from '../../services/dataplane/core/facts.js';
import { type FlowKey, flowOf } from '../../services/shared/address.js';
import type { PspError } from '../../services/shared/errors.js';
import { ourselves } from '../../services/shared/vip_table.js';
import { type Key, ModelEngine, Violation } from './engine.js';
import {
  type Accept,
  type Accepted,
  hexOf,
  type Install,
  type Installed,
  keyIn,
  keysOf,
  nextMessage,
  octetsOf,
  peerNumber,
  times,
  type Want,
} from './messages.js';
import type { Node } from './node.js';

/** Of a master key; never few. */
const spisLeft = 1_000_000;

/** One start of a dataplane. */
export class Dataplane {
  readonly arbiter: Arbiter;
  readonly engine: ModelEngine;
  #alive = true;
  #lastRequest = 0;
  #busyMs = 0;
  readonly #unpublished = new Map<bigint, Want>();
  readonly #requests = new Map<
    number,
    { flows: FlowKey[]; keys: Buffer[]; offers: Key[]; ended: (result: unknown) => void }
  >();
  /** Messages whose seal was opened. */
  readonly #opened = new Set<number>();

  constructor(private readonly node: Node) {
    const { world } = node;
    const epoch = BigInt(world.below(2 ** 31)) * 2n + 1n;
    this.arbiter = new Arbiter({
      epoch,
      configured: node.configured,
      maxInbound: 1000,
      rotateEveryMs: node.rotateEveryMs,
      maxTunnels: new Map(),
      peers: [{ underlay: node.peerRule.underlay, hosts: [] }],
      random: () => world.random(),
      ...times,
    });
    this.engine = new ModelEngine(
      node.name,
      world,
      {
        missed: (flow) => this.#soon(() => this.on({ type: 'missed', misses: [{ flow, peer: peerNumber }] })),
        seen: (inbound, spi) => this.#soon(() => this.on({ type: 'seen', inbound, spi })),
        unknownSpis: (spis) => {
          const source = hexOf(node.peer.address);
          this.on({ type: 'unknownSpis', packets: spis.map((spi) => ({ source, spi })) });
        },
        send: (sealed) => node.transmit(sealed),
      },
      () => node.unixMs,
      times.holdMs,
      node.restartsIvs,
    );
    this.#tick();
  }

  #tick(): void {
    if (!this.#alive) return;
    this.engine.tick();
    this.on({ type: 'tick' });
    this.node.world.after(tickMs, () => this.#tick());
  }

  end(): void {
    this.#alive = false;
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  on(fact: Fact): void {
    if (!this.#alive) return;
    for (const action of this.arbiter.on(fact, Math.floor(this.node.world.nowMs))) this.#perform(action);
  }

  rotate(): void {
    this.#request({ type: 'rotateReceived', cause: { why: 'command' } }, [], () => undefined);
  }

  #request<F extends RequestFact>(
    fact: F,
    keys: Buffer[],
    ended: (result: KeysReply | Error, offers: Key[]) => void,
  ): void {
    const request = ++this.#lastRequest;
    const flows = 'flows' in fact ? [...fact.flows] : [];
    const offers: Key[] = [];
    this.#requests.set(request, {
      flows,
      keys,
      offers,
      ended: (result) => ended(result as KeysReply | Error, offers),
    });
    this.on({ ...fact, request });
  }

  #soon(work: () => void): void {
    this.node.world.after(this.node.world.random(), work);
  }

  /** The engine carries commands out in their order, and reports each result a moment later. */
  #command(work: () => Fact | undefined): void {
    const { world } = this.node;
    this.#busyMs = Math.max(this.#busyMs, world.nowMs) + world.random() * 0.5;
    world.after(this.#busyMs - world.nowMs, () => {
      if (!this.#alive) return;
      const fact = work();
      if (fact) this.#soon(() => this.on(fact));
    });
  }

  #perform(action: Action): void {
    switch (action.type) {
      case 'offer':
        this.#command(() => {
          const { exchange, flows } = action;
          const keys = this.#admit(flows.map(reversed));
          const message = this.node.wanted(exchange, this.arbiter.epoch, flows, this.#offers(keys));
          this.#unpublished.set(exchange, { id: nextMessage(), message, keys: keys.map(octetsOf) });
          return {
            type: 'offered',
            spisLeft,
            exchange,
            generation: this.engine.generation,
            spis: keys.map(({ spi }) => spi),
          };
        });
        break;
      case 'publish': {
        const want = this.#unpublished.get(action.exchange) as Want;
        this.#unpublished.delete(action.exchange);
        const { timeoutMs } = action;
        const message = { ...want.message, publishedNs: this.node.world.nowNs, timeoutMs };
        this.node.toKeyExchange((replica) => replica.wanted({ ...want, message }));
        break;
      }
      case 'offerInReturn':
        this.#command(() => {
          const { request } = action;
          const entry = this.#requests.get(request);
          if (entry === undefined) throw new Error(`no request ${request}`);
          entry.offers.push(...this.#admit(entry.flows.map(reversed)));
          const spis = entry.offers.map(({ spi }) => spi);
          return { type: 'offeredInReturn', spisLeft, request, generation: this.engine.generation, spis };
        });
        break;
      case 'install':
        this.#command(() => {
          const { request, rows } = action;
          const entry = this.#requests.get(request);
          if (entry === undefined) throw new Error(`no request ${request}`);
          for (const row of rows)
            this.engine.install(entry.flows[row] as FlowKey, keyIn(entry.keys[row] as Buffer));
          return {
            type: 'installed',
            request,
            results: rows.map(() => InstallResult.INSTALL_RESULT_INSTALLED),
          };
        });
        break;
      case 'retryLater':
        throw new Error('the engine of the model is never busy');
      case 'remove':
        this.#command(() => {
          for (const flow of action.flows) this.engine.remove(flow, reversed(flow));
          return { type: 'removed', request: action.request };
        });
        break;
      case 'withdraw':
        this.#command(() => {
          for (const { spi } of action.offers) this.engine.withdraw(spi);
          return undefined;
        });
        break;
      case 'refuse':
        this.#command(() => {
          for (const flow of action.flows) this.engine.refuse(flow, action.holdDownMs);
          return undefined;
        });
        break;
      case 'rotate':
        this.#command(() => ({ type: 'rotated', request: action.request, generation: this.engine.rotate() }));
        break;
      case 'greet':
        this.node.greet(this.arbiter.epoch, action.spis);
        break;
      case 'reply':
        this.#end(action.request, action.reply);
        break;
      case 'fail':
        this.#end(action.request, action.error);
        break;
      case 'audit':
    }
  }

  #end(request: number, result: unknown): void {
    const entry = this.#requests.get(request);
    if (entry === undefined) throw new Error(`request ${request} was answered before`);
    this.#requests.delete(request);
    entry.ended(result);
  }

  /** Only the VIPs of these two gateways may have keys. */
  #admit(flows: readonly FlowKey[]): Key[] {
    const { rules } = this.node;
    for (const flow of flows) {
      const { source, destination } = flowOf(flow);
      const isTheirs = rules.vips.ownerOf(source) === this.node.peer.name;
      if (!isTheirs || rules.vips.ownerOf(destination) !== ourselves)
        throw new Violation('an SPI was made for a flow that is not between the two gateways');
    }
    return this.engine.offer(flows);
  }

  #offers(keys: readonly Key[]): Offer[] {
    return keys.map(({ spi, number }) => ({
      spi,
      version: 0,
      number: this.node.plain ? undefined : number,
      cookie: 0n,
      address: this.node.address,
      mac: Buffer.of(2, 0, 0, 0, 0, this.node.address[3] as number),
      mode: Mode.MODE_TUNNEL,
    }));
  }

  accept(message: Accept, answer: (accepted: Accepted) => void): void {
    const { epoch } = this.arbiter;
    const nothing = { epoch, offers: [], keys: [] };
    if (!this.arbiter.isCurrent(message.epoch)) {
      answer({ ...nothing, code: 'STALE' });
      return;
    }
    if (this.#isReplay(message.id)) {
      answer({ ...nothing, code: 'REPLAY' });
      return;
    }
    const { flows, egress, keys, peerEpoch } = message;
    const fact = {
      type: 'acceptReceived',
      peer: peerNumber,
      flows,
      keys: keysOf(egress, peerEpoch),
    } as const;
    this.#request(fact, keys, (result, made) => {
      if (result instanceof Error) return answer({ ...nothing, code: (result as PspError).code });
      answer({ code: '', epoch, offers: this.#offers(made), keys: made.map(octetsOf) });
    });
  }

  install(message: Install, answer: (installed: Installed) => void): void {
    if (!this.arbiter.isCurrent(message.epoch)) {
      answer({ code: 'STALE', results: [] });
      return;
    }
    if (this.#isReplay(message.id)) {
      answer({ code: 'REPLAY', results: [] });
      return;
    }
    const { exchange, flows, egress, keys, peerEpoch } = message;
    const offered = { exchange, peer: peerNumber, flows, keys: keysOf(egress, peerEpoch) };
    this.#request({ type: 'installReceived', ...offered }, keys, (result) => {
      if (result instanceof Error) return answer({ code: (result as PspError).code, results: [] });
      answer({ code: '', results: result.results });
    });
  }

  refuse(exchange: bigint, epoch: bigint, flows: readonly FlowKey[], answer: () => void): void {
    if (this.arbiter.isCurrent(epoch))
      this.on({ type: 'refuseReceived', exchange, peer: peerNumber, flows, code: 'PEER_REFUSED' });
    answer();
  }

  /** The peer greeted us. */
  greeted(epoch: bigint, spis: readonly number[], answer: (epoch: bigint) => void): void {
    this.on({ type: 'greeted', peer: peerNumber, epoch, spis });
    answer(this.arbiter.epoch);
  }

  #isReplay(id: number): boolean {
    if (this.#opened.has(id)) return true;
    this.#opened.add(id);
    return false;
  }
}
