// SPDX-License-Identifier: Apache-2.0
// Flows that are left alone for a while: 1 s after nobody answered; after refusals 1 s, doubling to 30 s as
// long as they follow one another. A flow's refusals are forgotten when a key comes, or 30 s after its last
// hold-down ended. Memory is bounded: the flow that was held down longest ago is forgotten first.
import type { FlowKey } from '../../shared/address.js';

export const firstHoldDownMs = 1000;
export const longestHoldDownMs = 30_000;
const flowsRemembered = 65_536;

interface Entry {
  untilMs: number;
  refusals: number;
}

export class HoldDowns {
  readonly #flows = new Map<FlowKey, Entry>();

  get size(): number {
    return this.#flows.size;
  }

  /** When the flow may be asked for again; 0 when nothing stands in the way. */
  until(flow: FlowKey): number {
    return this.#flows.get(flow)?.untilMs ?? 0;
  }

  /** @returns for how long. */
  refused(flow: FlowKey, nowMs: number): number {
    const refusals = (this.#flows.get(flow)?.refusals ?? 0) + 1;
    const ms = Math.min(longestHoldDownMs, firstHoldDownMs * 2 ** Math.min(refusals - 1, 16));
    this.#put(flow, { untilMs: nowMs + ms, refusals });
    return ms;
  }

  unanswered(flow: FlowKey, nowMs: number): void {
    this.#put(flow, { untilMs: nowMs + firstHoldDownMs, refusals: this.#flows.get(flow)?.refusals ?? 0 });
  }

  /** A key came. */
  clear(flow: FlowKey): void {
    this.#flows.delete(flow);
  }

  /** Forgets what is long over, from the flow that was held down longest ago. */
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
