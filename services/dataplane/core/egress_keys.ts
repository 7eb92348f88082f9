// SPDX-License-Identifier: Apache-2.0
// Which key of its peer each egress flow uses, by the numbers that order them. Within one epoch of the peer
// the highest number is used, whatever comes late; epochs have no order, so another than the last one seen is
// new; peers that number nothing are taken at their last word.
import type { FlowKey } from '../../shared/address.js';
import type { KeyOrder } from './facts.js';

interface Entry extends KeyOrder {
  /** The engine has a key of this flow; until then this is a decision. */
  inPlace: boolean;
  /** Which decision this is. */
  take: number;
}

export class EgressKeys {
  readonly #flows = new Map<FlowKey, Entry>();
  readonly #newestMs = new Map<number, number>();
  #takes = 0;

  get size(): number {
    return this.#flows.size;
  }

  has(flow: FlowKey): boolean {
    return this.#flows.has(flow);
  }

  /** Takes a key unless one at least as new is in place. @returns the number of this take, or undefined. */
  take(flow: FlowKey, { epoch, number }: KeyOrder): number | undefined {
    const old = this.#flows.get(flow);
    if (old?.epoch !== undefined && old.epoch === epoch && old.number !== undefined) {
      if (number !== undefined && number <= old.number) return undefined;
    }
    const take = ++this.#takes;
    this.#flows.set(flow, { epoch, number, inPlace: old?.inPlace ?? false, take });
    return take;
  }

  /** No newer key was taken since. */
  isNewest(flow: FlowKey, take: number): boolean {
    return this.#flows.get(flow)?.take === take;
  }

  /** The engine has the key, which this peer gave. @returns whether the flow had none before. */
  placed(flow: FlowKey, peer: number, nowMs: number): boolean {
    const entry = this.#flows.get(flow);
    const isFirst = entry?.inPlace === false;
    if (entry) entry.inPlace = true;
    this.#newestMs.set(peer, nowMs);
    return isFirst;
  }

  /** The engine has a key of the flow, be it an older one. */
  isInPlace(flow: FlowKey): boolean {
    return this.#flows.get(flow)?.inPlace === true;
  }

  /** When the newest key of a peer was put in place. */
  newestMs(peer: number): number | undefined {
    return this.#newestMs.get(peer);
  }

  /**
   * The engine could not take the key. An older one, if there is one, stays in use, and only a key newer than
   * the lost one may replace it; where the engine has no room for the flow, there is no older one.
   * @returns whether the flow is without any key now.
   */
  lost(flow: FlowKey, noRoom: boolean): boolean {
    const entry = this.#flows.get(flow);
    if (entry === undefined || (entry.inPlace && !noRoom)) return false;
    this.#flows.delete(flow);
    return true;
  }
}
