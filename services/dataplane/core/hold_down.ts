// SPDX-License-Identifier: Apache-2.0
// Flows for which no exchange begins for a while: 1 s after an exchange without an answer; after refusals 1 s, doubled
// with each further refusal up to 30 s. The refusals of a flow are forgotten when a key arrives, or 30 s after its last
// hold-down ended. Memory is bounded: the flow whose last hold-down began first is forgotten first.
import type { FlowKey } from '../../shared/address.js';

export const firstHoldDownMs = 1000;
export const longestHoldDownMs = 30_000;
const flowsRemembered = 65_536;

interface Entry {
  peer: number;
  untilMs: number;
  refusals: number;
}

export class HoldDowns {
  readonly #flows = new Map<FlowKey, Entry>();

  get size(): number {
    return this.#flows.size;
  }

  /** Every flow with its peer. */
  *flows(): Iterable<[FlowKey, number]> {
    for (const [flow, { peer }] of this.#flows) yield [flow, peer];
  }

  /** When the hold-down of the flow ends; 0 without one. */
  until(flow: FlowKey): number {
    return this.#flows.get(flow)?.untilMs ?? 0;
  }

  /** A peer refused the flow. @returns how long it is held down. */
  refused(flow: FlowKey, peer: number, nowMs: number): number {
    const refusals = (this.#flows.get(flow)?.refusals ?? 0) + 1;
    const ms = Math.min(longestHoldDownMs, firstHoldDownMs * 2 ** Math.min(refusals - 1, 16));
    this.#put(flow, { peer, untilMs: nowMs + ms, refusals });
    return ms;
  }

  /** No key arrived in time. */
  unanswered(flow: FlowKey, peer: number, nowMs: number): void {
    const refusals = this.#flows.get(flow)?.refusals ?? 0;
    this.#put(flow, { peer, untilMs: nowMs + firstHoldDownMs, refusals });
  }

  /** A key arrived, or the flow was removed. */
  clear(flow: FlowKey): void {
    this.#flows.delete(flow);
  }

  /** Forgets flows whose last hold-down ended long ago. */
  forget(nowMs: number): void {
    for (const [flow, { untilMs }] of this.#flows) {
      if (untilMs + longestHoldDownMs > nowMs) return;
      this.#flows.delete(flow);
    }
  }

  #put(flow: FlowKey, entry: Entry): void {
    this.#flows.delete(flow);
    this.#flows.set(flow, entry);
    if (this.#flows.size > flowsRemembered) {
      this.#flows.delete(this.#flows.keys().next().value as FlowKey);
    }
  }
}
