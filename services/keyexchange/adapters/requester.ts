// SPDX-License-Identifier: Apache-2.0
// The client's side of an exchange, end to end: a want is received, its peer is requested once, and the answer or the
// refusal is sent to the dataplane. An unknown outcome is only reported: the dataplane repeats its want. Wants of one peer
// never wait for those of another.
import { type FlowWanted, InstallResult } from '../../../proto/gen/bus.js';
import { formatFlow } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs, monotonicNs, unixMs } from '../../shared/process/clock.js';
import { isRefusal } from '../core/outcome.js';
import {
  callTimeoutMs,
  commandTimeoutMs,
  type Egress,
  egressOf,
  isFresh,
  peerOf,
  requestOf,
} from '../core/peer_request.js';
import type { Peer, Rules } from '../core/rules.js';
import type { CounterName } from '../core/tally.js';
import type { DataplaneClient, WantContract } from './dataplane_client.js';
import { InFlight } from './in_flight.js';
import type { PeerClient } from './peer_client.js';
import type { Report } from './report.js';

const counterOf: Partial<Record<InstallResult, CounterName>> = {
  [InstallResult.INSTALL_RESULT_INSTALLED]: 'tunnelsInstalled',
  [InstallResult.INSTALL_RESULT_NOT_IN_FLIGHT]: 'tunnelsNotInFlight',
  [InstallResult.INSTALL_RESULT_SUPERSEDED]: 'tunnelsSuperseded',
  [InstallResult.INSTALL_RESULT_TABLE_FULL]: 'tunnelsTableFull',
};

export class Requester {
  #requestId = 0n;
  #stopped = false;
  readonly #inFlight = new InFlight();
  readonly #running = new Set<Promise<void>>();

  constructor(
    private readonly rules: Rules,
    private readonly dataplane: DataplaneClient,
    private readonly clients: ReadonlyMap<string, PeerClient>,
    private readonly report: Report,
  ) {}

  /** Receives wants from now on. */
  start(): void {
    this.dataplane.onWant((want, contract) => {
      if (this.#stopped) return;
      const running = this.#run(want, contract).finally(() => this.#running.delete(running));
      this.#running.add(running);
    });
  }

  /** Starts no more exchanges; resolves when those in progress have ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #run(want: FlowWanted, contract: WantContract): Promise<void> {
    const { tally } = this.report;
    const startMs = monotonicMs();
    const report = (error: unknown) => {
      if (!(error instanceof PspError)) throw error;
      if (error.code === 'REPLAY') return tally.count('wantsReplayed');
      this.report.failure(error, { peer: want.peer, ...flowFields(want), ms: monotonicMs() - startMs });
    };
    tally.count('wants');
    try {
      const peer = peerOf(want, this.rules, contract.subject);
      const isExpired = () => !isFresh(want, this.rules, monotonicNs());
      if (isExpired()) return tally.count('wantsExpired');
      // Seals are opened before any wait, because the window of counters moves on.
      const keys = this.dataplane.openWant(want, contract);
      try {
        await this.#inFlight.run(peer.name, want.flows.length, async () => {
          if (isExpired()) return tally.count('wantsExpired');
          await this.#exchange(want, keys, peer, report);
        });
      } finally {
        for (const key of keys) key.fill(0);
      }
    } catch (error) {
      report(error);
    }
  }

  async #exchange(
    want: FlowWanted,
    keys: Buffer[],
    peer: Peer,
    report: (error: unknown) => void,
  ): Promise<void> {
    const { tally } = this.report;
    tally.began(peer.name);
    let egress: Egress;
    try {
      egress = await this.#request(want, keys, peer);
    } catch (error) {
      report(error);
      const { code } = error as PspError;
      if (!isRefusal(code)) return tally.failed(peer.name, unixMs());
      tally.refused(peer.name);
      this.report.refusedBy(peer.name, flowsOf(want), error as PspError);
      return this.dataplane.refuse(want, code, commandTimeoutMs(want, this.rules, monotonicNs()));
    }
    tally.answered(peer.name, unixMs());
    this.report.answeredBy(peer.name, flowsOf(want));
    if (egress.peerEpoch) this.report.epochUsed(peer.name, egress.peerEpoch, peer.endpoint);
    const timeoutMs = commandTimeoutMs(want, this.rules, monotonicNs());
    const results = await this.dataplane.install(want, egress, timeoutMs);
    if (results.includes(InstallResult.INSTALL_RESULT_INSTALLED)) {
      tally.exchange.took(Number(monotonicNs() - want.publishedNs) / 1e9);
    }
    for (const result of results) tally.count(counterOf[result] ?? 'tunnelsNotInFlight');
    if (results.includes(InstallResult.INSTALL_RESULT_TABLE_FULL)) {
      const full = new PspError('TABLE_FULL', { table: 'flow table' });
      this.report.refusedTo(peer.name, full);
      throw full;
    }
  }

  #request(want: FlowWanted, keys: Buffer[], peer: Peer): Promise<Egress> {
    const client = this.clients.get(peer.name) as PeerClient;
    this.#requestId += 1n;
    return client.request(
      requestOf(want, keys, peer, this.#requestId),
      callTimeoutMs(want, this.rules, monotonicNs()),
      (response) => egressOf(response, want, peer, this.rules),
    );
  }
}

const flowsOf = ({ flows }: FlowWanted): string[] => flows.map(formatFlow);

function flowFields({ flows }: FlowWanted): { flow: string } | { count: number } {
  const [only] = flows;
  const isAddress = ({ length }: Buffer) => length === 4 || length === 16;
  const named = flows.length === 1 && only && isAddress(only.source) && isAddress(only.destination);
  return named ? { flow: formatFlow(only) } : { count: flows.length };
}
