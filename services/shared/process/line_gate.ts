// SPDX-License-Identifier: Apache-2.0
// Keeps a storm of equal failures from becoming a storm of lines: one line a second for each kind, with the
// number of those kept back since the line before. Kinds are few (peers times codes), so none is forgotten.

const intervalMs = 1000;

export class LineGate {
  readonly #kinds = new Map<string, { openAtMs: number; suppressed: number }>();

  /** @returns how many were kept back since the last line, or undefined when this one is to be kept back. */
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
