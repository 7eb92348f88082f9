// SPDX-License-Identifier: Apache-2.0
// An arbiter with a clock moved by hand and an engine that makes offers at once: SPIs and numbers count up,
// the top bit of an SPI is that of its generation. What was published, withdrawn and refused is kept in lists.

import { Arbiter, type ArbiterOptions } from '../../../services/dataplane/core/arbiter.js';
import {
  type Action,
  type AuditFact,
  type Decision,
  type Fact,
  type InstallOutcome,
  type MadeOffer,
  type Reason,
  reversed,
} from '../../../services/dataplane/core/facts.js';
import { type FlowKey, flowKeyOf } from '../../../services/shared/address.js';

export const epoch = 77n;
/** The peer's epoch where nothing else is said. */
export const theirs = 500n;

export interface Seqlock {
  exchange: bigint;
  atMs: number;
  timeoutMs: number;
  peer: number;
  reason: Reason;
  flows: readonly FlowKey[];
  generation: number;
  spis: number[];
}

export class Desk {
  readonly arbiter: Arbiter;
  now = 1_000_000;
  readonly published: Seqlock[] = [];
  readonly withdrawn: MadeOffer[] = [];
  readonly audited: AuditFact[] = [];
  readonly refused: { flow: FlowKey; holdDownMs: number; atMs: number }[] = [];
  /** Set: offers wait here instead of being made at once. */
  held: Extract<Action, { type: 'offer' }>[] | undefined;
  generation = 1;
  #spi = 0;
  readonly #made = new Map<bigint, Seqlock>();

  constructor(options: Partial<ArbiterOptions> = {}) {
    this.arbiter = new Arbiter({
      epoch,
      holdMs: 3000,
      exchangeMs: 1000,
      drainMs: 500,
      rotateGraceMs: 3_600_000,
      maxInbound: 100_000,
      configured: [],
      ...options,
    });
    this.tell({ type: 'bus', connected: true });
  }

  tell(fact: Fact): void {
    this.perform(this.arbiter.on(fact, this.now));
  }

  perform(actions: readonly Action[]): void {
    for (const action of actions) {
      if (action.type === 'offer' && this.held !== undefined) this.held.push(action);
      else if (action.type === 'offer') this.make(action);
      else if (action.type === 'publish') {
        const made = this.#made.get(action.exchange) as Seqlock;
        this.published.push({ ...made, timeoutMs: action.timeoutMs });
      } else if (action.type === 'withdraw') this.withdrawn.push(...action.offers);
      else if (action.type === 'audit') this.audited.push(action.event);
      else {
        const { flows, holdDownMs } = action;
        for (const flow of flows) this.refused.push({ flow, holdDownMs, atMs: this.now });
      }
    }
  }

  /** Makes the offers of an exchange. */
  make(
    { exchange, peer, reason, flows }: Extract<Action, { type: 'offer' }>,
    generation = this.generation,
  ): void {
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
    this.tell({ type: 'offered', exchange, generation, spis });
  }

  spi(generation = this.generation): number {
    return ((generation & 1 ? 0 : 0x8000_0000) | ++this.#spi) >>> 0;
  }

  miss(...flows: FlowKey[]): void {
    this.tell({ type: 'missed', misses: flows.map((flow) => ({ flow, peer: 0 })) });
  }

  /** Lets time pass in steps of 100 ms. */
  pass(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now = Math.min(end, this.now + 100);
      this.tell({ type: 'tick' });
    }
  }

  get last(): Seqlock {
    return this.published.at(-1) as Seqlock;
  }

  /** The peer answers an exchange with keys of these numbers, all of one epoch. */
  install(
    { exchange, flows, peer }: Pick<Seqlock, 'exchange' | 'flows' | 'peer'>,
    number: bigint | undefined,
    peerEpoch: bigint | undefined = theirs,
  ): InstallOutcome[] {
    const order = flows.map(() => ({ epoch: number === undefined ? undefined : peerEpoch, number }));
    return this.#decided(flows, 'us', this.arbiter.install({ exchange, peer, flows, order }, this.now));
  }

  /** The peer asks, with keys of this number, or none. @returns the offer that it is answered with. */
  accept(
    flow: FlowKey,
    number?: bigint,
    peerEpoch: bigint | undefined = theirs,
  ): { spi: number; outcome?: InstallOutcome } {
    const spi = this.spi();
    this.tell({ type: 'acceptOffered', peer: 0, flows: [flow], generation: this.generation, spis: [spi] });
    const order = number === undefined ? [] : [{ epoch: peerEpoch, number }];
    const [outcome] = this.#decided(
      [flow],
      'peer',
      this.arbiter.accept({ peer: 0, flows: [flow], order }, this.now),
    );
    return outcome === undefined ? { spi } : { spi, outcome };
  }

  refuse({ exchange, flows, peer }: Seqlock, code = 'VIP_NOT_OURS'): void {
    this.perform(this.arbiter.refuse({ exchange, peer, flows, code }, this.now));
  }

  /** @returns what it has to wait for, or undefined when it was done. */
  rotate() {
    const wait = this.arbiter.rotate(this.now);
    if (wait !== undefined) return wait;
    this.generation++;
    this.tell({ type: 'rotated', generation: this.generation });
    return undefined;
  }

  seen(flow: FlowKey, spi: number): void {
    this.tell({ type: 'seen', inbound: reversed(flow), spi });
  }

  #decided(
    flows: readonly FlowKey[],
    asked: 'us' | 'peer',
    { rows, outcomes, actions }: Decision,
  ): InstallOutcome[] {
    const keys = rows.map((row) => ({ spi: 0x100 + row, version: 1 }));
    this.tell({ type: 'keyed', peer: 0, asked, flows: rows.map((row) => flows[row] as FlowKey), keys });
    this.perform(actions);
    return outcomes;
  }
}

/** The i-th flow of ours. */
export const flow = (i: number): FlowKey =>
  flowKeyOf({ source: own, destination: Uint8Array.of(10, 2 + (i >> 16), (i >> 8) & 255, i & 255) });
const own = Uint8Array.of(10, 1, 0, 1);
