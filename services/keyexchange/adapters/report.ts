// SPDX-License-Identifier: Apache-2.0
// What the operator is told: a line and a count for each failure that was decided, the answer to a status
// query, counters once a second. Lines of one peer and code come at most once a second and say how many were
// kept back.
import {
  type Counter,
  type Health,
  type KeyExchangeStatus,
  type PeerStatus,
  ServiceStats,
} from '../../../proto/gen/bus.js';
import type { AuditTrail } from '../../shared/audit_trail.js';
import type { BusCounters } from '../../shared/bus.js';
import { monotonicMs, unixMs } from '../../shared/clock.js';
import type { PspError } from '../../shared/errors.js';
import { LineGate } from '../../shared/line_gate.js';
import { type Logger, logCounters } from '../../shared/log.js';
import { version } from '../../shared/version.js';
import type { Link } from '../core/link.js';
import type { Rules } from '../core/rules.js';
import { Tally } from '../core/tally.js';

/** What a failure is about. */
export interface About {
  peer?: string | undefined;
  flow?: string;
  /** Instead of flow, where there is not exactly one. */
  count?: number;
  ms: number;
}

/** How the way to a peer stands. */
export interface WayToPeer {
  breakerState: string;
  link: Link;
}

export class Report {
  readonly tally: Tally;
  readonly #gate = new LineGate();
  readonly #startedMs = BigInt(unixMs());
  #bus: Readonly<BusCounters> = { unsent: 0, overrun: 0, malformed: 0 };
  #ways: ReadonlyMap<string, WayToPeer> = new Map();
  #audit: Pick<AuditTrail, 'counters' | 'health'> | undefined;

  constructor(
    private readonly rules: Rules,
    private readonly log: Logger,
  ) {
    this.tally = new Tally(rules.peers.keys());
  }

  /** A failure that was decided; call it once for each. */
  failure(error: PspError, about: About): void {
    this.tally.failure(about.peer, error.code, error.message, unixMs());
    const suppressed = this.#gate.pass(`${about.peer ?? ''}|${error.code}`, monotonicMs());
    if (suppressed === undefined) return;
    this.log.warn(
      { ...about, code: error.code, err: error.message, ...(suppressed > 0 ? { suppressed } : {}) },
      'key exchange failed',
    );
  }

  /** Shows the counters of our bus beside our own. */
  useBus(counters: Readonly<BusCounters>): void {
    this.#bus = counters;
  }

  /** Shows what it has to tell of itself. */
  useAudit(audit: Pick<AuditTrail, 'counters' | 'health'>): void {
    this.#audit = audit;
  }

  /** Shows how the ways to peers stand, by name. */
  usePeers(ways: ReadonlyMap<string, WayToPeer>): void {
    this.#ways = ways;
  }

  busState(connected: boolean): void {
    if (connected) this.log.info('bus connected');
    else this.log.warn('bus lost');
  }

  status(id: string): KeyExchangeStatus {
    const peers = this.#peers();
    return {
      node: this.rules.node,
      id,
      startedMs: this.#startedMs,
      health: [...this.#health(peers), ...(this.#audit?.health() ?? [])],
      peers,
      counters: this.#counters(),
    };
  }

  stats(id: string): ServiceStats {
    const peers = this.#peers();
    return ServiceStats.fromPartial({
      service: 'keyexchange',
      id,
      startedMs: this.#startedMs,
      version,
      health: [...this.#health(peers), ...(this.#audit?.health() ?? [])],
      counters: this.#counters(),
      peers,
      histograms: this.tally.histograms(),
    });
  }

  #peers(): PeerStatus[] {
    return Array.from(this.rules.peers.values(), ({ name, endpoint }) => {
      const tally = this.tally.peer(name);
      const way = this.#ways.get(name);
      return {
        name,
        endpoint,
        breaker: way?.breakerState ?? '',
        exchanges: BigInt(tally?.exchanges ?? 0),
        answered: BigInt(tally?.answered ?? 0),
        refused: BigInt(tally?.refused ?? 0),
        failed: BigInt(tally?.failed ?? 0),
        lastCode: tally?.lastCode ?? '',
        lastCodeMs: BigInt(tally?.lastCodeMs ?? 0),
        lastAnswerMs: BigInt(tally?.lastAnswerMs ?? 0),
        link: way?.link.state ?? '',
        linkSinceMs: BigInt(way?.link.since.unixMs ?? 0),
      };
    });
  }

  /** One line for each peer: why exchanges fail if they do, else that nobody is there to make any with. */
  #health(peers: readonly PeerStatus[]): Health[] {
    return peers.flatMap(({ name, endpoint, breaker, link, linkSinceMs }) => {
      const part = `peer ${name}`;
      const tally = this.tally.peer(name);
      if (breaker !== 'closed') {
        return [{ part, message: tally?.lastDetail ?? '', sinceMs: BigInt(tally?.failingSinceMs ?? 0) }];
      }
      if (link !== 'failed') return [];
      const message = `no connection to ${endpoint}; see that its key exchange runs, is reached from here and trusts the same authority`;
      return [{ part, message, sinceMs: linkSinceMs }];
    });
  }

  #counters(): Counter[] {
    const { unsent, overrun, malformed } = this.#bus;
    const bus = { busUnsent: unsent, busOverrun: overrun, busMalformed: malformed };
    return [
      ...this.tally.counters(),
      ...logCounters(),
      ...(this.#audit?.counters() ?? []),
      ...Object.entries(bus).map(([name, value]) => ({ name, value: BigInt(value) })),
    ];
  }
}
