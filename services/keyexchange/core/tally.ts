// SPDX-License-Identifier: Apache-2.0
// What the operator sees: counters by name, one for each error code that occurred, how long exchanges took, and
// how it stands with each peer. Counts only rise; strangers are counted by code alone.
import type { Counter, Histogram } from '../../../proto/gen/bus.js';
import { type ErrorCode, errorCodes } from '../../shared/errors.js';
import { Durations } from './histogram.js';

/** What is counted beside error codes. */
export const counterNames = [
  /** Wants heard, and those dropped for their age or because they came twice. */
  'wants',
  'wantsExpired',
  'wantsReplayed',
  /** Tunnels by what the dataplane did with their egress keys. */
  'tunnelsInstalled',
  'tunnelsNotInFlight',
  'tunnelsSuperseded',
  'tunnelsTableFull',
  /** Requests of peers, those answered with offers, and those sent to the dataplane once more as STALE. */
  'requests',
  'requestsAnswered',
  'requestsResent',
] as const;
export type CounterName = (typeof counterNames)[number];

export interface PeerTally {
  exchanges: number;
  answered: number;
  refused: number;
  failed: number;
  lastCode: ErrorCode | '';
  lastCodeMs: number;
  /** What the last code's message said. */
  lastDetail: string;
  lastAnswerMs: number;
  /** When the first of exchanges that failed in a row, and the latest of them, did; 0: none did. */
  failingSinceMs: number;
  failedMs: number;
}

const wellAfterMs = 60_000;

export class Tally {
  /** From the publication of a want to its installed key. */
  readonly exchange = new Durations('exchange');
  /** From a peer's request to our answer. */
  readonly answer = new Durations('answer');
  readonly #counters = new Map<string, bigint>();
  readonly #peers: ReadonlyMap<string, PeerTally>;

  constructor(peers: Iterable<string>) {
    for (const name of [...counterNames, ...errorCodes]) this.#counters.set(name, 0n);
    this.#peers = new Map(
      Array.from(peers, (peer) => [
        peer,
        {
          exchanges: 0,
          answered: 0,
          refused: 0,
          failed: 0,
          lastCode: '',
          lastCodeMs: 0,
          lastDetail: '',
          lastAnswerMs: 0,
          failingSinceMs: 0,
          failedMs: 0,
        },
      ]),
    );
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

  /** The peer said no to an exchange of ours. */
  refused(peer: string): void {
    const tally = this.#peers.get(peer);
    if (tally === undefined) return;
    tally.refused++;
    tally.failingSinceMs = 0;
  }

  /** An exchange of ours ended, and what the peer did is unknown. */
  failed(peer: string, unixMs: number): void {
    const tally = this.#peers.get(peer);
    if (tally === undefined) return;
    tally.failed++;
    tally.failingSinceMs ||= unixMs;
    tally.failedMs = unixMs;
  }

  /** All is well with a peer by every other sign: what failed a minute ago is over, though no exchange proved it. */
  well(peer: string, unixMs: number): void {
    const tally = this.#peers.get(peer);
    if (tally && unixMs - tally.failedMs > wellAfterMs) tally.failingSinceMs = 0;
  }

  /** A failure that was decided, in either direction. What opened a breaker is remembered, not that it is open. */
  failure(peer: string | undefined, code: ErrorCode, detail: string, unixMs: number): void {
    this.count(code);
    const tally = this.#peers.get(peer ?? '');
    if (tally === undefined || code === 'BREAKER_OPEN') return;
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

  /** Counters that never counted are left out, but those that are no error codes. */
  counters(): Counter[] {
    const always = new Set<string>(counterNames);
    return Array.from(this.#counters, ([name, value]) => ({ name, value })).filter(
      ({ name, value }) => value > 0n || always.has(name),
    );
  }
}
