// SPDX-License-Identifier: Apache-2.0
// Exchanges that were begun: their numbers, which only count up within this epoch, the offers that were made for
// them, and the time after which they are no longer in flight. An exchange is remembered for a while beyond its
// timeout, because a late refusal still withdraws its offers, and a late answer still proves that the peer has them.
import type { FlowKey } from '../../shared/address.js';
import { type MadeOffer, reversed } from './facts.js';
import type { Pace } from './pace.js';
import { TimerQueue } from './timer_queue.js';

/** How long after its start an exchange is remembered, unless its own timeout is longer. */
const rememberedMs = 10_000;

export interface Exchange {
  readonly number: bigint;
  readonly peer: number;
  readonly flows: readonly FlowKey[];
  /** How long its answer is of use. */
  readonly timeoutMs: number;
  readonly startedMs: number;
  /** The pace of its peer. */
  readonly pace: Pace;
  /** It occupies space in the window of its peer. */
  inFlight: boolean;
  /** Its peer answered it once. */
  answered: boolean;
  /** One of its flows was removed before its offers were made, so they must not be published. */
  isOvertaken: boolean;
  /** Key generation of its offers; undefined until they are made. */
  generation: number | undefined;
  /** SPI of the offer by egress flow, until the offer is withdrawn. */
  readonly spis: Map<FlowKey, number>;
}

export class Exchanges {
  readonly #exchanges = new Map<bigint, Exchange>();
  /** Those whose offers are being made. */
  readonly #offering = new Set<bigint>();
  readonly #timeouts = new TimerQueue<Exchange>();
  readonly #rememberedMs: number;
  /** Flows of exchanges in flight, by peer. */
  readonly #inFlight = new Map<number, number>();
  #last = 0n;

  /** @param longestMs the longest timeout of an exchange. */
  constructor(longestMs: number) {
    this.#rememberedMs = Math.max(rememberedMs, 2 * longestMs);
  }

  get size(): number {
    return this.#exchanges.size;
  }

  /** How many exchanges wait for their offers to be made. */
  get offering(): number {
    return this.#offering.size;
  }

  /** How many flows are in flight towards a peer. */
  inFlightOf(peer: number): number {
    return this.#inFlight.get(peer) ?? 0;
  }

  begin(peer: number, pace: Pace, flows: readonly FlowKey[], nowMs: number): Exchange {
    const exchange = {
      number: ++this.#last,
      peer,
      flows,
      timeoutMs: pace.timeoutMs,
      startedMs: nowMs,
      pace,
      inFlight: true,
      answered: false,
      isOvertaken: false,
      generation: undefined,
      spis: new Map(),
    };
    this.#exchanges.set(exchange.number, exchange);
    this.#offering.add(exchange.number);
    pace.began(flows.length);
    this.#inFlight.set(peer, this.inFlightOf(peer) + flows.length);
    this.#timeouts.add(exchange, nowMs + pace.attemptMs);
    return exchange;
  }

  get(number: bigint): Exchange | undefined {
    return this.#exchanges.get(number);
  }

  /** The attempt to make its offers is over. @returns the exchange, if it is still remembered. */
  offeringEnded(number: bigint): Exchange | undefined {
    this.#offering.delete(number);
    return this.#exchanges.get(number);
  }

  /** Its offers were made. */
  offered(exchange: Exchange, generation: number, spis: readonly number[]): MadeOffer[] {
    exchange.generation = generation;
    return exchange.flows.map((flow, i) => {
      const spi = spis[i] as number;
      exchange.spis.set(flow, spi);
      return { inbound: reversed(flow), spi };
    });
  }

  /** Flows were removed, and with them their offers. */
  removed(flows: { has(flow: FlowKey): boolean }): void {
    for (const exchange of this.#exchanges.values()) {
      for (const flow of exchange.flows) {
        if (!flows.has(flow)) continue;
        exchange.spis.delete(flow);
        exchange.isOvertaken ||= exchange.generation === undefined;
      }
    }
  }

  /** Removes the offers for these flows from the exchange. @returns those that were not withdrawn before. */
  withdraw(exchange: Exchange, flows: readonly FlowKey[]): MadeOffer[] {
    return flows.flatMap((flow) => {
      const spi = exchange.spis.get(flow);
      exchange.spis.delete(flow);
      return spi === undefined ? [] : [{ inbound: reversed(flow), spi }];
    });
  }

  /**
   * The peer answered or refused. A late answer is measured, too; a repeated one is not.
   * @returns whether it is the first answer.
   */
  answered(exchange: Exchange, nowMs: number): boolean {
    if (exchange.answered) return false;
    exchange.answered = true;
    this.#freeWindow(exchange);
    exchange.pace.answered(exchange.flows.length, exchange.startedMs, nowMs);
    return true;
  }

  /** Exchanges whose timeout has passed are no longer in flight. */
  timeOut(nowMs: number): void {
    for (let due = this.#timeouts.next(nowMs); due !== undefined; due = this.#timeouts.next(nowMs)) {
      const exchange = due.key;
      if (this.#freeWindow(exchange)) exchange.pace.unanswered(exchange.startedMs, nowMs);
    }
  }

  /** Nothing is in flight any more, towards this peer or at all, which says nothing about how fast a peer is. */
  interrupt(peer?: number): void {
    for (const exchange of this.#exchanges.values()) {
      if (peer === undefined || exchange.peer === peer) this.#freeWindow(exchange);
    }
  }

  /** The exchange is over before it was published, so no answer can come. */
  end(exchange: Exchange): void {
    this.#freeWindow(exchange);
    this.#exchanges.delete(exchange.number);
  }

  /** Forgets exchanges whose timeout passed long ago. */
  forget(nowMs: number): void {
    for (const [number, { startedMs }] of this.#exchanges) {
      if (startedMs + this.#rememberedMs > nowMs) return;
      this.#exchanges.delete(number);
    }
  }

  /** Frees its space in the window of its peer. @returns whether it occupied any. */
  #freeWindow(exchange: Exchange): boolean {
    if (!exchange.inFlight) return false;
    exchange.inFlight = false;
    exchange.pace.ended(exchange.flows.length);
    this.#inFlight.set(exchange.peer, this.inFlightOf(exchange.peer) - exchange.flows.length);
    return true;
  }
}
