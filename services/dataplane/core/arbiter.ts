// SPDX-License-Identifier: Apache-2.0
// The arbiter of flows: the one place where their state lives. It decides for which flows a peer is asked, and
// when; whose key is used; which offers are taken back; and when the master key may rotate. Everything here
// changes at once, before the engine carries it out, and the engine carries commands out in the order in which
// they were decided; what it could not do comes back as a fact. An exchange whose answer is lost costs a
// second, because its want is tried again with fresh offers under the next exchange's number.
//
//   missed, configured, rotated -> want -> offer -> offered -> publish ... install | accept | refuse
//
// How much is asked of a peer at a time, and how long it is given, is its pace: see pace.ts. Timers fire by time:
// whatever is overdue is done before the next fact, however late the ticks come.
import type { FlowKey } from '../../shared/address.js';
import { EgressKeys } from './egress_keys.js';
import { type Exchange, Exchanges } from './exchanges.js';
import {
  type Accept,
  type Action,
  type AuditFact,
  type Decision,
  type Fact,
  type Install,
  type InstallOutcome,
  type KeyOrder,
  type MadeOffer,
  type Miss,
  type PlacedKey,
  type Reason,
  type Refuse,
  reversed,
} from './facts.js';
import { firstHoldDownMs, HoldDowns } from './hold_down.js';
import { InboundFlows } from './inbound.js';
import { batchLimit, exchangeCost, Pace } from './pace.js';
import { Rotation, type RotationWait } from './rotation.js';
import { TimerQueue } from './timer_queue.js';
import { Want } from './want.js';

export interface ArbiterOptions {
  /** Of this start; random. */
  epoch: bigint;
  /** How long a packet without a key is held. */
  holdMs: number;
  /** How long an exchange may take, while nothing slower was measured. */
  exchangeMs: number;
  drainMs: number;
  rotateGraceMs: number;
  /** Inbound flows that are remembered: as many as the engine can hold. */
  maxInbound: number;
  /** Flows that are wanted from the start. */
  configured: readonly Miss[];
}

/** Exchanges whose offers are being made; further repeats wait for these. Misses do not wait. */
const offeringLimit = 32;
/** How often timers are looked at. */
export const tickMs = 100;

/** What is due towards one peer, and when. */
interface Peer {
  pace: Pace;
  misses: TimerQueue<FlowKey>;
  /** Configured flows and re-offers. */
  others: TimerQueue<FlowKey>;
}

export class Arbiter {
  readonly counters = {
    exchanges: 0,
    offersFailed: 0,
    answered: 0,
    late: 0,
    superseded: 0,
    accepted: 0,
    refused: 0,
    unanswered: 0,
    reoffered: 0,
    keyRotations: 0,
    staleEvents: 0,
  };
  readonly #wants = new Map<FlowKey, Want>();
  readonly #peers = new Map<number, Peer>();
  readonly #giveUps = new TimerQueue<FlowKey>();
  readonly #offering = new Set<bigint>();
  /** When an exchange that was not answered is in flight no more. */
  readonly #timeouts = new TimerQueue<bigint>();
  readonly #exchanges: Exchanges;
  readonly #keys = new EgressKeys();
  readonly #inbound: InboundFlows;
  readonly #holdDowns = new HoldDowns();
  readonly #rotation: Rotation;
  readonly #configured: ReadonlyMap<FlowKey, number>;
  readonly #longestMs: number;
  #connected = false;
  #tickedMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: ArbiterOptions) {
    this.#rotation = new Rotation({ drainMs: options.drainMs, graceMs: options.rotateGraceMs });
    // An answer is of no use once nobody waits for it.
    this.#longestMs = Math.max(options.exchangeMs, options.holdMs);
    this.#exchanges = new Exchanges(this.#longestMs);
    this.#inbound = new InboundFlows(options.maxInbound);
    this.#configured = new Map(options.configured.map(({ flow, peer }) => [flow, peer]));
    for (const { flow, peer } of options.configured) {
      this.#want(flow, peer).configured = true;
      this.#schedule(flow, 0);
    }
  }

  /** Of this start; it travels in every message. */
  get epoch(): bigint {
    return this.options.epoch;
  }

  /** A message for any other epoch is STALE: nothing of it is done. */
  isCurrent(epoch: bigint): boolean {
    return epoch === this.epoch;
  }

  /** Of the active master key. */
  get generation(): number {
    return this.#rotation.generation;
  }

  /** When it was made; undefined: it is the first. */
  get rotatedMs(): number | undefined {
    return this.#rotation.rotatedMs;
  }

  /** When the newest egress key of a peer was put in place. */
  newestKeyMs(peer: number): number | undefined {
    return this.#keys.newestMs(peer);
  }

  /** What an operator sees. */
  gauges() {
    return {
      wants: this.#wants.size,
      attemptsScheduled: Array.from(this.#peers.values()).reduce(
        (sum, { misses, others }) => sum + misses.size + others.size,
        0,
      ),
      exchangesRemembered: this.#exchanges.size,
      keyedFlows: this.#keys.size,
      inboundFlows: this.#inbound.size,
      heldDownFlows: this.#holdDowns.size,
      unansweredFlows: this.#inbound.unanswered,
    };
  }

  /** The active master key has no SPI left, and nothing new can be offered. */
  get exhausted(): boolean {
    return this.#rotation.exhausted;
  }

  /** The offers that may be alive for an inbound flow, newest last. */
  offersOf(inbound: FlowKey): readonly { spi: number; generation: number }[] {
    return this.#inbound.offersOf(inbound);
  }

  on(fact: Fact, nowMs: number): Action[] {
    switch (fact.type) {
      case 'bus':
        this.#connected = fact.connected;
        this.#reschedule(nowMs);
        return this.#due(nowMs);
      case 'tick':
        return this.#due(nowMs);
      case 'missed':
        return this.#missed(fact.misses, nowMs);
      case 'offered':
        return this.#offered(fact.exchange, fact.generation, fact.spis, nowMs);
      case 'offerFailed':
        return this.#offerFailed(fact.exchange, fact.code, nowMs);
      case 'acceptOffered': {
        for (const [i, flow] of fact.flows.entries()) {
          this.#made(flow, fact.spis[i] as number, fact.peer, fact.generation, nowMs);
        }
        return this.#due(nowMs);
      }
      case 'acceptFailed': {
        const offers = fact.flows.map((flow, i) => ({
          inbound: reversed(flow),
          spi: fact.spis[i] as number,
        }));
        for (const offer of offers) this.#inbound.withdrawn(offer);
        return [{ type: 'withdraw', offers }];
      }
      case 'keyed':
        return this.#keyed(fact, nowMs);
      case 'notKeyed':
        return this.#notKeyed(fact, nowMs);
      case 'seen':
        if (this.#inbound.seen(fact.inbound, fact.spi, this.generation)) {
          this.#proven(reversed(fact.inbound), nowMs);
        }
        return [];
      case 'rotated':
        return this.#rotated(fact.generation, nowMs);
      case 'rotateFailed':
        this.#rotation.failed();
        return [];
    }
  }

  /**
   * A peer answered an exchange. The keys of rows are to be installed; the exchange is over for every flow for
   * which it was in flight.
   */
  install({ exchange, peer, flows, order }: Install, nowMs: number): Decision {
    const begun = this.#exchanges.get(exchange);
    const known = begun?.peer === peer ? begun : undefined;
    if (known) this.#measured(known, nowMs);
    const proof = known !== undefined && known.generation === this.generation;
    const rows: number[] = [];
    const takes: number[] = [];
    const outcomes = flows.map((flow, row): InstallOutcome => {
      const key = order[row] ?? { epoch: undefined, number: undefined };
      if (known?.spis.has(flow)) this.#answered(flow, isNumbered(key), proof, nowMs);
      const want = this.#wants.get(flow);
      if (known === undefined || want?.exchange !== exchange) {
        this.counters.late++;
        return 'notInFlight';
      }
      this.counters.answered++;
      this.#satisfied(flow, want, nowMs);
      const take = this.#keys.take(flow, key);
      if (take === undefined) {
        this.counters.superseded++;
        return 'superseded';
      }
      rows.push(row);
      takes.push(take);
      return 'installed';
    });
    return { rows, takes, outcomes, actions: this.#due(nowMs) };
  }

  /** Whether a key that was decided on is still to be put in place: no newer one was, meanwhile. */
  isNewest(flow: FlowKey, take: number): boolean {
    return this.#keys.isNewest(flow, take);
  }

  /** A peer asked, and its answer's offers were made: `acceptOffered` comes first. */
  accept({ flows, order }: Accept, nowMs: number): Decision {
    const rows: number[] = [];
    const takes: number[] = [];
    const outcomes = order.map((key, row): InstallOutcome => {
      const flow = flows[row] as FlowKey;
      this.counters.accepted++;
      const want = this.#wants.get(flow);
      if (want === undefined) this.#holdDowns.clear(flow);
      else this.#satisfied(flow, want, want.nextMs);
      const take = this.#keys.take(flow, key);
      if (take === undefined) {
        this.counters.superseded++;
        return 'superseded';
      }
      rows.push(row);
      takes.push(take);
      return 'installed';
    });
    return { rows, takes, outcomes, actions: this.#due(nowMs) };
  }

  /**
   * A peer said no to an exchange: its offers for these flows are taken back. A batch is refused whole, so what
   * was asked for together is asked for again at once, each flow alone; only what is refused alone is held down.
   */
  refuse({ exchange, peer, flows, code }: Refuse, nowMs: number): Action[] {
    const refused = this.#exchanges.get(exchange);
    if (refused === undefined || refused.peer !== peer) return [];
    this.#measured(refused, nowMs);
    const actions = this.#withdraw(exchange, flows);
    const byMs = new Map<number, FlowKey[]>();
    for (const flow of flows) {
      const want = this.#wants.get(flow);
      if (want?.exchange !== exchange) continue;
      want.exchange = undefined;
      if (refused.flows.length > 1) {
        want.together = refused.flows.length > batchLimit ? batchLimit : 1;
        this.#goOn(flow, want, nowMs);
        continue;
      }
      this.counters.refused++;
      const ms = this.#holdDowns.refused(flow, nowMs);
      // The first of a row only: a flow that is asked for again and again fills no audit.
      if (ms === firstHoldDownMs) actions.push(audit({ type: 'tunnelRefused', flow, peer, code }));
      want.missedMs = undefined;
      this.#goOn(flow, want, Math.max(nowMs + ms, want.nextMs));
      if (!this.#keys.has(flow)) byMs.set(ms, [...(byMs.get(ms) ?? []), flow]);
    }
    for (const [holdDownMs, refusedFlows] of byMs) {
      actions.push({ type: 'refuse', flows: refusedFlows, holdDownMs });
    }
    return [...actions, ...this.#due(nowMs)];
  }

  /**
   * Somebody wants the master key rotated.
   * @returns undefined when it is to be rotated now: say `rotated` or `rotateFailed` afterwards. Otherwise why
   * it must wait.
   */
  rotate(nowMs: number): RotationWait | undefined {
    const wait = this.rotationWait(nowMs);
    if (wait === undefined) this.#rotation.begin();
    return wait;
  }

  rotationWait(nowMs: number): RotationWait | undefined {
    return this.#rotation.wait(this.#inbound.unanswered, nowMs);
  }

  #missed(misses: readonly Miss[], nowMs: number): Action[] {
    for (const { flow, peer } of misses) {
      if (this.#keys.has(flow)) continue;
      const want = this.#want(flow, peer);
      const isNew = want.missedMs === undefined;
      // The engine reports a flow again only after it gave the flow up.
      want.missedMs = nowMs;
      this.#giveUps.add(flow, nowMs + this.options.holdMs);
      if (isNew) this.#schedule(flow, Math.max(nowMs, want.spareMs, this.#holdDowns.until(flow)));
    }
    return this.#due(nowMs);
  }

  /** Does what is overdue, and begins what is due: of each peer as far as its window has room, misses first. */
  #due(nowMs: number): Action[] {
    if (nowMs >= this.#tickedMs + tickMs) {
      this.#tickedMs = nowMs;
      this.#exchanges.forget(nowMs);
      this.#holdDowns.forget(nowMs);
      this.#giveUp(nowMs);
    }
    this.#timeOut(nowMs);
    if (!this.#connected) return [];
    const actions: Action[] = [];
    for (const peer of this.#peers.values()) {
      const flows = new Set<FlowKey>();
      this.#take(peer.misses, peer.pace.room('misses'), flows, nowMs);
      const room = Math.min(peer.pace.room('others'), (offeringLimit - this.#offering.size) * batchLimit);
      this.#take(peer.others, room - flows.size, flows, nowMs);
      if (flows.size > 0) actions.push(...this.#begin(peer.pace, flows, nowMs));
    }
    return actions;
  }

  /** Moves flows whose time has come from a timers to `flows`, as far as there is room. */
  #take(due: TimerQueue<FlowKey>, room: number, flows: Set<FlowKey>, nowMs: number): void {
    for (let left = room; left > 0; ) {
      const next = due.next(nowMs);
      if (next === undefined) return;
      const { key: flow, atMs } = next;
      const want = this.#wants.get(flow);
      if (want?.nextMs !== atMs || flows.has(flow)) continue;
      if (want.reason === undefined) this.#wants.delete(flow);
      // The peer has become slower since the attempt that is in flight began.
      else if (want.spareMs > nowMs) this.#schedule(flow, want.spareMs);
      else if (!want.isLate(this.options.holdMs, nowMs)) {
        flows.add(flow);
        left -= want.together === 1 ? exchangeCost : 1;
      }
    }
  }

  /** Begins an exchange for each batch of these flows of one peer; those of one reason share it, if they may. */
  #begin(pace: Pace, flows: Iterable<FlowKey>, nowMs: number): Action[] {
    const open = new Map<string, { reason: Reason; flows: FlowKey[] }>();
    const batches: { reason: Reason; flows: FlowKey[] }[] = [];
    for (const flow of flows) {
      const want = this.#wants.get(flow) as Want;
      const reason = want.reason as Reason;
      const limit = Math.min(want.together, pace.batch);
      const id = `${reason} ${limit}`;
      const batch = open.get(id) ?? { reason, flows: [] };
      if (batch.flows.length === 0) batches.push(batch);
      open.set(id, batch);
      if (batch.flows.push(flow) >= limit) open.delete(id);
    }
    return batches.map(({ reason, flows }) => {
      const { peer } = this.#wants.get(flows[0] as FlowKey) as Want;
      const exchange = this.#exchanges.begin(peer, flows, pace.timeoutMs, nowMs);
      this.#offering.add(exchange);
      pace.began(flows.length);
      this.#timeouts.add(exchange, nowMs + pace.attemptMs);
      this.counters.exchanges += flows.length;
      for (const flow of flows) {
        const want = this.#wants.get(flow) as Want;
        if (reason === 'stale') this.counters.reoffered++;
        want.attempt(exchange, nowMs, this.#inbound.isProven(reversed(flow)));
        this.#schedule(flow, want.nextMs);
      }
      return { type: 'offer', exchange, peer, reason, flows };
    });
  }

  /** The peer answered. An answer that comes late is measured, too; a repeated one is not. */
  #measured(exchange: Exchange, nowMs: number): void {
    if (exchange.answered) return;
    exchange.answered = true;
    this.#over(exchange);
    this.#peer(exchange.peer).pace.answered(exchange.flows.length, exchange.startedMs, nowMs);
  }

  /** The exchange takes no room any more. @returns whether it did. */
  #over(exchange: Exchange): boolean {
    if (!exchange.inFlight) return false;
    exchange.inFlight = false;
    this.#peer(exchange.peer).pace.ended(exchange.flows.length);
    return true;
  }

  #timeOut(nowMs: number): void {
    for (let due = this.#timeouts.next(nowMs); due !== undefined; due = this.#timeouts.next(nowMs)) {
      const exchange = this.#exchanges.get(due.key);
      if (exchange === undefined || !this.#over(exchange)) continue;
      this.#peer(exchange.peer).pace.unanswered(exchange.startedMs, nowMs);
    }
  }

  /** What the exchange carried is over, and nobody will answer it. */
  #end(number: bigint): void {
    const exchange = this.#exchanges.get(number);
    if (exchange !== undefined) this.#over(exchange);
    this.#exchanges.end(number);
  }

  /**
   * Gives up what was missed too long ago; the engine does the same with what it holds, by its own clock. An exchange
   * in flight goes on: what comes late serves the next packet.
   */
  #giveUp(nowMs: number): void {
    for (let due = this.#giveUps.next(nowMs); due !== undefined; due = this.#giveUps.next(nowMs)) {
      const want = this.#wants.get(due.key);
      if (want?.missedMs === undefined || want.missedMs + this.options.holdMs !== due.atMs) continue;
      this.counters.unanswered++;
      want.missedMs = undefined;
      this.#holdDowns.unanswered(due.key, nowMs);
      if (want.reason !== undefined) continue;
      if (want.spareMs > nowMs && this.#connected) this.#schedule(due.key, want.spareMs);
      else this.#wants.delete(due.key);
    }
  }

  #offered(exchange: bigint, generation: number, spis: readonly number[], nowMs: number): Action[] {
    this.#offering.delete(exchange);
    const begun = this.#exchanges.get(exchange);
    if (begun === undefined) return this.#due(nowMs);
    for (const { inbound, spi } of this.#exchanges.made(begun, generation, spis)) {
      this.#remember({ inbound, spi }, begun.peer, generation, true);
    }
    const inFlight = begun.flows.filter((flow) => this.#wants.get(flow)?.exchange === exchange);
    if (generation >= this.generation && inFlight.length > 0) {
      return [{ type: 'publish', exchange, timeoutMs: begun.timeoutMs }, ...this.#due(nowMs)];
    }
    // Nobody was told of these offers, and either the key that they are of is no longer the active one or
    // nobody waits for them: they are taken back, and what is still wanted is tried at once.
    const actions = this.#withdraw(exchange, begun.flows);
    this.#end(exchange);
    for (const flow of inFlight) {
      const want = this.#wants.get(flow) as Want;
      want.exchange = undefined;
      this.#schedule(flow, nowMs);
    }
    return [...actions, ...this.#due(nowMs)];
  }

  #offerFailed(exchange: bigint, code: string, nowMs: number): Action[] {
    this.#offering.delete(exchange);
    this.counters.offersFailed++;
    if (code === 'SPI_EXHAUSTED') this.#rotation.exhaust();
    for (const flow of this.#exchanges.get(exchange)?.flows ?? []) {
      const want = this.#wants.get(flow);
      if (want?.exchange === exchange) want.exchange = undefined;
    }
    this.#end(exchange);
    return this.#due(nowMs);
  }

  #keyed({ flows, keys, peer, asked }: Extract<Fact, { type: 'keyed' }>, nowMs: number): Action[] {
    const actions: Action[] = [];
    for (const [i, flow] of flows.entries()) {
      if (!this.#keys.placed(flow, peer, nowMs)) continue;
      actions.push(audit({ type: 'tunnelUp', flow, peer, asked, ...(keys[i] as PlacedKey) }));
    }
    return actions;
  }

  #notKeyed({ flows, peer, noRoom }: Extract<Fact, { type: 'notKeyed' }>, nowMs: number): Action[] {
    const up = flows.filter((flow) => this.#keys.isInPlace(flow));
    const without = flows.filter((flow) => this.#keys.lost(flow, noRoom));
    if (without.length === 0) return [];
    const down = up
      .filter((flow) => without.includes(flow))
      .map((flow) => audit({ type: 'tunnelDown', flow, peer, why: 'tableFull' }));
    for (const flow of without) {
      this.#holdDowns.unanswered(flow, nowMs);
      const peer = this.#configured.get(flow);
      if (peer === undefined) continue;
      this.#want(flow, peer).configured = true;
      this.#schedule(flow, nowMs + firstHoldDownMs);
    }
    return [...down, { type: 'refuse', flows: without, holdDownMs: firstHoldDownMs }];
  }

  #rotated(generation: number, nowMs: number): Action[] {
    this.#rotation.done(generation, nowMs);
    const cut: Action[] = [];
    const flows = this.#inbound.rotated(generation);
    for (const { inbound, peer, isCut } of flows) {
      this.#makeStale(reversed(inbound), peer, nowMs);
      if (isCut) cut.push(audit({ type: 'tunnelDown', flow: inbound, peer, why: 'rotationForced' }));
    }
    this.counters.keyRotations++;
    this.counters.staleEvents += cut.length;
    const rotated = { type: 'keysRotated', generation, reoffered: flows.length, cut: cut.length } as const;
    return [audit(rotated), ...cut, ...this.#due(nowMs)];
  }

  /** An offer was made that the peer will be given, whatever else happens. */
  #made(flow: FlowKey, spi: number, peer: number, generation: number, nowMs: number): void {
    const inbound = reversed(flow);
    const current = generation >= this.generation;
    this.#remember({ inbound, spi }, peer, generation, current);
    if (!current) this.#makeStale(flow, peer, nowMs);
  }

  #remember(offer: MadeOffer, peer: number, generation: number, current: boolean): void {
    const forgotten = this.#inbound.offered(offer, peer, generation, current);
    if (forgotten !== undefined) this.#fresh(reversed(forgotten));
  }

  /** The peer's offer of ours is old: a fresh one is wanted for it, after what is in flight already. */
  #makeStale(flow: FlowKey, peer: number, nowMs: number): void {
    const want = this.#want(flow, peer);
    want.becomeStale();
    this.#schedule(flow, Math.max(nowMs, want.spareMs, this.#holdDowns.until(flow)));
  }

  /** The peer has an offer, and `current` says whether it is of the active generation. */
  #answered(flow: FlowKey, numbered: boolean, current: boolean, nowMs: number): void {
    if (this.#inbound.answered(reversed(flow), numbered, current)) this.#proven(flow, nowMs);
  }

  #proven(flow: FlowKey, nowMs: number): void {
    this.#rotation.proven(nowMs);
    this.#fresh(flow);
  }

  /** No re-offer of the flow is wanted any more. */
  #fresh(flow: FlowKey): void {
    const want = this.#wants.get(flow);
    if (want === undefined) return;
    want.fresh();
    if (want.reason === undefined && want.exchange === undefined) this.#wants.delete(flow);
  }

  /** An egress key came; what else is wanted of the flow goes on at nextMs. */
  #satisfied(flow: FlowKey, want: Want, nextMs: number): void {
    want.keyed();
    this.#holdDowns.clear(flow);
    this.#goOn(flow, want, nextMs);
  }

  #goOn(flow: FlowKey, want: Want, nextMs: number): void {
    if (want.reason === undefined) this.#wants.delete(flow);
    else this.#schedule(flow, nextMs);
  }

  #withdraw(exchange: bigint, flows: readonly FlowKey[]): Action[] {
    const begun = this.#exchanges.get(exchange);
    const offers = begun === undefined ? [] : this.#exchanges.takeBack(begun, flows);
    for (const offer of offers) this.#inbound.withdrawn(offer);
    return offers.length === 0 ? [] : [{ type: 'withdraw', offers }];
  }

  #want(flow: FlowKey, peer: number): Want {
    const want = this.#wants.get(flow) ?? new Want(peer, this.#peer(peer).pace);
    this.#wants.set(flow, want);
    return want;
  }

  #peer(number: number): Peer {
    const known = this.#peers.get(number);
    if (known !== undefined) return known;
    const pace = new Pace(this.options.exchangeMs, this.#longestMs);
    const peer = { pace, misses: new TimerQueue<FlowKey>(), others: new TimerQueue<FlowKey>() };
    this.#peers.set(number, peer);
    return peer;
  }

  #schedule(flow: FlowKey, atMs: number): void {
    const want = this.#wants.get(flow);
    if (want === undefined) return;
    want.nextMs = atMs;
    if (!this.#connected) return;
    const { misses, others } = this.#peer(want.peer);
    (want.missedMs === undefined ? others : misses).add(flow, atMs);
  }

  /**
   * Without the bus nothing comes due, so the timers stays empty, or it would grow with every miss. What failed
   * before may have failed with the bus, so its return ends every back-off; only hold-downs go on. What was in
   * flight is lost with the bus, and nothing about the peer follows from that.
   */
  #reschedule(nowMs: number): void {
    for (const { misses, others } of this.#peers.values()) {
      misses.clear();
      others.clear();
    }
    for (const exchange of this.#exchanges.all()) this.#over(exchange);
    if (!this.#connected) return;
    for (const [flow, want] of this.#wants) {
      want.beginAnew();
      this.#schedule(flow, Math.max(nowMs, want.spareMs, this.#holdDowns.until(flow)));
    }
  }
}

const audit = (event: AuditFact): Action => ({ type: 'audit', event });

const isNumbered = ({ epoch, number }: KeyOrder): boolean => epoch !== undefined && number !== undefined;
