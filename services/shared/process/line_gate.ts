// SPDX-License-Identifier: Apache-2.0
// Limits log lines about recurring failures to one line in a second for each kind, with the number of lines suppressed since
// the previous one. There are few kinds (peers times codes), so each is kept.

const intervalMs = 1000;

export class LineGate {
  readonly #kinds = new Map<string, { openAtMs: number; suppressed: number }>();

  /** Forgets all kinds that begin with this. */
  forget(beginning: string): void {
    for (const kind of this.#kinds.keys()) if (kind.startsWith(beginning)) this.#kinds.delete(kind);
  }

  /** @returns the number of lines suppressed since the previous one; undefined if this one is suppressed. */
  pass(kind: string, nowMs: number): number | undefined {
    const state = this.#kinds.get(kind) ?? { openAtMs: nowMs, suppressed: 0 };
    this.#kinds.set(kind, state);
    if (nowMs < state.openAtMs) {
      state.suppressed++;
      return undefined;
    }
    const { suppressed } = state;
    state.openAtMs = nowMs + intervalMs;
    state.suppressed = 0;
    return suppressed;
  }
}
