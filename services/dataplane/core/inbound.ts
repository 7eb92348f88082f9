// SPDX-License-Identifier: Apache-2.0
// Inbound flows: those for which a peer received an offer of ours, or may have received one. After a rotation each
// flow needs proof that its peer has an offer of the active key generation, before the next rotation may erase the
// older key. Proof is an answer to an exchange with such an offer, or a packet under its SPI. A peer that numbers
// nothing might return to an older offer, so for its flows only a packet is proof. An offer in the reply to an accept
// proves nothing by itself, because the reply may be lost. Memory is bounded: the oldest flow whose peer never proved
// that it has an offer of the flow is forgotten first.
import type { FlowKey } from '../../shared/address.js';
import type { MadeOffer } from './facts.js';

/** As many offers of one flow as the engine keeps valid. */
const offersRemembered = 8;

type Needs = 'nothing' | 'answer' | 'packet';

interface Inbound {
  peer: number;
  /** The peer once answered an exchange of this flow, or a packet of it was received. */
  proven: boolean;
  needs: Needs;
  /** Newest last. */
  offers: { spi: number; generation: number }[];
}

/** The flows of one peer without the proof that the last rotation requires. */
export interface Unanswered {
  flows: number;
  /** Those that the next rotation would cut: the peer is known to have used an offer of the flow. */
  cut: number;
  /** When the rotation was that made the first of them need a proof; only valid while there are any. */
  sinceMs: number;
}

const noneUnanswered: Readonly<Unanswered> = { flows: 0, cut: 0, sinceMs: 0 };

export class InboundFlows {
  /** Oldest first. */
  readonly #flows = new Map<FlowKey, Inbound>();
  /** The flows that are not proven, oldest first. */
  readonly #unproven = new Set<FlowKey>();
  /** By peer. */
  readonly #unanswered = new Map<number, Unanswered>();
  /** Flows by peer. */
  readonly #flowsOf = new Map<number, number>();
  #rotatedMs = 0;

  constructor(private readonly maxFlows: number) {}

  get size(): number {
    return this.#flows.size;
  }

  /** The flows of a peer without the proof that the last rotation requires. */
  unansweredOf(peer: number): Readonly<Unanswered> {
    return this.#unanswered.get(peer) ?? noneUnanswered;
  }

  /** The same of all peers: how many, and how many the next rotation would cut. */
  get unanswered(): { flows: number; cut: number } {
    const sum = { flows: 0, cut: 0 };
    for (const { flows, cut } of this.#unanswered.values()) {
      sum.flows += flows;
      sum.cut += cut;
    }
    return sum;
  }

  /** How many flows of a peer are remembered. */
  flowsOf(peer: number): number {
    return this.#flowsOf.get(peer) ?? 0;
  }

  /** The peer once proved that it has an offer of this flow. */
  isProven(inbound: FlowKey): boolean {
    return this.#flows.get(inbound)?.proven === true;
  }

  /** The number of a peer, which has no flows any more, is that of another one now. */
  forgetPeer(peer: number): void {
    this.#unanswered.delete(peer);
    this.#flowsOf.delete(peer);
  }

  /** Every inbound flow with its peer. */
  *flows(): Iterable<[FlowKey, number]> {
    for (const [inbound, { peer }] of this.#flows) yield [inbound, peer];
  }

  /** Forgets the flow and all its offers. */
  remove(inbound: FlowKey): void {
    const flow = this.#flows.get(inbound);
    if (flow !== undefined) this.#forget(inbound, flow);
  }

  offersOf(inbound: FlowKey): readonly { spi: number; generation: number }[] {
    return this.#flows.get(inbound)?.offers ?? [];
  }

  /**
   * An offer was made and may reach the peer.
   * @param current whether it is of the active key generation.
   * @returns the flow that was forgotten to free memory, if any.
   */
  offered(
    { inbound, spi }: MadeOffer,
    peer: number,
    generation: number,
    current: boolean,
  ): FlowKey | undefined {
    const known = this.#flows.get(inbound);
    const forgotten = known === undefined ? this.#freeSpace() : undefined;
    const flow: Inbound = known ?? { peer, proven: false, needs: 'nothing', offers: [] };
    if (known === undefined) {
      this.#flows.set(inbound, flow);
      this.#unproven.add(inbound);
      this.#flowsOf.set(peer, this.flowsOf(peer) + 1);
    }
    flow.offers.push({ spi, generation });
    if (flow.offers.length > offersRemembered) flow.offers.shift();
    if (!current) this.#need(flow, 'answer');
    return forgotten;
  }

  /** The peer does not have this offer, or will not use it. A flow is forgotten with its last offer. */
  withdrawn({ inbound, spi }: MadeOffer): void {
    const flow = this.#flows.get(inbound);
    if (flow === undefined) return;
    flow.offers = flow.offers.filter((offer) => offer.spi !== spi);
    if (flow.offers.length === 0 && flow.needs === 'nothing') this.#forget(inbound, flow);
  }

  /**
   * The peer answered an exchange with an offer.
   * @param current whether the offer is of the active key generation.
   * @returns whether that was the answer that the last rotation requires.
   */
  answered(inbound: FlowKey, numbered: boolean, current: boolean): boolean {
    const flow = this.#flows.get(inbound);
    if (flow === undefined) return false;
    this.#prove(inbound, flow);
    if (!current || flow.needs !== 'answer') return false;
    this.#need(flow, numbered ? 'nothing' : 'packet');
    return true;
  }

  /** A packet was received under an SPI. @returns whether that was the proof that the last rotation requires. */
  seen(inbound: FlowKey, spi: number, generation: number): boolean {
    const flow = this.#flows.get(inbound);
    if (flow === undefined) return false;
    this.#prove(inbound, flow);
    if (flow.needs === 'nothing') return false;
    if (!flow.offers.some((offer) => offer.spi === spi && offer.generation === generation)) return false;
    this.#need(flow, 'nothing');
    return true;
  }

  /**
   * Every flow needs a new proof. @returns each flow with its peer, and whether the rotation cuts it: its peer used an
   * offer of ours, and did not prove that it has one whose key still exists.
   */
  rotated(generation: number, nowMs: number): { inbound: FlowKey; peer: number; isCut: boolean }[] {
    this.#rotatedMs = nowMs;
    return Array.from(this.#flows, ([inbound, flow]) => {
      const isCut = flow.proven && flow.needs !== 'nothing';
      flow.offers = flow.offers.filter((offer) => offer.generation >= generation - 1);
      this.#need(flow, 'answer');
      return { inbound, peer: flow.peer, isCut };
    });
  }

  #freeSpace(): FlowKey | undefined {
    if (this.#flows.size < this.maxFlows) return undefined;
    const [oldest] = this.#unproven.size > 0 ? this.#unproven : this.#flows.keys();
    const flow = oldest === undefined ? undefined : this.#flows.get(oldest);
    if (oldest === undefined || flow === undefined) return undefined;
    this.#forget(oldest, flow);
    return oldest;
  }

  #forget(inbound: FlowKey, flow: Inbound): void {
    this.#need(flow, 'nothing');
    this.#flows.delete(inbound);
    this.#unproven.delete(inbound);
    this.#flowsOf.set(flow.peer, this.flowsOf(flow.peer) - 1);
  }

  #prove(inbound: FlowKey, flow: Inbound): void {
    if (flow.proven) return;
    flow.proven = true;
    if (flow.needs !== 'nothing') this.#countsOf(flow.peer).cut++;
    this.#unproven.delete(inbound);
  }

  #need(flow: Inbound, needs: Needs): void {
    const by = Number(needs !== 'nothing') - Number(flow.needs !== 'nothing');
    flow.needs = needs;
    if (by === 0) return;
    const counts = this.#countsOf(flow.peer);
    if (counts.flows === 0) counts.sinceMs = this.#rotatedMs;
    counts.flows += by;
    if (flow.proven) counts.cut += by;
  }

  #countsOf(peer: number): Unanswered {
    const counts = this.#unanswered.get(peer) ?? { ...noneUnanswered };
    this.#unanswered.set(peer, counts);
    return counts;
  }
}
