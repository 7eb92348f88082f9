// SPDX-License-Identifier: Apache-2.0
// The server's side of exchanges, without keys and without I/O: when a peer's request becomes an accept for the dataplane,
// with which epoch, and when it is given up. After a timeout an accept is never sent again, because it may have been
// carried out. STALE proves that it was not, and names the current epoch: the same flows and keys are sent once more. No
// work is started for a peer that has stopped waiting.
//
//   requested -> accept -> accepted -> answer
//                       -> stale -> accept (once more) ... or fail
//                       -> failed -> fail
import { PspError } from '../../shared/errors.js';
import { InFlight } from './in_flight.js';
import { longestCommandMs } from './rules.js';

/** A request of a peer; the adapter numbers it. */
export interface ReceivedRequest {
  id: number;
  peer: string;
  tunnels: number;
  /** When its caller stops waiting; Infinity for a peer that set no deadline. */
  endMs: number;
}

export type AnsweringFact =
  /** The dataplane announced its epoch. Epochs have no order, so the one that was received last is the current one. */
  | { type: 'epoch'; epoch: bigint }
  | ({ type: 'requested' } & ReceivedRequest)
  /** The peer cancelled the call, or its connection is gone. */
  | { type: 'cancelled'; id: number }
  /** Results of `accept`; the epoch is the dataplane's. */
  | { type: 'accepted'; id: number; epoch: bigint }
  | { type: 'stale'; id: number; epoch: bigint }
  | { type: 'failed'; id: number; error: Error };

export type AnsweringAction =
  /** Check the request and send it to the dataplane as an accept in this epoch; 0 when none is known yet. */
  | { type: 'accept'; id: number; epoch: bigint; timeoutMs: number; again: boolean }
  /** Send the dataplane's offers to the peer. */
  | { type: 'answer'; id: number }
  | { type: 'fail'; id: number; error: Error };

interface Request extends ReceivedRequest {
  cancelled: boolean;
  resent: boolean;
}

export class Answering {
  readonly #requests = new Map<number, Request>();
  readonly #inFlight = new InFlight();
  #epoch = 0n;

  /** @param nowMs monotonic. @returns the actions, to be carried out in this order. */
  on(fact: AnsweringFact, nowMs: number): AnsweringAction[] {
    switch (fact.type) {
      case 'epoch':
        this.#epoch = fact.epoch;
        return [];
      case 'requested':
        return this.#requested(fact, nowMs);
      case 'cancelled': {
        const request = this.#requests.get(fact.id);
        if (request !== undefined) request.cancelled = true;
        return [];
      }
      case 'accepted':
        this.#epoch = fact.epoch;
        return this.#end({ type: 'answer', id: fact.id }, nowMs);
      case 'stale':
        return this.#stale(fact.id, fact.epoch, nowMs);
      case 'failed':
        return this.#end({ type: 'fail', id: fact.id, error: fact.error }, nowMs);
    }
  }

  #requested({ id, peer, tunnels, endMs }: ReceivedRequest, nowMs: number): AnsweringAction[] {
    const entered = this.#inFlight.enter(peer, tunnels, id);
    if (entered === 'refused') return [{ type: 'fail', id, error: new PspError('OVERLOADED') }];
    this.#requests.set(id, { id, peer, tunnels, endMs, cancelled: false, resent: false });
    return entered === 'begins' ? this.#accept(id, nowMs) : [];
  }

  /** Sends an accept for a request, or, if nobody waits for its answer any more, for the next one in the queue. */
  #accept(first: number, nowMs: number): AnsweringAction[] {
    const actions: AnsweringAction[] = [];
    for (let id: number | undefined = first; id !== undefined; ) {
      const { endMs, cancelled, resent } = this.#request(id);
      if (endMs > nowMs && !cancelled) {
        const timeoutMs = Math.min(longestCommandMs, endMs - nowMs);
        return [...actions, { type: 'accept', id, epoch: this.#epoch, timeoutMs, again: resent }];
      }
      actions.push({ type: 'fail', id, error: new PspError('OVERLOADED') });
      id = this.#leave(id);
    }
    return actions;
  }

  #stale(id: number, epoch: bigint, nowMs: number): AnsweringAction[] {
    this.#epoch = epoch;
    const request = this.#request(id);
    if (request.resent)
      return this.#end({ type: 'fail', id, error: new PspError('STALE', { epoch }) }, nowMs);
    request.resent = true;
    return this.#accept(id, nowMs);
  }

  #end(last: AnsweringAction, nowMs: number): AnsweringAction[] {
    const next = this.#leave(last.id);
    return [last, ...(next === undefined ? [] : this.#accept(next, nowMs))];
  }

  /** Forgets a request. @returns the one whose turn it is now. */
  #leave(id: number): number | undefined {
    const { peer, tunnels } = this.#request(id);
    this.#requests.delete(id);
    return this.#inFlight.leave(peer, tunnels);
  }

  #request(id: number): Request {
    const request = this.#requests.get(id);
    if (request === undefined) throw new Error(`request ${id} is not in progress`);
    return request;
  }
}
