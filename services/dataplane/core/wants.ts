// SPDX-License-Identifier: Apache-2.0
// The flows for which an exchange is wanted (see want.ts), and every timer about them: when each attempt is due, when
// a held packet is given up, and until when a flow is held down. Each peer has two timer queues, because misses go
// before everything else, and a pace that bounds how many flows are in flight towards it (see pace.ts). While the bus
// is away no attempt is due and the queues are empty; otherwise they would grow with every miss.
import type { FlowKey } from '../../shared/address.js';
import type { Miss, Reason } from './facts.js';
import { firstHoldDownMs, HoldDowns } from './hold_down.js';
import { batchLimit, exchangeCost, Pace } from './pace.js';
import { TimerQueue } from './timer_queue.js';
import { Want } from './want.js';

export interface WantsOptions {
  /** Flows that are wanted from the start. */
  configured: readonly Miss[];
  /** How long the engine holds a packet without a key. */
  holdMs: number;
  /** Timeout of an exchange while no slower one was measured. */
  exchangeMs: number;
  /** The longest timeout of an exchange. */
  longestMs: number;
}

/** Flows of one peer and one reason that share an exchange. */
export interface Batch {
  peer: number;
  reason: Reason;
  flows: FlowKey[];
}

interface Peer {
  pace: Pace;
  misses: TimerQueue<FlowKey>;
  /** Configured flows, renewals and re-offers. */
  others: TimerQueue<FlowKey>;
}

export class Wants {
  readonly #wants = new Map<FlowKey, Want>();
  readonly #peers = new Map<number, Peer>();
  readonly #giveUps = new TimerQueue<FlowKey>();
  readonly #holdDowns = new HoldDowns();
  #configured: ReadonlyMap<FlowKey, number>;
  #connected = false;

  constructor(private readonly options: WantsOptions) {
    this.#configured = new Map(options.configured.map(({ flow, peer }) => [flow, peer]));
    for (const { flow, peer } of options.configured) this.#configure(flow, peer, 0);
  }

  /** Other flows are wanted without a packet from now on; at once unless they have a key. */
  configure(configured: readonly Miss[], isKeyed: (flow: FlowKey) => boolean, nowMs: number): void {
    const before = this.#configured;
    this.#configured = new Map(configured.map(({ flow, peer }) => [flow, peer]));
    for (const flow of before.keys()) {
      const want = this.#configured.has(flow) ? undefined : this.#wants.get(flow);
      if (want === undefined) continue;
      want.configured = false;
      this.#forgetUnlessWanted(flow, want);
    }
    for (const { flow, peer } of configured) {
      if (before.get(flow) !== peer && !isKeyed(flow)) this.#configure(flow, peer, nowMs);
    }
  }

  /** The number of a peer, of which nothing is wanted any more, is that of another one now. */
  forgetPeer(peer: number): void {
    this.#peers.delete(peer);
  }

  get size(): number {
    return this.#wants.size;
  }

  /** Entries of the timer queues, those that are no longer valid included. */
  get scheduled(): number {
    return Array.from(this.#peers.values()).reduce(
      (sum, { misses, others }) => sum + misses.size + others.size,
      0,
    );
  }

  get heldDown(): number {
    return this.#holdDowns.size;
  }

  /** All peers of which anything was ever wanted. */
  peers(): Iterable<number> {
    return this.#peers.keys();
  }

  paceOf(peer: number): Pace {
    return this.#peer(peer).pace;
  }

  /** Whether this exchange is the one in flight for the flow. */
  isInFlight(flow: FlowKey, exchange: bigint): boolean {
    return this.#wants.get(flow)?.exchange === exchange;
  }

  /** The engine holds a packet of the flow. It reports the flow again only after it gave the packet up. */
  missed(flow: FlowKey, peer: number, nowMs: number): void {
    const want = this.#want(flow, peer);
    const isNew = want.missedMs === undefined;
    want.missedMs = nowMs;
    this.#giveUps.add(flow, nowMs + this.options.holdMs);
    if (isNew) this.#scheduleSoon(flow, want, nowMs);
  }

  /** The peer's offer of ours is of an older key generation: a new one is wanted. */
  stale(flow: FlowKey, peer: number, nowMs: number): void {
    const want = this.#want(flow, peer);
    want.stale = true;
    want.resetBackoff();
    this.#scheduleSoon(flow, want, nowMs);
  }

  /** No new offer of the flow is wanted any more. */
  fresh(flow: FlowKey): void {
    const want = this.#wants.get(flow);
    if (want === undefined) return;
    want.stale = false;
    this.#forgetUnlessWanted(flow, want);
  }

  /** The egress key of the flow must be replaced: a newer one is wanted, and the old one stays in use meanwhile. */
  renew(flow: FlowKey, peer: number, nowMs: number): void {
    const want = this.#want(flow, peer);
    want.renewing = true;
    want.resetBackoff();
    this.#scheduleSoon(flow, want, nowMs);
  }

  /** The egress key of the flow was replaced by a newer one, or the flow has none any more. */
  renewed(flow: FlowKey): void {
    const want = this.#wants.get(flow);
    if (want === undefined) return;
    want.renewing = false;
    this.#forgetUnlessWanted(flow, want);
  }

  /**
   * An egress key of the flow arrived, which ends its exchange; if the peer's offer is stale all the same, the attempt
   * to replace it is due at nextMs.
   */
  keyed(flow: FlowKey, nextMs?: number): void {
    this.#holdDowns.clear(flow);
    const want = this.#wants.get(flow);
    if (want === undefined) return;
    want.keyed();
    this.#proceed(flow, want, (want.stale ? nextMs : undefined) ?? want.nextMs);
  }

  /** The engine has no key of the flow, because its table was full or it was busy for too long. */
  keyLost(flow: FlowKey, peer: number, nowMs: number): void {
    this.renewed(flow);
    this.#holdDowns.unanswered(flow, peer, nowMs);
    this.#configureAgain(flow, nowMs + firstHoldDownMs);
  }

  /** Every flow that is wanted or held down, with its peer. */
  *flows(): Iterable<[FlowKey, number]> {
    for (const [flow, { peer }] of this.#wants) yield [flow, peer];
    yield* this.#holdDowns.flows();
  }

  /** The flow was removed: a want and a hold-down are forgotten, and a configured flow is wanted again at once. */
  removed(flow: FlowKey, nowMs: number): void {
    this.#wants.delete(flow);
    this.#holdDowns.clear(flow);
    this.#configureAgain(flow, nowMs);
  }

  /**
   * The peer has an epoch other than before: attempts that failed before say nothing about it any more; hold-downs stay.
   * @param restarted it had one before, so attempts in flight were made to a dataplane that is gone.
   */
  epochChanged(peer: number, restarted: boolean, nowMs: number): void {
    this.paceOf(peer).peerRestarted();
    for (const [flow, want] of this.#wants) {
      if (want.peer !== peer) continue;
      if (restarted) want.exchange = undefined;
      want.resetBackoff();
      this.#scheduleSoon(flow, want, nowMs);
    }
  }

  /** The peer refused the flow alone. @returns how long the flow is held down. */
  refused(flow: FlowKey, peer: number, nowMs: number): number {
    const ms = this.#holdDowns.refused(flow, peer, nowMs);
    const want = this.#wants.get(flow);
    if (want !== undefined) {
      want.exchange = undefined;
      want.missedMs = undefined;
      this.#proceed(flow, want, Math.max(nowMs + ms, want.nextMs));
    }
    return ms;
  }

  /** The peer refused the flow together with others, so many in all: the next attempt has fewer or none beside it. */
  refusedTogether(flow: FlowKey, flows: number, nowMs: number): void {
    const want = this.#wants.get(flow);
    if (want === undefined) return;
    want.exchange = undefined;
    want.shareLimit = flows > batchLimit ? batchLimit : 1;
    this.#proceed(flow, want, nowMs);
  }

  /** The exchange in flight is over before it was published. @param nextMs if given, the next attempt is due then. */
  notPublished(flow: FlowKey, nextMs?: number): void {
    const want = this.#wants.get(flow);
    if (want === undefined) return;
    want.exchange = undefined;
    if (nextMs !== undefined) this.#schedule(flow, want, nextMs);
  }

  /** An exchange of the flow begins; `proven` as for Want.attempt. */
  attempted(flow: FlowKey, exchange: bigint, nowMs: number, proven: boolean): void {
    const want = this.#wants.get(flow);
    if (want === undefined) return;
    want.attempt(exchange, nowMs, proven);
    this.#schedule(flow, want, want.nextMs);
  }

  /**
   * The bus was connected or lost. Attempts that failed before may have failed because of the bus, so its return ends
   * every back-off; hold-downs stay.
   */
  busChanged(connected: boolean, nowMs: number): void {
    this.#connected = connected;
    for (const { misses, others } of this.#peers.values()) {
      misses.clear();
      others.clear();
    }
    if (!connected) return;
    for (const [flow, want] of this.#wants) {
      want.resetBackoff();
      this.#scheduleSoon(flow, want, nowMs);
    }
  }

  /**
   * Gives up misses after holdMs, as the engine does by its own clock with the packets, and forgets old hold-downs.
   * An exchange in flight continues: a late answer serves the next packet. @returns how many were given up.
   */
  expire(nowMs: number): number {
    this.#holdDowns.forget(nowMs);
    let count = 0;
    for (let due = this.#giveUps.next(nowMs); due !== undefined; due = this.#giveUps.next(nowMs)) {
      const want = this.#wants.get(due.key);
      if (want?.missedMs === undefined || want.missedMs + this.options.holdMs !== due.atMs) continue;
      count++;
      want.missedMs = undefined;
      this.#holdDowns.unanswered(due.key, want.peer, nowMs);
      if (want.reason !== undefined) continue;
      if (want.attemptEndMs > nowMs && this.#connected) this.#schedule(due.key, want, want.attemptEndMs);
      else this.#wants.delete(due.key);
    }
    return count;
  }

  /**
   * The flows of a peer whose attempts are due, in batches, misses first, as far as its window has space.
   * @param otherLimit bounds the flows that did not miss. @param most bounds all of them.
   */
  due(peer: number, otherLimit: number, most: number, nowMs: number): Batch[] {
    const { pace, misses, others } = this.#peer(peer);
    const flows = new Set<FlowKey>();
    this.#takeDue(misses, Math.min(pace.space('misses'), most), flows, nowMs);
    this.#takeDue(others, Math.min(pace.space('others'), otherLimit, most) - flows.size, flows, nowMs);
    return this.#batches(peer, pace, flows);
  }

  /** Moves flows that are due from a timer queue to `flows`, as many as there is space for. */
  #takeDue(queue: TimerQueue<FlowKey>, space: number, flows: Set<FlowKey>, nowMs: number): void {
    for (let left = space; left > 0; ) {
      const next = queue.next(nowMs);
      if (next === undefined) return;
      const { key: flow, atMs } = next;
      const want = this.#wants.get(flow);
      if (want?.nextMs !== atMs || flows.has(flow)) continue;
      if (want.reason === undefined) this.#wants.delete(flow);
      // The peer has become slower since the attempt in flight began.
      else if (want.attemptEndMs > nowMs) this.#schedule(flow, want, want.attemptEndMs);
      else if (!want.isTooLate(this.options.holdMs, nowMs)) {
        flows.add(flow);
        left -= want.shareLimit === 1 ? exchangeCost : 1;
      }
    }
  }

  /** Flows share a batch when they have the same reason and may share an exchange with as many others. */
  #batches(peer: number, pace: Pace, flows: Iterable<FlowKey>): Batch[] {
    const batches: Batch[] = [];
    const incomplete = new Map<string, Batch>();
    for (const flow of flows) {
      const want = this.#wants.get(flow) as Want;
      const reason = want.reason as Reason;
      const limit = Math.min(want.shareLimit, pace.batch);
      const kind = `${reason} ${limit}`;
      const batch = incomplete.get(kind) ?? { peer, reason, flows: [] };
      if (batch.flows.length === 0) batches.push(batch);
      incomplete.set(kind, batch);
      if (batch.flows.push(flow) >= limit) incomplete.delete(kind);
    }
    return batches;
  }

  #configureAgain(flow: FlowKey, atMs: number): void {
    const peer = this.#configured.get(flow);
    if (peer !== undefined) this.#configure(flow, peer, atMs);
  }

  #configure(flow: FlowKey, peer: number, atMs: number): void {
    const want = this.#want(flow, peer);
    want.configured = true;
    this.#schedule(flow, want, atMs);
  }

  #want(flow: FlowKey, peer: number): Want {
    const want = this.#wants.get(flow) ?? new Want(peer, this.paceOf(peer));
    this.#wants.set(flow, want);
    return want;
  }

  #peer(number: number): Peer {
    const known = this.#peers.get(number);
    if (known !== undefined) return known;
    const pace = new Pace(this.options.exchangeMs, this.options.longestMs);
    const peer = { pace, misses: new TimerQueue<FlowKey>(), others: new TimerQueue<FlowKey>() };
    this.#peers.set(number, peer);
    return peer;
  }

  /** Forgets a want without a reason; otherwise its next attempt is due at nextMs. */
  #proceed(flow: FlowKey, want: Want, nextMs: number): void {
    if (want.reason === undefined) this.#wants.delete(flow);
    else this.#schedule(flow, want, nextMs);
  }

  /** Forgets a want without a reason, unless its exchange is in flight. */
  #forgetUnlessWanted(flow: FlowKey, want: Want): void {
    if (want.reason === undefined && want.exchange === undefined) this.#wants.delete(flow);
  }

  /** The next attempt is due once neither an attempt in flight nor a hold-down stands against it. */
  #scheduleSoon(flow: FlowKey, want: Want, nowMs: number): void {
    this.#schedule(flow, want, Math.max(nowMs, want.attemptEndMs, this.#holdDowns.until(flow)));
  }

  #schedule(flow: FlowKey, want: Want, atMs: number): void {
    want.nextMs = atMs;
    if (!this.#connected) return;
    const { misses, others } = this.#peer(want.peer);
    (want.missedMs === undefined ? others : misses).add(flow, atMs);
  }
}
