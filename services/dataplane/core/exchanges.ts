// SPDX-License-Identifier: Apache-2.0
// Exchanges that were begun: their numbers, which only count up within this epoch, and the offers that went
// with them. An exchange is remembered a while beyond its time, because a late refusal still withdraws its
// offers, and a late answer still proves that the peer has them.
import type { FlowKey } from '../../shared/address.js';
import { type MadeOffer, reversed } from './facts.js';

/** How long after its start an exchange is remembered, if its own deadline is not longer. */
const rememberedMs = 10_000;

export interface Exchange {
  peer: number;
  flows: readonly FlowKey[];
  startedMs: number;
  /** How long its answer is of use. */
  timeoutMs: number;
  /** It takes room in its peer's window. */
  inFlight: boolean;
  /** Its peer answered it once. */
  answered: boolean;
  /** Of the master key under which its offers were made; undefined until they are. */
  generation: number | undefined;
  /** By egress flow, until they are withdrawn. */
  spis: Map<FlowKey, number>;
}

export class Exchanges {
  readonly #exchanges = new Map<bigint, Exchange>();
  readonly #rememberedMs: number;
  #last = 0n;

  /** @param longestMs what an exchange is given at most. */
  constructor(longestMs: number) {
    this.#rememberedMs = Math.max(rememberedMs, 2 * longestMs);
  }

  get size(): number {
    return this.#exchanges.size;
  }

  begin(peer: number, flows: readonly FlowKey[], timeoutMs: number, nowMs: number): bigint {
    this.#last += 1n;
    this.#exchanges.set(this.#last, {
      peer,
      flows,
      startedMs: nowMs,
      timeoutMs,
      inFlight: true,
      answered: false,
      generation: undefined,
      spis: new Map(),
    });
    return this.#last;
  }

  /** Oldest first. */
  all(): Iterable<Exchange> {
    return this.#exchanges.values();
  }

  get(exchange: bigint): Exchange | undefined {
    return this.#exchanges.get(exchange);
  }

  made(exchange: Exchange, generation: number, spis: readonly number[]): MadeOffer[] {
    exchange.generation = generation;
    return exchange.flows.map((flow, i) => {
      const spi = spis[i] as number;
      exchange.spis.set(flow, spi);
      return { inbound: reversed(flow), spi };
    });
  }

  /** Takes the exchange's offers for these flows back. */
  takeBack(exchange: Exchange, flows: readonly FlowKey[]): MadeOffer[] {
    return flows.flatMap((flow) => {
      const spi = exchange.spis.get(flow);
      exchange.spis.delete(flow);
      return spi === undefined ? [] : [{ inbound: reversed(flow), spi }];
    });
  }

  end(exchange: bigint): void {
    this.#exchanges.delete(exchange);
  }

  /** Forgets the oldest whose time is long over. */
  forget(nowMs: number): void {
    for (const [number, { startedMs }] of this.#exchanges) {
      if (startedMs + this.#rememberedMs > nowMs) return;
      this.#exchanges.delete(number);
    }
  }
}
