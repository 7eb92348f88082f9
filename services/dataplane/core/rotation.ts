// SPDX-License-Identifier: Apache-2.0
// When the master key may rotate. A rotation erases the older of two keys, so it waits until every inbound flow has
// proven that its peer has an offer of the newer one, and until drainMs have passed since the last such proof, because
// a packet that was encrypted under the older key just before may still be on its way. It does not wait for silence
// under the older key, because anyone on the path could replay packets for ever. After graceMs, or once the active key
// has no SPI left, the rotation proceeds although it cuts flows.

export interface RotationTimes {
  drainMs: number;
  graceMs: number;
}

/** Why a rotation has to wait; both are 0 while another one is under way. */
export interface RotationWait {
  unanswered: number;
  drainLeftMs: number;
}

export class Rotation {
  #generation = 1;
  #running = false;
  #exhausted = false;
  #rotatedMs: number | undefined;
  #lastProofMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly times: RotationTimes) {}

  /** The key generation of the active master key; the first is 1. */
  get generation(): number {
    return this.#generation;
  }

  /** When the active master key was made; undefined for the first. */
  get rotatedMs(): number | undefined {
    return this.#rotatedMs;
  }

  get exhausted(): boolean {
    return this.#exhausted;
  }

  /** @returns undefined when a rotation may begin now. */
  wait(unanswered: number, nowMs: number): RotationWait | undefined {
    if (this.#running) return { unanswered: 0, drainLeftMs: 0 };
    if (this.#rotatedMs === undefined || this.#exhausted) return undefined;
    if (nowMs >= this.#rotatedMs + this.times.graceMs) return undefined;
    const drainLeftMs = Math.max(0, this.#lastProofMs + this.times.drainMs - nowMs);
    return unanswered > 0 || drainLeftMs > 0 ? { unanswered, drainLeftMs } : undefined;
  }

  begin(): void {
    this.#running = true;
  }

  failed(): void {
    this.#running = false;
  }

  done(generation: number, nowMs: number): void {
    this.#generation = generation;
    this.#running = false;
    this.#exhausted = false;
    this.#rotatedMs = nowMs;
  }

  /** The active master key has no SPI left. */
  exhaust(): void {
    this.#exhausted = true;
  }

  /** A flow proved that its peer has an offer of the active key generation. */
  proven(nowMs: number): void {
    this.#lastProofMs = nowMs;
  }
}
