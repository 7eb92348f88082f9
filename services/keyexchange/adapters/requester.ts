// SPDX-License-Identifier: Apache-2.0
// The client's side of an exchange: carries out what core/requesting.ts decides. A want is received, its peer is requested
// once, and the answer or the refusal is sent to the dataplane.
import { type FlowWanted, InstallResult } from '../../../proto/gen/bus.js';
import { flowKeyOf, formatFlow } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs, monotonicNs, unixMs } from '../../shared/process/clock.js';
import type { ExchangeTrace, FlowTraces } from '../../shared/service/flow_traces.js';
import { isRefusal } from '../core/outcome.js';
import { type Egress, egressOf, isFresh, peerOf, requestOf } from '../core/peer_request.js';
import { Requesting, type RequestingAction, type RequestingFact } from '../core/requesting.js';
import type { Peer, Rules } from '../core/rules.js';
import type { CounterName } from '../core/tally.js';
import type { DataplaneClient, WantContract } from './dataplane_client.js';
import type { PeerClient } from './peer_client.js';
import type { Report } from './report.js';

const counterOf: Partial<Record<InstallResult, CounterName>> = {
  [InstallResult.INSTALL_RESULT_INSTALLED]: 'tunnelsInstalled',
  [InstallResult.INSTALL_RESULT_NOT_IN_FLIGHT]: 'tunnelsNotInFlight',
  [InstallResult.INSTALL_RESULT_SUPERSEDED]: 'tunnelsSuperseded',
  [InstallResult.INSTALL_RESULT_TABLE_FULL]: 'tunnelsTableFull',
};

/** A want in progress. */
interface Exchange {
  want: FlowWanted;
  /** Of our offers; wiped at the end. */
  keys: Buffer[];
  peer: Peer;
  startMs: number;
  /** The peer's answer. */
  egress: Egress | undefined;
  trace: ExchangeTrace;
}

export class Requester {
  #requestId = 0n;
  #stopped = false;
  readonly #core: Requesting;
  readonly #exchanges = new Map<number, Exchange>();
  #lastWant = 0;
  /** Called when no exchange is in progress any more. */
  #ended: (() => void) | undefined;

  constructor(
    private readonly rules: Rules,
    private readonly dataplane: DataplaneClient,
    private readonly clients: ReadonlyMap<string, PeerClient>,
    private readonly report: Report,
    private readonly traces: FlowTraces,
  ) {
    this.#core = new Requesting(rules);
  }

  /** Receives wants from now on. @param epochSeen receives the epoch of each. */
  start(epochSeen: (epoch: bigint) => void): void {
    this.dataplane.onWant((want, contract) => {
      if (!this.#stopped) this.#wanted(want, contract, epochSeen);
    });
  }

  /** Starts no more exchanges; resolves when those in progress have ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#exchanges.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#ended = resolve;
    });
  }

  #wanted(want: FlowWanted, contract: WantContract, epochSeen: (epoch: bigint) => void): void {
    const { tally } = this.report;
    const startMs = monotonicMs();
    const receivedNs = monotonicNs();
    tally.count('wants');
    try {
      const peer = peerOf(want, this.rules, contract.subject);
      if (!isFresh(want, this.rules, monotonicNs())) {
        tally.count('wantsExpired');
        return;
      }
      // Seals are opened before any wait, because the window of counters moves on.
      const keys = this.dataplane.openWant(want, contract);
      epochSeen(want.epoch);
      const id = ++this.#lastWant;
      const trace = this.traces.begin(want, want.flows, flowKeyOf);
      trace.mark('wantReceived', receivedNs);
      this.#exchanges.set(id, { want, keys, peer, startMs, egress: undefined, trace });
      this.#on({ type: 'wanted', id, peer: peer.name, tunnels: want.flows.length, timed: want });
    } catch (error) {
      this.#failure(error, want, startMs);
    }
  }

  #on(fact: RequestingFact): void {
    for (const action of this.#core.on(fact, monotonicNs())) {
      const exchange = this.#exchanges.get(action.id) as Exchange;
      if (action.type === 'end') this.#end(action, exchange);
      else void this.#perform(action, exchange).then((result) => this.#on(result));
    }
  }

  /** @returns the result. */
  async #perform(
    action: Exclude<RequestingAction, { type: 'end' }>,
    exchange: Exchange,
  ): Promise<RequestingFact> {
    const { id, timeoutMs } = action;
    const { want, startMs } = exchange;
    try {
      if (action.type === 'call') return await this.#call(id, exchange, timeoutMs);
      if (action.type === 'install') await this.#install(exchange, timeoutMs);
      else await this.dataplane.refuse(want, action.code, timeoutMs);
    } catch (error) {
      this.#failure(error, want, startMs);
    }
    return { type: 'ended', id };
  }

  async #call(id: number, exchange: Exchange, timeoutMs: number): Promise<RequestingFact> {
    const { want, keys, peer, startMs, trace } = exchange;
    const { tally } = this.report;
    tally.began(peer.name);
    const client = this.clients.get(peer.name);
    if (client === undefined) return { type: 'failed', id, code: 'PEER_DOWN' };
    const request = requestOf(want, keys, peer, ++this.#requestId);
    trace.mark('requestSent', monotonicNs());
    try {
      exchange.egress = await client.request(request, timeoutMs, (response) =>
        egressOf(response, want, peer, this.rules),
      );
    } catch (error) {
      this.#failure(error, want, startMs);
      const { code, data } = error as PspError;
      if (code === 'PEER_LIMITS_RATE') return { type: 'failed', id, code, retryMs: Number(data.ms) };
      if (isRefusal(code)) {
        tally.refused(peer.name);
        this.report.refusedBy(peer.name, flowsOf(want), error as PspError);
      } else tally.failed(peer.name, unixMs());
      return { type: 'failed', id, code };
    }
    trace.mark('responseReceived', monotonicNs());
    tally.answered(peer.name, unixMs());
    this.report.answeredBy(peer.name, flowsOf(want));
    const { peerEpoch } = exchange.egress;
    if (peerEpoch) this.report.epochUsed(peer.name, peerEpoch, peer.endpoint);
    return { type: 'answered', id };
  }

  async #install({ want, egress, peer, trace }: Exchange, timeoutMs: number): Promise<void> {
    const { tally } = this.report;
    trace.mark('installSent', monotonicNs());
    const results = await this.dataplane.install(want, egress as Egress, timeoutMs);
    trace.mark('installAnswered', monotonicNs());
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

  #end(
    { id, why }: Extract<RequestingAction, { type: 'end' }>,
    { want, keys, peer, startMs }: Exchange,
  ): void {
    this.#exchanges.delete(id);
    for (const key of keys) key.fill(0);
    if (why === 'expired') this.report.tally.count('wantsExpired');
    if (why === 'deferred') this.report.tally.deferred(peer.name);
    if (why === 'overloaded') this.#failure(new PspError('OVERLOADED'), want, startMs);
    if (this.#exchanges.size === 0) this.#ended?.();
  }

  /** Reports a failure. @throws what is no PspError. */
  #failure(error: unknown, want: FlowWanted, startMs: number): void {
    if (!(error instanceof PspError)) throw error;
    if (error.code === 'REPLAY') this.report.tally.count('wantsReplayed');
    else this.report.failure(error, { peer: want.peer, ...flowFields(want), ms: monotonicMs() - startMs });
  }
}

const flowsOf = ({ flows }: FlowWanted): string[] => flows.map(formatFlow);

function flowFields({ flows }: FlowWanted): { flow: string } | { count: number } {
  const [only] = flows;
  const isAddress = ({ length }: Buffer) => length === 4 || length === 16;
  const named = flows.length === 1 && only && isAddress(only.source) && isAddress(only.destination);
  return named ? { flow: formatFlow(only) } : { count: flows.length };
}
