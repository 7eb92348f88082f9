// SPDX-License-Identifier: Apache-2.0
// When the master key rotates: on command, at a peer's request, on schedule, and before the active key has no SPI left.
// A rotation erases the older of two keys, so it waits until every inbound flow has proven that its peer has an offer
// of the newer one, and until drainMs have passed since the last such proof, because a packet that was encrypted under
// the older key just before may still be on its way. It does not wait for silence under the older key, because anyone
// on the path could replay packets for ever. Once the bus was connected for graceMs since the last rotation, it
// proceeds without the missing proofs and cuts those flows; a peer's request never does. It proceeds at once when an
// operator forces it, or when the active key has no SPI left. The schedule is in monotonic time and counts from the
// last rotation, so a clock that jumps or a machine that slept causes one rotation at most.

export interface RotationTimes {
  drainMs: number;
  graceMs: number;
  /** Time between rotations on schedule, on average; undefined: there are none. */
  everyMs: number | undefined;
}

/** Why the master key rotates: an operator's command, a peer's request, the schedule, or few SPIs left. */
export type RotationCause =
  | { why: 'command' }
  | { why: 'request'; peer: number }
  | { why: 'schedule' }
  | { why: 'spis' };

/** Why a rotation has to wait; both are 0 while another one is under way. */
export interface RotationWait {
  unanswered: number;
  drainLeftMs: number;
}

/** Inbound flows without the proof that the last rotation requires. */
export interface Unproven {
  /** All of them. */
  flows: number;
  /** Those whose peer can receive no further offer, so that no time brings the proof. */
  unreachable: number;
}

/** The time between rotations varies by this share in both directions, so that gateways do not rotate in step. */
const jitter = 0.1;
/** A peer's request is accepted once the active key is this old. */
export const requestableMs = 60_000;
/** The active key is replaced once less than this share of its SPIs is left. */
const leastShare = 0.25;
/** A rotation without a request that failed is tried again after this time. */
const retryMs = 1000;

export class Rotation {
  #generation = 1;
  #running: RotationCause | undefined;
  #exhausted = false;
  /** SPIs left when the first offer under the active key was made, and now. */
  #spis: { first: number; left: number } | undefined;
  #startedMs: number | undefined;
  #rotatedMs: number | undefined;
  #connectedMs: number | undefined;
  #lastProofMs = Number.NEGATIVE_INFINITY;
  #retryMs = Number.NEGATIVE_INFINITY;
  /** Share of everyMs after which the next rotation on schedule is due. */
  #share: number;

  /** @param times may be replaced while it runs; the schedule still counts from the last rotation. */
  constructor(
    public times: RotationTimes,
    private readonly random: () => number,
  ) {
    this.#share = this.#newShare();
  }

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

  /** SPIs of the active master key that are left; undefined until an offer was made. */
  get spisLeft(): number | undefined {
    return this.#exhausted ? 0 : this.#spis?.left;
  }

  /** When the next rotation on schedule is due; undefined: never. */
  get scheduledMs(): number | undefined {
    const { everyMs } = this.times;
    if (everyMs === undefined || this.#startedMs === undefined) return undefined;
    return (this.#rotatedMs ?? this.#startedMs) + everyMs * this.#share;
  }

  /** Time passed; the first call is the start of the first master key. */
  passed(nowMs: number): void {
    this.#startedMs ??= nowMs;
  }

  /** The bus was connected or lost. Without it peers receive no offers, so it is no time for a rotation. */
  busChanged(connected: boolean, nowMs: number): void {
    this.#connectedMs = connected ? nowMs : undefined;
  }

  /** Why a rotation without a request is due now; undefined when none is. */
  due(nowMs: number): RotationCause | undefined {
    if (this.#running !== undefined || this.#connectedMs === undefined || nowMs < this.#retryMs)
      return undefined;
    if (this.#exhausted) return { why: 'spis' };
    if (this.#spis !== undefined && this.#spis.left < this.#spis.first * leastShare) return { why: 'spis' };
    return this.scheduledMs !== undefined && nowMs >= this.scheduledMs ? { why: 'schedule' } : undefined;
  }

  /** Age of the active master key. */
  ageMs(nowMs: number): number {
    return nowMs - (this.#rotatedMs ?? this.#startedMs ?? nowMs);
  }

  /** Whether another rotation is under way; nothing can force one then. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /**
   * @param why only a command, the schedule and few SPIs may cut flows after the grace.
   * @returns undefined when a rotation may begin now.
   */
  wait(unproven: Unproven, why: RotationCause['why'], nowMs: number): RotationWait | undefined {
    if (this.isRunning) return { unanswered: 0, drainLeftMs: 0 };
    if (this.#rotatedMs === undefined || this.#exhausted) return undefined;
    const drainLeftMs = Math.max(0, this.#lastProofMs + this.times.drainMs - nowMs);
    const isGraceOver =
      why !== 'request' &&
      this.#connectedMs !== undefined &&
      nowMs >= Math.max(this.#rotatedMs, this.#connectedMs) + this.times.graceMs;
    const unanswered = isGraceOver ? unproven.unreachable : unproven.flows;
    return unanswered > 0 || drainLeftMs > 0 ? { unanswered, drainLeftMs } : undefined;
  }

  begin(cause: RotationCause): void {
    this.#running = cause;
  }

  failed(nowMs: number): void {
    this.#running = undefined;
    this.#retryMs = nowMs + retryMs;
  }

  /** @returns why the rotation was begun. */
  done(generation: number, nowMs: number): RotationCause {
    const cause = this.#running;
    if (cause === undefined) throw new Error('no rotation is under way');
    this.#generation = generation;
    this.#running = undefined;
    this.#exhausted = false;
    this.#spis = undefined;
    this.#rotatedMs = nowMs;
    this.#share = this.#newShare();
    return cause;
  }

  /** An offer of this key generation was made, after which so many SPIs are left. */
  offered(generation: number, spisLeft: number): void {
    if (generation !== this.#generation) return;
    this.#spis = { first: this.#spis?.first ?? spisLeft, left: spisLeft };
  }

  /** The active master key has no SPI left. */
  exhaust(): void {
    this.#exhausted = true;
  }

  /** A flow proved that its peer has an offer of the active key generation. */
  proven(nowMs: number): void {
    this.#lastProofMs = nowMs;
  }

  #newShare(): number {
    return 1 - jitter + 2 * jitter * this.random();
  }
}
