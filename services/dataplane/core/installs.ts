// SPDX-License-Identifier: Apache-2.0
// The keys of an accept or an install on their way into the engine: which are installed, which results their request
// is answered with, and what happens when the engine cannot install them. While the engine is busy the same keys are
// tried again, for as long as the sender waits and only as far as no newer key was decided on.
//
// An accept that succeeds lets the peer use our offers at once and erase its older keys. So when the keys of an accept
// cannot be installed, its offers are withdrawn and it fails. A full table fails no request: the flow has no older
// key, and its peer can send all the same.
import { InstallResult } from '../../../proto/gen/bus.js';
import type { FlowKey } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import type { EgressKeys } from './egress_keys.js';
import { type Action, audit, type EgressKey, type MadeOffer, withdraw } from './facts.js';
import { firstHoldDownMs } from './hold_down.js';
import type { InboundFlows } from './inbound.js';
import type { Wants } from './wants.js';

const { INSTALL_RESULT_INSTALLED, INSTALL_RESULT_NOT_IN_FLIGHT, INSTALL_RESULT_SUPERSEDED } = InstallResult;
const { INSTALL_RESULT_TABLE_FULL } = InstallResult;

const retryMs = 20;
/** Keys are tried for this long; their sender waits about as long, or longer where exchanges are slow. */
const installMs = 500;

/** Keys that a request offers. */
export interface OfferedKeys {
  request: number;
  peer: number;
  /** Whose request the keys came with. */
  asked: 'us' | 'peer';
  flows: readonly FlowKey[];
  /** One for each flow, or none. */
  keys: readonly EgressKey[];
  /** What the peer is offered in return. */
  offers: readonly MadeOffer[];
}

interface Install extends OfferedKeys {
  /** One for each of keys. */
  results: InstallResult[];
  /** The decision for the key, by row. */
  decisions: Map<number, number>;
  /** The rows that the engine has now. */
  rows: readonly number[];
  untilMs: number;
  /** One of its flows was removed meanwhile, so what the peer is offered in return is not valid. */
  isOvertaken: boolean;
}

export class Installs {
  readonly #pending = new Map<number, Install>();

  constructor(
    private readonly keys: EgressKeys,
    private readonly inbound: InboundFlows,
    private readonly wants: Wants,
    private readonly counters: { superseded: number },
  ) {}

  /** @param late the rows whose exchange is not in flight; their keys are not installed. */
  begin(offered: OfferedKeys, late: ReadonlySet<number>, nowMs: number): Action[] {
    const untilMs = nowMs + installMs;
    const install: Install = {
      ...offered,
      results: [],
      decisions: new Map(),
      rows: [],
      untilMs,
      isOvertaken: false,
    };
    for (const [row, key] of offered.keys.entries()) {
      const decision = late.has(row) ? undefined : this.keys.decide(flowAt(install, row), offered.peer, key);
      if (late.has(row)) install.results[row] = INSTALL_RESULT_NOT_IN_FLIGHT;
      else if (decision !== undefined) {
        install.decisions.set(row, decision);
        this.wants.renewed(flowAt(install, row));
      } else {
        install.results[row] = INSTALL_RESULT_SUPERSEDED;
        this.counters.superseded++;
      }
    }
    this.#pending.set(install.request, install);
    return this.#send(install, [...install.decisions.keys()]);
  }

  /** The pause after a failed attempt is over. */
  retry(request: number): Action[] {
    const install = this.#install(request);
    for (const row of install.rows) install.results[row] = INSTALL_RESULT_SUPERSEDED;
    return this.#send(install, this.#newest(install, install.rows));
  }

  /** Flows were removed, and with them the offers to their peers. */
  removed(flows: { has(flow: FlowKey): boolean }): void {
    for (const install of this.#pending.values()) {
      install.isOvertaken ||= install.flows.some((flow) => flows.has(flow));
    }
  }

  installed(request: number, results: readonly InstallResult[], nowMs: number): Action[] {
    const install = this.#install(request);
    const { peer, asked } = install;
    const up: Action[] = [];
    for (const [i, row] of install.rows.entries()) {
      const result = results[i] as InstallResult;
      install.results[row] = result;
      const flow = flowAt(install, row);
      if (result !== INSTALL_RESULT_INSTALLED || !this.keys.installed(flow, peer, nowMs)) continue;
      const { spi, version } = install.keys[row] as EgressKey;
      up.push(audit({ type: 'tunnelUp', flow, peer, asked, spi, version }));
    }
    const full = install.rows.filter((row) => install.results[row] === INSTALL_RESULT_TABLE_FULL);
    return [...up, ...this.#lost(install, this.#newest(install, full), true, nowMs), ...this.#reply(install)];
  }

  failed(request: number, error: Error, nowMs: number): Action[] {
    const install = this.#install(request);
    const isBusy = error instanceof PspError && error.code === 'ENGINE_BUSY';
    if (isBusy && nowMs + retryMs <= install.untilMs)
      return [{ type: 'retryLater', request, afterMs: retryMs }];
    this.#pending.delete(request);
    const lost = this.#lost(install, this.#newest(install, install.rows), false, nowMs);
    for (const offer of install.offers) this.inbound.withdrawn(offer);
    return [...lost, ...withdraw(install.offers), { type: 'fail', request, error }];
  }

  #send(install: Install, rows: readonly number[]): Action[] {
    if (rows.length === 0) return this.#reply(install);
    install.rows = rows;
    return [{ type: 'install', request: install.request, peer: install.peer, rows }];
  }

  #reply({ request, results, offers, isOvertaken }: Install): Action[] {
    this.#pending.delete(request);
    if (isOvertaken && offers.length > 0) {
      for (const offer of offers) this.inbound.withdrawn(offer);
      return [...withdraw(offers), { type: 'fail', request, error: new PspError('FLOW_REMOVED') }];
    }
    return [{ type: 'reply', request, reply: { results } }];
  }

  /** The keys of these rows are not in the engine: a flow without an older key is held down. */
  #lost(install: Install, rows: readonly number[], tableFull: boolean, nowMs: number): Action[] {
    const { peer } = install;
    const flows: FlowKey[] = [];
    const down: Action[] = [];
    for (const row of rows) {
      const flow = flowAt(install, row);
      const wasUp = this.keys.isInstalled(flow);
      if (!this.keys.lost(flow, tableFull)) {
        // The older key stays in use, but the peer may retire it, because it made a newer one.
        if (wasUp) this.wants.renew(flow, peer, nowMs);
        continue;
      }
      flows.push(flow);
      this.wants.keyLost(flow, peer, nowMs);
      if (wasUp) down.push(audit({ type: 'tunnelDown', flow, peer, why: 'tableFull' }));
    }
    return flows.length === 0 ? [] : [...down, { type: 'refuse', flows, holdDownMs: firstHoldDownMs }];
  }

  /** Those of the rows for whose flow no newer key was decided on. */
  #newest(install: Install, rows: readonly number[]): number[] {
    const { decisions } = install;
    return rows.filter((row) => this.keys.isNewest(flowAt(install, row), decisions.get(row) as number));
  }

  #install(request: number): Install {
    const install = this.#pending.get(request);
    if (install === undefined) throw new Error(`request ${request} has no keys that are being installed`);
    return install;
  }
}

const flowAt = ({ flows }: OfferedKeys, row: number): FlowKey => flows[row] as FlowKey;
