// SPDX-License-Identifier: Apache-2.0
// An arbiter with a clock that the test sets, and an engine that carries out every command at once: SPIs count up, and
// the top bit of an SPI is that of its key generation. Lists record what was published, withdrawn, refused, audited and
// replied. A test holds commands of a type back by `hold`, and then reports their results itself.

import { InstallResult } from '../../../proto/gen/bus.js';
import { Arbiter, type ArbiterOptions } from '../../../services/dataplane/core/arbiter.js';
import {
  type Action,
  type AuditFact,
  type EgressKey,
  type Fact,
  type FlowSelection,
  type MadeOffer,
  type Reason,
  type RemovalReply,
  type Replies,
  type RequestFact,
  type RotationReply,
  reversed,
} from '../../../services/dataplane/core/facts.js';
import { addressKeyOf, type FlowKey, flowKeyOf, parseAddress } from '../../../services/shared/address.js';
import { PspError } from '../../../services/shared/errors.js';

export const epoch = 77n;
/** The epoch of the peer unless a test uses another. */
export const theirs = 500n;

export interface Published {
  exchange: bigint;
  atMs: number;
  timeoutMs: number;
  peer: number;
  reason: Reason;
  flows: readonly FlowKey[];
  generation: number;
  spis: number[];
}

export type ActionOf<T extends Action['type']> = Extract<Action, { type: T }>;

export type Outcome = 'installed' | 'notInFlight' | 'superseded' | 'tableFull';

const outcomes: Partial<Record<InstallResult, Outcome>> = {
  [InstallResult.INSTALL_RESULT_INSTALLED]: 'installed',
  [InstallResult.INSTALL_RESULT_NOT_IN_FLIGHT]: 'notInFlight',
  [InstallResult.INSTALL_RESULT_SUPERSEDED]: 'superseded',
  [InstallResult.INSTALL_RESULT_TABLE_FULL]: 'tableFull',
};

export const busy = new PspError('ENGINE_BUSY');

type Command = 'offer' | 'offerInReturn' | 'install' | 'retryLater' | 'rotate' | 'remove';
type Reply = Replies[RequestFact['type']];

export class Desk {
  readonly arbiter: Arbiter;
  now = 1_000_000;
  readonly published: Published[] = [];
  readonly withdrawn: MadeOffer[] = [];
  readonly removed: FlowKey[] = [];
  readonly audited: AuditFact[] = [];
  readonly greetings: { peer: number; spis: readonly number[]; atMs: number }[] = [];
  readonly refused: { flow: FlowKey; holdDownMs: number; atMs: number }[] = [];
  /** Replies by request, and the code with which a request failed. */
  readonly replies = new Map<number, Reply | string>();
  /** Commands of these types are kept in `held` and not carried out. */
  hold: readonly Command[] = [];
  readonly held: Action[] = [];
  /** What the engine returns for every key that it is given. */
  installResult = InstallResult.INSTALL_RESULT_INSTALLED;
  generation = 1;
  /** What the engine reports with every offer. */
  spisLeft = 1_000_000;
  #spi = 0;
  #lastRequest = 0;
  readonly #made = new Map<bigint, Published>();
  readonly #flowsOf = new Map<number, readonly FlowKey[]>();

  constructor(options: Partial<ArbiterOptions> = {}) {
    this.arbiter = new Arbiter({
      epoch,
      holdMs: 3000,
      exchangeMs: 1000,
      drainMs: 500,
      rotateGraceMs: 3_600_000,
      rotateEveryMs: undefined,
      maxTunnels: new Map(),
      maxInbound: 100_000,
      configured: [],
      peers: [],
      random: () => 0,
      ...options,
    });
    this.on({ type: 'bus', connected: true });
  }

  on(fact: Fact): void {
    for (const action of this.arbiter.on(fact, this.now)) this.perform(action);
  }

  /** @returns the number of the request. */
  request(fact: RequestFact): number {
    const request = ++this.#lastRequest;
    if ('flows' in fact) this.#flowsOf.set(request, fact.flows);
    this.on({ ...fact, request });
    return request;
  }

  perform(action: Action): void {
    if ((this.hold as readonly string[]).includes(action.type)) {
      this.held.push(action);
      return;
    }
    switch (action.type) {
      case 'offer':
        this.make(action);
        break;
      case 'publish': {
        const made = this.#made.get(action.exchange) as Published;
        this.published.push({ ...made, timeoutMs: action.timeoutMs });
        break;
      }
      case 'offerInReturn':
        this.makeInReturn(action);
        break;
      case 'install': {
        const results = action.rows.map(() => this.installResult);
        this.on({ type: 'installed', request: action.request, results });
        break;
      }
      case 'rotate':
        this.on({ type: 'rotated', request: action.request, generation: ++this.generation });
        break;
      case 'remove':
        this.removed.push(...action.flows);
        this.on({ type: 'removed', request: action.request });
        break;
      case 'withdraw':
        this.withdrawn.push(...action.offers);
        break;
      case 'refuse': {
        const { flows, holdDownMs } = action;
        for (const flow of flows) this.refused.push({ flow, holdDownMs, atMs: this.now });
        break;
      }
      case 'greet':
        this.greetings.push({ peer: action.peer, spis: action.spis, atMs: this.now });
        break;
      case 'audit':
        this.audited.push(action.event);
        break;
      case 'reply':
        this.#answer(action.request, action.reply);
        break;
      case 'fail':
        this.#answer(action.request, action.error instanceof PspError ? action.error.code : 'fault');
        break;
      case 'retryLater':
        throw new Error('the engine of the desk is never busy, so nothing is retried unless it is held');
    }
  }

  /** The only command of a type that is held; it is no longer held afterwards. */
  taken<T extends Command>(type: T): ActionOf<T> {
    const [action, ...others] = this.held.filter((each) => each.type === type);
    if (action === undefined || others.length > 0) throw new Error(`${others.length + 1} or no ${type} held`);
    this.held.splice(this.held.indexOf(action), 1);
    return action as ActionOf<T>;
  }

  /** Makes the offers of an exchange. */
  make({ exchange, peer, reason, flows }: ActionOf<'offer'>, generation = this.generation): void {
    const spis = flows.map(() => this.spi(generation));
    this.#made.set(exchange, {
      exchange,
      atMs: this.now,
      timeoutMs: 0,
      peer,
      reason,
      flows,
      generation,
      spis,
    });
    this.on({ type: 'offered', exchange, generation, spis, spisLeft: this.spisLeft });
  }

  /** Makes the offers that answer an accept. @returns their SPIs. */
  makeInReturn({ request }: ActionOf<'offerInReturn'>, generation = this.generation): number[] {
    const spis = (this.#flowsOf.get(request) ?? []).map(() => this.spi(generation));
    this.on({ type: 'offeredInReturn', request, generation, spis, spisLeft: this.spisLeft });
    return spis;
  }

  spi(generation = this.generation): number {
    return ((generation & 1 ? 0 : 0x8000_0000) | ++this.#spi) >>> 0;
  }

  miss(...flows: FlowKey[]): void {
    this.on({ type: 'missed', misses: flows.map((flow) => ({ flow, peer: 0 })) });
  }

  /** Advances the clock in steps of 100 ms, with a tick after each. */
  pass(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now = Math.min(end, this.now + 100);
      this.on({ type: 'tick' });
    }
  }

  get last(): Published {
    return this.published.at(-1) as Published;
  }

  /** The peer answers an exchange with keys of this number, all of one epoch. */
  install(
    { exchange, flows, peer }: Pick<Published, 'exchange' | 'flows' | 'peer'>,
    number: bigint | undefined,
    peerEpoch: bigint | undefined = theirs,
  ): Outcome[] {
    const keys = flows.map((_, row) => keyOf(number, peerEpoch, row));
    return this.outcomesOf(this.request({ type: 'installReceived', exchange, peer, flows, keys }));
  }

  /** The peer sends an accept, with a key of this number or none. @returns the offer in return and its outcome. */
  accept(
    flow: FlowKey,
    number?: bigint,
    peerEpoch: bigint | undefined = theirs,
  ): { spi: number; outcome?: Outcome } {
    const [outcome] = this.outcomesOf(
      this.acceptReceived([flow], number === undefined ? [] : [keyOf(number, peerEpoch)]),
    );
    const spi = this.arbiter.offersOf(reversed(flow)).at(-1)?.spi as number;
    return outcome === undefined ? { spi } : { spi, outcome };
  }

  /** @returns the number of the request. */
  acceptReceived(flows: readonly FlowKey[], keys: readonly EgressKey[]): number {
    return this.request({ type: 'acceptReceived', peer: 0, flows, keys });
  }

  refuse({ exchange, flows, peer }: Published, code = 'VIP_NOT_OURS'): void {
    this.on({ type: 'refuseReceived', exchange, peer, flows, code });
  }

  /** @returns what the rotation has to wait for, or undefined when it was done. */
  rotate(cutsAtMost?: number) {
    const request = this.request({ type: 'rotateReceived', cause: { why: 'command' }, cutsAtMost });
    const reply = this.replies.get(request) as RotationReply | undefined;
    if (reply === undefined) throw new Error('the rotation was not answered');
    return reply.wait;
  }

  /** @returns how many tunnels were removed. */
  remove(selection: FlowSelection): number {
    const request = this.request({ type: 'removeReceived', selection });
    const reply = this.replies.get(request) as RemovalReply | undefined;
    if (reply === undefined) throw new Error('the removal was not answered');
    return reply.removed;
  }

  seen(flow: FlowKey, spi: number): void {
    this.on({ type: 'seen', inbound: reversed(flow), spi });
  }

  /** What became of the keys of a request that was answered. */
  outcomesOf(request: number): Outcome[] {
    const reply = this.replies.get(request);
    if (typeof reply !== 'object' || !('results' in reply)) throw new Error(`request ${request}: ${reply}`);
    return reply.results.map((result) => outcomes[result] as Outcome);
  }

  #answer(request: number, reply: Reply | string): void {
    if (this.replies.has(request)) throw new Error(`request ${request} was answered before`);
    this.replies.set(request, reply);
  }
}

/** A key that the peer offers; without a number it is from a peer that numbers nothing. */
export const keyOf = (
  number: bigint | undefined,
  peerEpoch: bigint | undefined = theirs,
  row = 0,
): EgressKey => ({
  epoch: number === undefined ? undefined : peerEpoch,
  number,
  spi: 0x100 + row,
  version: 1,
  address: peerAddress,
});

/** 192.0.2.2, as a fact contains it. */
export const peerAddress = addressKeyOf(parseAddress('192.0.2.2'));

/** The i-th flow of ours. */
export const flow = (i: number): FlowKey =>
  flowKeyOf({ source: own, destination: Uint8Array.of(10, 2 + (i >> 16), (i >> 8) & 255, i & 255) });
const own = Uint8Array.of(10, 1, 0, 1);
