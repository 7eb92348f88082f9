// SPDX-License-Identifier: Apache-2.0
// Which key of its peer each egress flow uses, decided by the numbers that order keys (KeyOrder). Within one epoch of
// the peer the highest number wins, whatever arrives late. Epochs have no order, so an epoch other than that of the
// last key is a new one. From peers that number nothing the key that was received last wins.
import type { FlowKey } from '../../shared/address.js';
import type { EgressKey, KeyOrder } from './facts.js';

interface Entry extends KeyOrder {
  /** The peer that offered the key, and its SPI there. */
  peer: number;
  spi: number;
  /** The engine has a key of this flow; until then the entry is only a decision. */
  isInstalled: boolean;
  /** Number of the decision for this key. */
  decision: number;
}

export class EgressKeys {
  readonly #flows = new Map<FlowKey, Entry>();
  /** By peer and SPI. Of two flows with the same, in different epochs of the peer, the later one is found. */
  readonly #bySpi = new Map<number, FlowKey>();
  readonly #newestMs = new Map<number, number>();
  #decisions = 0;

  get size(): number {
    return this.#flows.size;
  }

  has(flow: FlowKey): boolean {
    return this.#flows.has(flow);
  }

  /** The number of a peer is that of another one now. */
  forgetPeer(peer: number): void {
    this.#newestMs.delete(peer);
  }

  /** Every flow with its peer. */
  *flows(): Iterable<[FlowKey, number]> {
    for (const [flow, { peer }] of this.#flows) yield [flow, peer];
  }

  /** Forgets the flow. */
  remove(flow: FlowKey): void {
    const entry = this.#flows.get(flow);
    if (entry === undefined) return;
    this.#flows.delete(flow);
    this.#forgetSpi(flow, entry);
  }

  /** Decides for a key unless one at least as new was decided on. @returns the number of the decision, or undefined. */
  decide(flow: FlowKey, peer: number, { epoch, number, spi }: EgressKey): number | undefined {
    const old = this.#flows.get(flow);
    if (old?.epoch !== undefined && old.epoch === epoch && old.number !== undefined) {
      if (number !== undefined && number <= old.number) return undefined;
    }
    const decision = ++this.#decisions;
    if (old !== undefined) this.#forgetSpi(flow, old);
    const isInstalled = old?.isInstalled ?? false;
    this.#flows.set(flow, { epoch, number, peer, spi, isInstalled, decision });
    this.#bySpi.set(placeOf(peer, spi), flow);
    return decision;
  }

  /** The flow whose newest key has this SPI of this peer. */
  flowOf(peer: number, spi: number): FlowKey | undefined {
    return this.#bySpi.get(placeOf(peer, spi));
  }

  /** The flows whose newest key is of this peer and of another epoch than this. */
  ofOtherEpochs(peer: number, epoch: bigint): FlowKey[] {
    const flows: FlowKey[] = [];
    for (const [flow, entry] of this.#flows) {
      if (entry.peer === peer && entry.epoch !== epoch) flows.push(flow);
    }
    return flows;
  }

  /** No newer key was decided on since. */
  isNewest(flow: FlowKey, decision: number): boolean {
    return this.#flows.get(flow)?.decision === decision;
  }

  /** The engine installed the key, which this peer offered. @returns whether it is the first of the flow. */
  installed(flow: FlowKey, peer: number, nowMs: number): boolean {
    const entry = this.#flows.get(flow);
    const isFirst = entry?.isInstalled === false;
    if (entry) entry.isInstalled = true;
    this.#newestMs.set(peer, nowMs);
    return isFirst;
  }

  /** The engine has a key of the flow, perhaps an older one. */
  isInstalled(flow: FlowKey): boolean {
    return this.#flows.get(flow)?.isInstalled === true;
  }

  /** The engine does not use its key of the flow any more. @returns whether it had one. */
  stopped(flow: FlowKey): boolean {
    const entry = this.#flows.get(flow);
    if (entry?.isInstalled !== true) return false;
    entry.isInstalled = false;
    return true;
  }

  /** When the newest key of a peer was installed. */
  newestMs(peer: number): number | undefined {
    return this.#newestMs.get(peer);
  }

  /**
   * The engine could not install the key. An older key stays in use, if there is one, and only a key newer than the
   * lost one may replace it. With a full table the engine has no entry for the flow, and so no older key.
   * @returns whether the flow is without any key now.
   */
  lost(flow: FlowKey, tableFull: boolean): boolean {
    const entry = this.#flows.get(flow);
    if (entry === undefined || (entry.isInstalled && !tableFull)) return false;
    this.remove(flow);
    return true;
  }

  #forgetSpi(flow: FlowKey, { peer, spi }: Entry): void {
    const place = placeOf(peer, spi);
    if (this.#bySpi.get(place) === flow) this.#bySpi.delete(place);
  }
}

/** One number for a peer and an SPI. */
const placeOf = (peer: number, spi: number): number => peer * 2 ** 32 + (spi >>> 0);
