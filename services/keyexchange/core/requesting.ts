// SPDX-License-Identifier: Apache-2.0
// The client's side of exchanges, without keys and without I/O: when a want is sent to its peer, and what follows from the
// end of that call. A want that is older than half of its timeout is dropped, because the dataplane is about to repeat it.
// A peer is requested once. A refusal is reported to the dataplane; an unknown outcome is not, because nothing follows
// from it. A peer that limits the rate of our requests did nothing and refused no flow: until it accepts requests again,
// wants for it are dropped. Wants of one peer never wait for those of another.
//
//   wanted -> call -> answered -> install -> ended
//                  -> failed   -> refuse  -> ended
import type { ErrorCode } from '../../shared/errors.js';
import { InFlight } from './in_flight.js';
import { isRefusal } from './outcome.js';
import { Pauses } from './pauses.js';
import { callTimeoutMs, commandTimeoutMs, isFresh, type Timed } from './peer_request.js';
import type { Rules } from './rules.js';

/** A want of the dataplane; the adapter numbers it. */
export interface ReceivedWant {
  id: number;
  peer: string;
  /** Number of its flows. */
  tunnels: number;
  timed: Timed;
}

export type RequestingFact =
  | ({ type: 'wanted' } & ReceivedWant)
  /** Result of `call`: keys that can be used. */
  | { type: 'answered'; id: number }
  /** Result of `call`: it ended with an error. retryMs: the peer accepts no request before. */
  | { type: 'failed'; id: number; code: ErrorCode; retryMs?: number }
  /** `install` or `refuse` is over, whatever the dataplane answered. */
  | { type: 'ended'; id: number };

export type RequestingAction =
  /** Request the peer. */
  | { type: 'call'; id: number; timeoutMs: number }
  /** Answer the want with the peer's keys. */
  | { type: 'install'; id: number; timeoutMs: number }
  /** Answer the want with the peer's refusal. */
  | { type: 'refuse'; id: number; code: ErrorCode; timeoutMs: number }
  /**
   * Nothing more is done for the want, because it was carried out, has expired, its peer limits the rate of our requests,
   * or too much is in progress.
   */
  | { type: 'end'; id: number; why: EndReason };
type EndReason = 'done' | 'expired' | 'deferred' | 'overloaded';

export class Requesting {
  readonly #wants = new Map<number, ReceivedWant>();
  readonly #inFlight = new InFlight();
  readonly #pauses = new Pauses();

  constructor(private readonly rules: Pick<Rules, 'exchangeMs' | 'callMs'>) {}

  /** @param nowNs CLOCK_MONOTONIC. @returns the actions, to be carried out in this order. */
  on(fact: RequestingFact, nowNs: bigint): RequestingAction[] {
    if (fact.type === 'wanted') return this.#wanted(fact, nowNs);
    const { id } = fact;
    const { timed } = this.#want(id);
    switch (fact.type) {
      case 'answered':
        return [{ type: 'install', id, timeoutMs: commandTimeoutMs(timed, this.rules, nowNs) }];
      case 'failed': {
        const { code, retryMs } = fact;
        if (retryMs !== undefined) {
          this.#pauses.pause(this.#want(id).peer, retryMs, msOf(nowNs));
          return this.#end(id, nowNs, 'deferred');
        }
        if (!isRefusal(code)) return this.#end(id, nowNs);
        return [{ type: 'refuse', id, code, timeoutMs: commandTimeoutMs(timed, this.rules, nowNs) }];
      }
      case 'ended':
        return this.#end(id, nowNs);
    }
  }

  #wanted({ id, peer, tunnels, timed }: ReceivedWant, nowNs: bigint): RequestingAction[] {
    const entered = this.#inFlight.enter(peer, tunnels, id);
    if (entered === 'refused') return [{ type: 'end', id, why: 'overloaded' }];
    this.#wants.set(id, { id, peer, tunnels, timed });
    return entered === 'begins' ? this.#begin(id, nowNs) : [];
  }

  /** Requests the peer for a want, or, if it waited too long for its turn, for the next one that did not. */
  #begin(first: number, nowNs: bigint): RequestingAction[] {
    const actions: RequestingAction[] = [];
    for (let id: number | undefined = first; id !== undefined; ) {
      const { peer, timed } = this.#want(id);
      const isPaused = this.#pauses.isPaused(peer, msOf(nowNs));
      if (!isPaused && isFresh(timed, this.rules, nowNs)) {
        const timeoutMs = callTimeoutMs(timed, this.rules, nowNs);
        return [...actions, { type: 'call', id, timeoutMs }];
      }
      actions.push({ type: 'end', id, why: isPaused ? 'deferred' : 'expired' });
      id = this.#leave(id);
    }
    return actions;
  }

  #end(id: number, nowNs: bigint, why: EndReason = 'done'): RequestingAction[] {
    const next = this.#leave(id);
    return [{ type: 'end', id, why }, ...(next === undefined ? [] : this.#begin(next, nowNs))];
  }

  /** Forgets a want. @returns the one whose turn it is now. */
  #leave(id: number): number | undefined {
    const { peer, tunnels } = this.#want(id);
    this.#wants.delete(id);
    return this.#inFlight.leave(peer, tunnels);
  }

  #want(id: number): ReceivedWant {
    const want = this.#wants.get(id);
    if (want === undefined) throw new Error(`want ${id} is not in progress`);
    return want;
  }
}

const msOf = (ns: bigint): number => Number(ns / 1_000_000n);
