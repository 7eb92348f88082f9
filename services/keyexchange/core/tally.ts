// SPDX-License-Identifier: Apache-2.0
// The numbers that an operator sees: counters by name, one counter for each error code that occurred, durations of
// exchanges, and the state of each peer. Counts only rise. Failures of unauthorized peers are counted by code alone.
import type { Counter, Histogram } from '../../../proto/gen/bus.js';
import { type OwnCounters, ownCounters } from '../../shared/counter_help.js';
import { type ErrorCode, errorCodes } from '../../shared/errors.js';
import { Durations } from './histogram.js';

export type CounterName = keyof OwnCounters<'keyexchange'>;
/** The counters beside those of error codes. */
const counterNames = Object.keys(ownCounters.keyexchange) as CounterName[];

export interface PeerTally {
  exchanges: number;
  answered: number;
  refused: number;
  failed: number;
  /** Wants that waited because the peer limits our requests, and its requests that we limited. */
  deferred: number;
  limited: number;
  lastCode: ErrorCode | '';
  lastCodeMs: number;
  /** The message of the last code. */
  lastDetail: string;
  lastAnswerMs: number;
  /** Time of the first and of the latest of consecutive failures; 0 without any. */
  failingSinceMs: number;
  failedMs: number;
}

const recoveredAfterMs = 60_000;

export class Tally {
  /** From the publication of a want to its installed key. */
  readonly exchange = new Durations('exchange');
  /** From a peer's request to our answer. */
  readonly answer = new Durations('answer');
  readonly #counters = new Map<string, bigint>();
  readonly #peers = new Map<string, PeerTally>();

  constructor(peers: Iterable<string>) {
    for (const name of [...counterNames, ...errorCodes]) this.#counters.set(name, 0n);
    for (const peer of peers) this.add(peer);
  }

  /** A peer was added. */
  add(peer: string): void {
    this.#peers.set(peer, {
      exchanges: 0,
      answered: 0,
      refused: 0,
      failed: 0,
      deferred: 0,
      limited: 0,
      lastCode: '',
      lastCodeMs: 0,
      lastDetail: '',
      lastAnswerMs: 0,
      failingSinceMs: 0,
      failedMs: 0,
    });
  }

  /** The peer was removed. */
  forget(peer: string): void {
    this.#peers.delete(peer);
  }

  count(name: CounterName | ErrorCode, by = 1): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0n) + BigInt(by));
  }

  began(peer: string): void {
    const tally = this.#peers.get(peer);
    if (tally) tally.exchanges++;
  }

  answered(peer: string, unixMs: number): void {
    const tally = this.#peers.get(peer);
    if (tally === undefined) return;
    tally.answered++;
    tally.lastAnswerMs = unixMs;
    tally.failingSinceMs = 0;
  }

  /** The peer refused an exchange of ours. */
  refused(peer: string): void {
    const tally = this.#peers.get(peer);
    if (tally === undefined) return;
    tally.refused++;
    tally.failingSinceMs = 0;
  }

  /** A want was not sent, or not carried out, because the peer limits the rate of our requests. */
  deferred(peer: string): void {
    this.count('wantsDeferred');
    const tally = this.#peers.get(peer);
    if (tally === undefined) return;
    tally.deferred++;
    tally.failingSinceMs = 0;
  }

  /** An exchange of ours failed; what the peer did is unknown. */
  failed(peer: string, unixMs: number): void {
    const tally = this.#peers.get(peer);
    if (tally === undefined) return;
    tally.failed++;
    tally.failingSinceMs ||= unixMs;
    tally.failedMs = unixMs;
  }

  /** A peer is connected and its breaker closed: failures more than a minute ago are over, also without a new exchange. */
  recovered(peer: string, unixMs: number): void {
    const tally = this.#peers.get(peer);
    if (tally && unixMs - tally.failedMs > recoveredAfterMs) tally.failingSinceMs = 0;
  }

  /** A failure in either direction. The last code is the cause that opened a breaker, not BREAKER_OPEN. */
  failure(peer: string | undefined, code: ErrorCode, detail: string, unixMs: number): void {
    this.count(code);
    const tally = this.#peers.get(peer ?? '');
    if (tally === undefined || code === 'BREAKER_OPEN') return;
    if (code === 'RATE_LIMITED') tally.limited++;
    tally.lastCode = code;
    tally.lastCodeMs = unixMs;
    tally.lastDetail = detail;
  }

  peer(name: string): Readonly<PeerTally> | undefined {
    return this.#peers.get(name);
  }

  histograms(): Histogram[] {
    return [this.exchange.read(), this.answer.read()];
  }

  /** Error codes that never occurred are left out. */
  counters(): Counter[] {
    const always = new Set<string>(counterNames);
    return Array.from(this.#counters, ([name, value]) => ({ name, value })).filter(
      ({ name, value }) => value > 0n || always.has(name),
    );
  }
}
