// SPDX-License-Identifier: Apache-2.0
// The arbiter owns the state of all flows. It decides for which flows an exchange with a peer begins, and when; which
// key of a peer is used; which offers are withdrawn; in which order an accept is carried out; and when the master key
// rotates. All input arrives as facts, all output leaves as actions (see facts.ts). The state changes at once, before
// the engine carries an action out. The engine carries actions out in the order in which they were returned, and the
// result of each comes back as a fact.
//
//   missed, configured, rotated -> want -> offer -> offered -> publish ... installReceived | refuseReceived
//   installReceived -> install -> installed -> reply
//   acceptReceived -> offerInReturn -> offeredInReturn -> install -> installed -> reply
//   rotateReceived | schedule | few SPIs left -> rotate -> rotated -> reply to the request, if there is one
//   removeReceived -> remove -> removed -> reply
//   reconfigured -> remove
//
// An exchange whose answer is lost costs a second, because its want is tried again with new offers under the number of
// the next exchange. Timers fire by time: whatever is overdue is done with the next fact, however late the ticks are.
import type { FlowKey } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { EgressKeys } from './egress_keys.js';
import { type Exchange, Exchanges } from './exchanges.js';
import {
  type AcceptReceived,
  type Action,
  audit,
  type EgressKey,
  type Fact,
  type InstallReceived,
  type KeyOrder,
  type MadeOffer,
  type Miss,
  type Reconfigured,
  type RemoveReceived,
  type RotateReceived,
  reversed,
  withdraw,
} from './facts.js';
import type { GreetingState } from './greetings.js';
import { firstHoldDownMs } from './hold_down.js';
import { InboundFlows, type Unanswered } from './inbound.js';
import { Installs } from './installs.js';
import { batchLimit } from './pace.js';
import type { PeerNetworks } from './peer_addresses.js';
import { Recovery } from './recovery.js';
import { type Flows, Removal, selects } from './removal.js';
import { Rotation, type RotationCause, type RotationWait, requestableMs } from './rotation.js';
import { TunnelBudgets, type TunnelsLeft } from './tunnel_budgets.js';
import { type Batch, Wants } from './wants.js';

export interface ArbiterOptions {
  /** Identifies this start; random. */
  epoch: bigint;
  /** How long a packet without a key is held. */
  holdMs: number;
  /** Timeout of an exchange while no slower one was measured. */
  exchangeMs: number;
  drainMs: number;
  rotateGraceMs: number;
  /** Time between rotations on schedule, on average; undefined: there are none. */
  rotateEveryMs: number | undefined;
  /** How many tunnels a peer can ever be offered, by peer; only for those that have such a limit. */
  maxTunnels: ReadonlyMap<number, number>;
  /** How many inbound flows are remembered: as many as the engine can have. */
  maxInbound: number;
  /** Flows that are wanted from the start. */
  configured: readonly Miss[];
  /** The peers, by their numbers. */
  peers: readonly PeerNetworks[];
  /** Uniform in [0, 1). */
  random: () => number;
}

type Requested<F> = F & { request: number };
type FactOf<T extends Fact['type']> = Extract<Fact, { type: T }>;

/** Exchanges whose offers are being made; re-offers and configured flows wait for these, misses do not. */
const offeringLimit = 32;
/** How often a tick is due. */
export const tickMs = 100;

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
    renewed: 0,
    keyRotations: 0,
    staleEvents: 0,
    greetingsSent: 0,
    greetingsReceived: 0,
    peerRestarts: 0,
    unknownSpisReported: 0,
    unknownSpisRenewed: 0,
    removed: 0,
  };
  readonly #wants: Wants;
  readonly #exchanges: Exchanges;
  readonly #keys = new EgressKeys();
  readonly #inbound: InboundFlows;
  readonly #installs: Installs;
  readonly #rotation: Rotation;
  readonly #recovery: Recovery;
  readonly #budgets: TunnelBudgets;
  readonly #removal: Removal;
  /** How many tunnels the removal of a request includes, until the engine has carried it out. */
  readonly #removals = new Map<number, number>();
  /** Accepts whose offers in return are being made, by request; `isOvertaken`: one of their flows was removed. */
  readonly #accepts = new Map<number, { accept: AcceptReceived; isOvertaken: boolean }>();
  #peers: ReadonlyMap<number, PeerNetworks>;
  /** Numbers of peers that were removed: reports about them are late. */
  readonly #gone = new Set<number>();
  #expiredMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: ArbiterOptions) {
    // An answer is of no use once the engine no longer holds the packet.
    const longestMs = Math.max(options.exchangeMs, options.holdMs);
    this.#wants = new Wants({ ...options, longestMs });
    this.#exchanges = new Exchanges(longestMs);
    this.#inbound = new InboundFlows(options.maxInbound);
    this.#installs = new Installs(this.#keys, this.#inbound, this.#wants, this.counters);
    const { peers, random } = options;
    this.#peers = new Map(peers.entries());
    this.#recovery = new Recovery(
      this.#peers,
      random,
      this.#keys,
      this.#wants,
      this.#exchanges,
      this.counters,
    );
    this.#removal = new Removal(
      this.#keys,
      this.#inbound,
      this.#wants,
      this.#exchanges,
      this.#installs,
      this.counters,
    );
    const { drainMs, rotateGraceMs: graceMs, rotateEveryMs: everyMs } = options;
    this.#rotation = new Rotation({ drainMs, graceMs, everyMs }, options.random);
    this.#budgets = new TunnelBudgets(options.maxTunnels, (peer) => this.#exchanges.inFlightOf(peer));
  }

  /** Identifies this start; every message contains it. */
  get epoch(): bigint {
    return this.options.epoch;
  }

  /** A message of any other epoch is STALE and changes nothing. */
  isCurrent(epoch: bigint): boolean {
    return epoch === this.epoch;
  }

  /** The key generation of the active master key. */
  get generation(): number {
    return this.#rotation.generation;
  }

  /** When the active master key was made; undefined for the first. */
  get rotatedMs(): number | undefined {
    return this.#rotation.rotatedMs;
  }

  /** When the newest egress key of a peer was installed. */
  newestKeyMs(peer: number): number | undefined {
    return this.#keys.newestMs(peer);
  }

  /** The epoch of a peer that was seen last; undefined when none was. */
  epochOf(peer: number): bigint | undefined {
    return this.#recovery.epochOf(peer);
  }

  /** Whether a peer has answered our greeting. */
  greetingOf(peer: number): GreetingState | undefined {
    return this.#recovery.greetingOf(peer);
  }

  /** The sizes that operators can observe. */
  gauges() {
    return {
      wants: this.#wants.size,
      attemptsScheduled: this.#wants.scheduled,
      exchangesRemembered: this.#exchanges.size,
      keyedFlows: this.#keys.size,
      inboundFlows: this.#inbound.size,
      heldDownFlows: this.#wants.heldDown,
      unansweredFlows: this.#inbound.unanswered.flows,
    };
  }

  /** The active master key has no SPI left, so no offer can be made. */
  get exhausted(): boolean {
    return this.#rotation.exhausted;
  }

  /** The offers of an inbound flow that may still be valid, newest last. */
  offersOf(inbound: FlowKey): readonly { spi: number; generation: number }[] {
    return this.#inbound.offersOf(inbound);
  }

  /** Why a rotation would have to wait now; undefined when it may begin. */
  rotationWait(nowMs: number, why: RotationCause['why'] = 'command'): RotationWait | undefined {
    return this.#rotation.wait(
      { flows: this.#inbound.unanswered.flows, unreachable: this.#unreachable },
      why,
      nowMs,
    );
  }

  /** Flows that a rotation would cut, and whose peers can be offered no further tunnel. */
  get #unreachable(): number {
    let flows = 0;
    for (const peer of this.#budgets.limited) {
      if (this.#budgets.left(peer) === 0) flows += this.unansweredOf(peer).cut;
    }
    return flows;
  }

  /** How many more tunnels a peer can be offered; undefined for a peer without such a limit. */
  tunnelsLeft(peer: number): TunnelsLeft | undefined {
    return this.#budgets.of(peer, this.#inbound.flowsOf(peer));
  }

  /** How many flows a rotation would cut now, because their peers still use the older key. */
  get flowsToCut(): number {
    return this.#inbound.unanswered.cut;
  }

  /** The flows of a peer that has not proven that it has offers of the active key generation. */
  unansweredOf(peer: number): Readonly<Unanswered> {
    return this.#inbound.unansweredOf(peer);
  }

  /** When the next rotation on schedule is due; undefined: never. */
  get nextRotationMs(): number | undefined {
    return this.#rotation.scheduledMs;
  }

  /** Why a rotation without a request is due, whether or not it has to wait. */
  rotationDue(nowMs: number): RotationCause['why'] | undefined {
    return this.#rotation.due(nowMs)?.why;
  }

  /** SPIs of the active master key that are left; undefined until an offer was made. */
  get spisLeft(): number | undefined {
    return this.#rotation.spisLeft;
  }

  /** The only input: updates the state. @returns the actions, to be carried out in this order. */
  on(fact: Fact, nowMs: number): Action[] {
    switch (fact.type) {
      case 'reconfigured':
        return this.#reconfigured(fact, nowMs);
      case 'bus':
        // The answers of all exchanges in flight are lost with the bus.
        this.#exchanges.interrupt();
        this.#wants.busChanged(fact.connected, nowMs);
        this.#recovery.busChanged(fact.connected);
        this.#rotation.busChanged(fact.connected, nowMs);
        return this.#due(nowMs);
      case 'tick':
        return this.#due(nowMs);
      case 'missed':
        return this.#missed(fact.misses, nowMs);
      case 'seen':
        return this.#seen(fact.inbound, fact.spi, nowMs);
      case 'unknownSpis':
        this.#recovery.unknownSpis(fact.packets, nowMs);
        return this.#due(nowMs);
      case 'greeted':
        if (this.#gone.has(fact.peer)) return [];
        this.#recovery.greeted(fact.peer, fact.epoch, fact.spis, nowMs);
        return this.#due(nowMs);
      case 'greetingAnswered':
        if (this.#gone.has(fact.peer)) return [];
        this.#recovery.greetingAnswered(fact.peer, fact.epoch);
        return this.#due(nowMs);
      case 'worn':
        return this.#worn(fact, nowMs);
      case 'offered':
        return this.#offered(fact, nowMs);
      case 'offerFailed':
        return this.#offerFailed(fact, nowMs);
      case 'refuseReceived':
        return this.#refuse(fact, nowMs);
      case 'installReceived':
        return this.#install(fact, nowMs);
      case 'acceptReceived':
        return this.#acceptReceived(fact);
      case 'offeredInReturn':
        return this.#accept(fact, nowMs);
      case 'offerInReturnFailed':
        return this.#acceptFailed(fact, nowMs);
      case 'installed':
        return this.#installs.installed(fact.request, fact.results, nowMs);
      case 'installFailed':
        return this.#installs.failed(fact.request, fact.error, nowMs);
      case 'retryDue':
        return this.#installs.retry(fact.request);
      case 'rotateReceived':
        return this.#rotate(fact, nowMs);
      case 'rotated':
        return this.#rotated(fact, nowMs);
      case 'rotateFailed':
        this.#rotation.failed(nowMs);
        return fact.request === undefined ? [] : [{ type: 'fail', request: fact.request, error: fact.error }];
      case 'removeReceived':
        return this.#removeReceived(fact, nowMs);
      case 'removed':
        return fact.request === undefined ? [] : [this.#removed(fact.request)];
      case 'removeFailed':
        return fact.request === undefined ? [] : [{ type: 'fail', request: fact.request, error: fact.error }];
    }
  }

  /** Does what is overdue, and begins the exchanges that are due. */
  #due(nowMs: number): Action[] {
    if (nowMs >= this.#expiredMs + tickMs) {
      this.#expiredMs = nowMs;
      this.#exchanges.forget(nowMs);
      this.counters.unanswered += this.#wants.expire(nowMs);
    }
    this.#exchanges.timeOut(nowMs);
    const actions = [...this.#rotateWhenDue(nowMs), ...this.#recovery.due(nowMs)];
    for (const peer of this.#wants.peers()) {
      const limit = (offeringLimit - this.#exchanges.offering) * batchLimit;
      const most = this.#budgets.left(peer);
      for (const batch of this.#wants.due(peer, limit, most, nowMs)) actions.push(this.#begin(batch, nowMs));
    }
    return actions;
  }

  #begin({ peer, reason, flows }: Batch, nowMs: number): Action {
    const { number: exchange } = this.#exchanges.begin(peer, this.#wants.paceOf(peer), flows, nowMs);
    this.counters.exchanges += flows.length;
    if (reason === 'stale') this.counters.reoffered += flows.length;
    if (reason === 'renew') this.counters.renewed += flows.length;
    for (const flow of flows) {
      this.#wants.attempted(flow, exchange, nowMs, this.#inbound.isProven(reversed(flow)));
    }
    return { type: 'offer', exchange, peer, reason, flows };
  }

  #missed(misses: readonly Miss[], nowMs: number): Action[] {
    for (const { flow, peer } of misses) {
      if (!this.#keys.has(flow) && !this.#gone.has(peer)) this.#wants.missed(flow, peer, nowMs);
    }
    return this.#due(nowMs);
  }

  #seen(inbound: FlowKey, spi: number, nowMs: number): Action[] {
    if (this.#inbound.seen(inbound, spi, this.generation)) this.#proven(reversed(inbound), nowMs);
    return [];
  }

  #worn({ flow, peer, stopped }: FactOf<'worn'>, nowMs: number): Action[] {
    // The flow may have been removed meanwhile.
    if (!this.#keys.has(flow)) return [];
    this.#wants.renew(flow, peer, nowMs);
    const down =
      stopped && this.#keys.stopped(flow) ? [audit({ type: 'tunnelDown', flow, peer, why: 'keyWorn' })] : [];
    return [...down, ...this.#due(nowMs)];
  }

  #offered({ exchange: number, generation, spis, spisLeft }: FactOf<'offered'>, nowMs: number): Action[] {
    this.#rotation.offered(generation, spisLeft);
    const exchange = this.#exchanges.offeringEnded(number);
    if (exchange === undefined) return this.#due(nowMs);
    const current = generation >= this.generation && !exchange.isOvertaken;
    // Offers of an older generation need no proof from the peer, because they are withdrawn below.
    for (const offer of this.#exchanges.offered(exchange, generation, spis)) {
      this.#remember(offer, exchange.peer, generation, true);
    }
    const inFlight = exchange.flows.filter((flow) => this.#wants.isInFlight(flow, number));
    if (current && inFlight.length > 0) {
      return [{ type: 'publish', exchange: number, timeoutMs: exchange.timeoutMs }, ...this.#due(nowMs)];
    }
    // Either a rotation or a removal overtook the offers, or no flow waits for them any more. They were not published, so they are
    // withdrawn, and the flows that still want an exchange get another one at once.
    const actions = this.#withdraw(exchange, exchange.flows);
    this.#exchanges.end(exchange);
    for (const flow of inFlight) this.#wants.notPublished(flow, nowMs);
    return [...actions, ...this.#due(nowMs)];
  }

  #offerFailed({ exchange: number, code }: FactOf<'offerFailed'>, nowMs: number): Action[] {
    const exchange = this.#exchanges.offeringEnded(number);
    this.#countFailedOffer(code);
    if (exchange === undefined) return this.#due(nowMs);
    for (const flow of exchange.flows) {
      if (this.#wants.isInFlight(flow, number)) this.#wants.notPublished(flow);
    }
    this.#exchanges.end(exchange);
    return this.#due(nowMs);
  }

  /** A peer answered an exchange: it is over for every flow for which it was in flight, whichever key is used. */
  #install({ request, exchange, peer, flows, keys }: Requested<InstallReceived>, nowMs: number): Action[] {
    const known = this.#exchangeWith(peer, exchange);
    if (known !== undefined) this.#peerAnswered(known, nowMs);
    const current = known?.generation === this.generation;
    const late = new Set<number>();
    for (const [row, flow] of flows.entries()) {
      if (known?.spis.has(flow)) this.#answered(flow, keys[row] as EgressKey, current, nowMs);
      if (known === undefined || !this.#wants.isInFlight(flow, exchange)) {
        this.counters.late++;
        late.add(row);
        continue;
      }
      this.counters.answered++;
      this.#wants.keyed(flow, nowMs);
    }
    const offered = { request, peer, asked: 'us', flows, keys, offers: [] } as const;
    const actions = this.#installs.begin(offered, late, nowMs);
    // A late answer may be of an earlier epoch of the peer.
    if (late.size < flows.length) this.#recovery.keysReceived(peer, keys);
    return [...actions, ...this.#due(nowMs)];
  }

  #acceptReceived(fact: Requested<AcceptReceived>): Action[] {
    const { request, peer, flows } = fact;
    if (this.#budgets.left(peer) < flows.length) {
      return [{ type: 'fail', request, error: new PspError('TUNNELS_SPENT') }];
    }
    this.#budgets.spend(peer, flows.length);
    this.#accepts.set(request, { accept: fact, isOvertaken: false });
    return [{ type: 'offerInReturn', request }];
  }

  /** The offers in return of an accept were made, so the peer's keys are used from now on. */
  #accept({ request, generation, spis, spisLeft }: FactOf<'offeredInReturn'>, nowMs: number): Action[] {
    this.#rotation.offered(generation, spisLeft);
    const { accept, isOvertaken } = this.#takeAccept(request);
    const { peer, flows, keys } = accept;
    const offers = flows.map((flow, i) => ({ inbound: reversed(flow), spi: spis[i] as number }));
    if (isOvertaken) {
      this.#budgets.giveBack(peer, flows.length);
      return [...withdraw(offers), { type: 'fail', request, error: new PspError('FLOW_REMOVED') }];
    }
    const current = generation >= this.generation;
    for (const offer of offers) {
      this.#remember(offer, peer, generation, current);
      if (!current) this.#wants.stale(reversed(offer.inbound), peer, nowMs);
    }
    this.counters.accepted += keys.length;
    for (const row of keys.keys()) this.#wants.keyed(flows[row] as FlowKey);
    const offered = { request, peer, asked: 'peer', flows, keys, offers } as const;
    const actions = this.#installs.begin(offered, new Set(), nowMs);
    this.#recovery.keysReceived(peer, keys);
    return [...actions, ...this.#due(nowMs)];
  }

  #acceptFailed({ request, error }: FactOf<'offerInReturnFailed'>, nowMs: number): Action[] {
    const { peer, flows } = this.#takeAccept(request).accept;
    this.#budgets.giveBack(peer, flows.length);
    this.#countFailedOffer(error instanceof PspError ? error.code : undefined);
    return [{ type: 'fail', request, error }, ...this.#due(nowMs)];
  }

  #takeAccept(request: number): { accept: AcceptReceived; isOvertaken: boolean } {
    const accept = this.#accepts.get(request);
    if (accept === undefined) throw new Error(`request ${request} waits for no offers`);
    this.#accepts.delete(request);
    return accept;
  }

  /**
   * A peer refused an exchange: its offers for these flows are withdrawn. A batch is refused as a whole, so its flows
   * are tried again at once in smaller batches, in the end each flow alone. Only a flow that is refused alone is held
   * down.
   */
  #refuse({ exchange, peer, flows, code }: FactOf<'refuseReceived'>, nowMs: number): Action[] {
    const refused = this.#exchangeWith(peer, exchange);
    if (refused === undefined) return [];
    this.#peerAnswered(refused, nowMs);
    const actions = this.#withdraw(refused, flows);
    for (const flow of flows) {
      if (!this.#wants.isInFlight(flow, exchange)) continue;
      if (refused.flows.length > 1) {
        this.#wants.refusedTogether(flow, refused.flows.length, nowMs);
        continue;
      }
      this.counters.refused++;
      const holdDownMs = this.#wants.refused(flow, peer, nowMs);
      // Only the first of consecutive refusals, so that a flow that is refused again and again does not fill the trail.
      if (holdDownMs === firstHoldDownMs) actions.push(audit({ type: 'tunnelRefused', flow, peer, code }));
      if (!this.#keys.has(flow)) actions.push({ type: 'refuse', flows: [flow], holdDownMs });
    }
    return [...actions, ...this.#due(nowMs)];
  }

  #rotate({ request, cause, cutsAtMost }: Requested<RotateReceived>, nowMs: number): Action[] {
    if (cause.why === 'request') {
      const waitMs = requestableMs - this.#rotation.ageMs(nowMs);
      if (waitMs > 0)
        return [{ type: 'fail', request, error: new PspError('ROTATION_LIMITED', { ms: waitMs }) }];
    }
    const wait = this.rotationWait(nowMs, cause.why);
    const isAgreed = cutsAtMost !== undefined && this.flowsToCut <= cutsAtMost && !this.#rotation.isRunning;
    if (wait !== undefined && !isAgreed) {
      const reply = { generation: this.generation, wait, cut: this.flowsToCut, unanswered: 0, reoffered: 0 };
      return [{ type: 'reply', request, reply }];
    }
    this.#rotation.begin(cause);
    return [{ type: 'rotate', request }];
  }

  /** Begins a rotation that is due on schedule or because few SPIs are left, once it need not wait any more. */
  #rotateWhenDue(nowMs: number): Action[] {
    this.#rotation.passed(nowMs);
    const cause = this.#rotation.due(nowMs);
    if (cause === undefined || this.rotationWait(nowMs, cause.why) !== undefined) return [];
    this.#rotation.begin(cause);
    return [{ type: 'rotate', request: undefined }];
  }

  #rotated({ request, generation }: FactOf<'rotated'>, nowMs: number): Action[] {
    const unanswered = this.#inbound.unanswered.flows;
    const cause = this.#rotation.done(generation, nowMs);
    const cut: Action[] = [];
    const flows = this.#inbound.rotated(generation, nowMs);
    for (const { inbound, peer, isCut } of flows) {
      this.#wants.stale(reversed(inbound), peer, nowMs);
      if (isCut) cut.push(audit({ type: 'tunnelDown', flow: inbound, peer, why: 'rotationForced' }));
    }
    this.counters.keyRotations++;
    this.counters.staleEvents += cut.length;
    const reoffered = flows.length;
    const rotated = audit({ type: 'keysRotated', generation, cause, reoffered, cut: cut.length });
    const actions = [rotated, ...cut, ...this.#due(nowMs)];
    if (request === undefined) return actions;
    const reply = { generation, wait: undefined, cut: cut.length, unanswered, reoffered };
    return [...actions, { type: 'reply', request, reply }];
  }

  #removeReceived({ request, selection }: Requested<RemoveReceived>, nowMs: number): Action[] {
    const flows = this.#removal.select(selects(selection));
    if (flows.size === 0) return [{ type: 'reply', request, reply: { removed: 0 } }];
    this.#removals.set(request, flows.size);
    return this.#remove(flows, request, nowMs);
  }

  /** Removes flows, with their offers and whatever is under way for them. */
  #remove(flows: Flows, request: number | undefined, nowMs: number): Action[] {
    for (const pending of this.#accepts.values()) {
      pending.isOvertaken ||= pending.accept.flows.some((flow) => flows.has(flow));
    }
    return [...this.#removal.remove(flows, request, nowMs), ...this.#due(nowMs)];
  }

  /** The engine has carried out a removal. */
  #removed(request: number): Action {
    const removed = this.#removals.get(request) ?? 0;
    this.#removals.delete(request);
    return { type: 'reply', request, reply: { removed } };
  }

  /**
   * Takes over the changed node file. Peers that stay keep everything but the flows that their VIPs do not contain any
   * more; of a peer that was removed nothing is left but exchanges that have not timed out.
   */
  #reconfigured(fact: Reconfigured, nowMs: number): Action[] {
    const { added, peers, maxTunnels, configured, times, isAllowed } = fact;
    const flows = this.#removal.select((flow, peer) => !isAllowed(flow, peer));
    for (const peer of this.#peers.keys()) if (!peers.has(peer)) this.#gone.add(peer);
    this.#peers = peers;
    for (const peer of added) {
      this.#gone.delete(peer);
      this.#wants.forgetPeer(peer);
      this.#keys.forgetPeer(peer);
      this.#inbound.forgetPeer(peer);
    }
    this.#recovery.reconfigured(peers, added);
    this.#budgets.reconfigured(maxTunnels, added);
    this.#rotation.times = times;
    this.#wants.configure(configured, (flow) => this.#keys.has(flow), nowMs);
    for (const pending of this.#accepts.values()) {
      pending.isOvertaken ||= pending.accept.flows.some((flow) => !isAllowed(flow, pending.accept.peer));
    }
    return this.#remove(flows, undefined, nowMs);
  }

  #countFailedOffer(code: string | undefined): void {
    this.counters.offersFailed++;
    if (code === 'SPI_EXHAUSTED') this.#rotation.exhaust();
  }

  /** The peer answered or refused an exchange, so its software processed the offers. */
  #peerAnswered(exchange: Exchange, nowMs: number): void {
    if (this.#exchanges.answered(exchange, nowMs)) this.#budgets.spend(exchange.peer, exchange.flows.length);
  }

  #exchangeWith(peer: number, number: bigint): Exchange | undefined {
    const exchange = this.#exchanges.get(number);
    return exchange?.peer === peer ? exchange : undefined;
  }

  #remember(offer: MadeOffer, peer: number, generation: number, current: boolean): void {
    const forgotten = this.#inbound.offered(offer, peer, generation, current);
    if (forgotten !== undefined) this.#wants.fresh(reversed(forgotten));
  }

  /** The peer has an offer of the flow; `current` says whether it is of the active key generation. */
  #answered(flow: FlowKey, key: KeyOrder, current: boolean, nowMs: number): void {
    if (this.#inbound.answered(reversed(flow), isNumbered(key), current)) this.#proven(flow, nowMs);
  }

  #proven(flow: FlowKey, nowMs: number): void {
    this.#rotation.proven(nowMs);
    this.#wants.fresh(flow);
  }

  #withdraw(exchange: Exchange, flows: readonly FlowKey[]): Action[] {
    const offers = this.#exchanges.withdraw(exchange, flows);
    for (const offer of offers) this.#inbound.withdrawn(offer);
    return withdraw(offers);
  }
}

const isNumbered = ({ epoch, number }: KeyOrder): boolean => epoch !== undefined && number !== undefined;
