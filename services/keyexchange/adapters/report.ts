// SPDX-License-Identifier: Apache-2.0
// What an operator sees of the key exchange: a log line and a count for each failure, what is wrong with peers, and counters. There is at most one line of a peer and code in a second, with the number of suppressed ones.
import type { X509Certificate } from 'node:crypto';
import type { Health, PeerStatus } from '../../../proto/gen/bus.js';
import { describe } from '../../shared/certificates/expiry.js';
import { PspError } from '../../shared/errors.js';
import { moment, monotonicMs, unixMs } from '../../shared/process/clock.js';
import { LineGate } from '../../shared/process/line_gate.js';
import type { Logger } from '../../shared/process/log.js';
import type { OwnReport } from '../../shared/service/service_runtime.js';
import { EpochWatch } from '../core/epoch_watch.js';
import { LastingFaults } from '../core/lasting_faults.js';
import type { Link } from '../core/link.js';
import { isLasting, remedyOf } from '../core/remedies.js';
import type { Rules } from '../core/rules.js';
import { Tally } from '../core/tally.js';
import type { CertificateReport } from './certificate_report.js';
import type { Connections } from './connections.js';
import type { Presented } from './peer_credentials.js';

/** The subject of a failure. */
export interface About {
  peer?: string | undefined;
  flow?: string;
  /** Instead of flow, where there is not exactly one. */
  count?: number;
  ms: number;
}

/** The state of the client of one peer. */
export interface ClientState {
  breakerState: string;
  link: Link;
  /** The reason for which there is no connection, if it is known. */
  reason: PspError | undefined;
  /** The latest valid certificate of the peer as a server. */
  presented: Presented | undefined;
}

/** Subjects of faults of a peer's certificate and of its identity. */
const handshake = 'handshake';
const identity = 'identity';

export class Report {
  readonly tally: Tally;
  readonly #gate = new LineGate();
  readonly #faults = new LastingFaults();
  readonly #epochs = new EpochWatch();
  /** The latest valid certificates of peers as clients. */
  readonly #presented = new Map<string, Presented>();

  constructor(
    private readonly rules: Rules,
    private readonly clients: ReadonlyMap<string, ClientState>,
    private readonly connections: Pick<Connections, 'countOf'>,
    private readonly log: Logger,
  ) {
    this.tally = new Tally(rules.peers.keys());
  }

  /** A peer was added. */
  added(peer: string): void {
    this.tally.add(peer);
  }

  /** A peer was removed: nothing of it is kept. */
  removed(peer: string): void {
    this.tally.forget(peer);
    this.#faults.forget(peer);
    this.#epochs.forget(peer);
    this.#presented.delete(peer);
    this.#gate.forget(`${peer}|`);
  }

  /** Reports a failure; call it once for each. */
  failure(error: PspError, about: About): void {
    this.tally.failure(about.peer, error.code, error.message, unixMs());
    const suppressed = this.#gate.pass(`${about.peer ?? ''}|${error.code}`, monotonicMs());
    if (suppressed === undefined) return;
    this.log.warn(
      { ...about, code: error.code, err: error.message, ...(suppressed > 0 ? { suppressed } : {}) },
      'key exchange failed',
    );
  }

  /** The peer refused an exchange of ours about these flows. */
  refusedBy(peer: string, flows: readonly string[], error: PspError): void {
    const now = moment();
    for (const flow of flows) this.#faults.seen(peer, flow, error, now);
  }

  /** The peer answered an exchange of ours about these flows. */
  answeredBy(peer: string, flows: readonly string[]): void {
    for (const flow of flows) this.#faults.over(peer, flow);
  }

  /** We refused an authenticated peer, or could not use its keys. It is a fault if an operator has to act. */
  refusedTo(peer: string, error: PspError): void {
    if (isLasting(error.code)) this.#faults.seen(peer, error.code, error, moment());
  }

  /** A connection was rejected because of its certificate. @param peer if the certificate proves it. */
  handshakeRefused(error: PspError, peer: string | undefined): void {
    this.failure(error, { peer, ms: 0 });
    if (peer !== undefined) this.#faults.seen(peer, handshake, error, moment());
  }

  handshakeAccepted(peer: string, certificate: X509Certificate): void {
    this.#faults.over(peer, handshake);
    this.#presented.set(peer, { certificate, atMs: unixMs() });
  }

  /**
   * A peer used an epoch. @param endpoint of the peer, with a port.
   * @returns the fault if it is new that two gateways use the peer's identity.
   */
  epochUsed(peer: string, epoch: bigint, endpoint: string): PspError | undefined {
    const addresses = this.#epochs.seen(peer, epoch, endpoint.replace(/:\d+$/, ''), monotonicMs());
    if (addresses === undefined) return undefined;
    const named = [...new Set(addresses)].sort().join(' and ');
    const error = new PspError('IDENTITY_SHARED', { peer, addresses: named });
    if (!this.#faults.seen(peer, identity, error, moment())) return undefined;
    this.failure(error, { peer, ms: 0 });
    return error;
  }

  /** To be called once a second: ends failures that are over. */
  tick(): void {
    for (const [peer, { breakerState, link }] of this.clients) {
      if (breakerState === 'closed' && link.state === 'connected') this.tally.recovered(peer, unixMs());
    }
  }

  /** @param own about our own certificates. @param faults of this service that are not about a peer or a certificate. */
  read(own: ReturnType<CertificateReport['read']>, faults: readonly Health[] = []): OwnReport<'keyexchange'> {
    const peers = this.#peers();
    const { notices, certificates } = own;
    return {
      health: [...own.health, ...faults, ...this.#health(peers)],
      counters: this.tally.counters(),
      status: { peers, certificates, notices },
      stats: { peers, histograms: this.tally.histograms(), certificates, notices },
    };
  }

  #peers(): PeerStatus[] {
    return Array.from(this.rules.peers.values(), ({ name, endpoint, insecure }) => {
      const tally = this.tally.peer(name);
      const client = this.clients.get(name);
      return {
        name,
        endpoint,
        breaker: client?.breakerState ?? '',
        exchanges: BigInt(tally?.exchanges ?? 0),
        answered: BigInt(tally?.answered ?? 0),
        refused: BigInt(tally?.refused ?? 0),
        failed: BigInt(tally?.failed ?? 0),
        deferred: BigInt(tally?.deferred ?? 0),
        limited: BigInt(tally?.limited ?? 0),
        connections: this.connections.countOf(name),
        insecure,
        lastCode: tally?.lastCode ?? '',
        lastCodeMs: BigInt(tally?.lastCodeMs ?? 0),
        lastAnswerMs: BigInt(tally?.lastAnswerMs ?? 0),
        link: client?.link.state ?? '',
        linkSinceMs: BigInt(client?.link.since.unixMs ?? 0),
        ...this.#certificateOf(name),
      };
    });
  }

  #health(peers: readonly PeerStatus[]): Health[] {
    return peers.flatMap((peer) => [...this.#linkHealth(peer), ...this.#faultsOf(peer.name)]);
  }

  /** The certificate that a peer presented last, in either role. */
  #certificateOf(peer: string): Pick<PeerStatus, 'certificate' | 'presentedMs'> {
    const [latest] = [this.clients.get(peer)?.presented, this.#presented.get(peer)]
      .filter((each) => each !== undefined)
      .sort((one, other) => other.atMs - one.atMs);
    if (latest === undefined) return { certificate: undefined, presentedMs: 0n };
    return { certificate: describe(latest.certificate, 'node'), presentedMs: BigInt(latest.atMs) };
  }

  /** One line for each peer: the reason for which exchanges fail, or else for which there is no connection. */
  #linkHealth({ name, endpoint, breaker, link, linkSinceMs }: PeerStatus): Health[] {
    const part = `peer ${name}`;
    const tally = this.tally.peer(name);
    const failingSinceMs = BigInt(tally?.failingSinceMs ?? 0);
    if (link !== 'failed') {
      if (breaker === 'closed') return [];
      return [{ part, message: `${tally?.lastCode}: ${tally?.lastDetail}`, sinceMs: failingSinceMs }];
    }
    const reason = this.clients.get(name)?.reason;
    const why = reason === undefined ? 'it does not answer' : `${reason.code}: ${reason.message}`;
    const remedy =
      reason === undefined || reason.code === 'PEER_DOWN' || reason.code === 'PEER_TIMEOUT'
        ? '; check that its key exchange runs and can be reached from here'
        : '';
    // Exchanges may have failed before the connection.
    const isFailing = breaker !== 'closed' && failingSinceMs !== 0n;
    const sinceMs = isFailing && failingSinceMs < linkSinceMs ? failingSinceMs : linkSinceMs;
    return [{ part, message: `no connection to ${endpoint}: ${why}${remedy}`, sinceMs }];
  }

  /** Lasting faults of a peer, whether or not it is connected. */
  #faultsOf(peer: string): Health[] {
    return this.#faults.of(peer, monotonicMs()).map(({ error, since, count }) => {
      const { code, message } = error;
      const flows = count > 1 ? ` (${count} flows)` : '';
      const remedy =
        code === 'IDENTITY_SHARED' || code === 'PEER_CERTIFICATE_INVALID' ? '' : `; ${remedyOf(error)}`;
      return {
        part: `peer ${peer}`,
        message: `${code}: ${message}${flows}${remedy}`,
        sinceMs: BigInt(since.unixMs),
      };
    });
  }
}
