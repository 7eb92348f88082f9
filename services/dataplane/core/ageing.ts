// SPDX-License-Identifier: Apache-2.0
// When flows end because no packet uses them. The engine measures how long that is; here is decided after how long each
// egress key ends, and what follows. A key that seals nothing ends after our own idle timeout, or earlier where its peer
// promised to keep the SPI for less than twice as long (shared/limits.ts). A receive SPI of ours ends only if its peer
// sends such promises, too, because only such a peer stops using the SPI in time. NVIDIA's application sends none: it
// would continue to use an SPI that ended, so its SPIs do not age. Where it can be offered only so many tunnels
// (tunnel_budgets.ts), keys of its offers do not age either, because each new one would cost another tunnel.
//
// A flow that the node file names keeps its key. Because its peer may end the SPI, it gets a new one in time.
import type { FlowKey } from '../../shared/address.js';
import { keptForEver } from '../../shared/limits.js';
import type { EgressKeys } from './egress_keys.js';
import { type Action, type AgedFlow, audit, type KeyAgeing, type Miss, reversed } from './facts.js';
import type { InboundFlows } from './inbound.js';
import type { Wants } from './wants.js';

/** A promise of less counts as this. */
const leastMs = 1000;
/** How often flows of the node file are looked at. */
const lookMs = 1000;

export interface AgeingOptions {
  /** How long an egress key stays that seals nothing; undefined: for ever. */
  idleMs: number | undefined;
  /** Flows of the node file. */
  configured: readonly Miss[];
  /** Peers that can be offered only so many tunnels. */
  maxTunnels: ReadonlyMap<number, number>;
}

/** After how long without a packet a sender must stop using an SPI; undefined: never. */
const stopMs = (keptMs: number | undefined): number | undefined =>
  keptMs === undefined || keptMs === keptForEver ? undefined : Math.max(leastMs, Math.floor(keptMs / 2));

export class Ageing {
  readonly #configured: ReadonlyMap<FlowKey, number>;
  /** When the keys of flows of the node file must be replaced. */
  readonly #renewals = new Map<FlowKey, number>();
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly options: AgeingOptions,
    private readonly keys: EgressKeys,
    private readonly inbound: InboundFlows,
    private readonly wants: Wants,
  ) {
    this.#configured = new Map(options.configured.map(({ flow, peer }) => [flow, peer]));
  }

  /** How keys age that a peer offered. @param keptMs its promise; undefined: it made none. */
  of(flows: readonly FlowKey[], peer: number, keptMs: number | undefined): KeyAgeing {
    const limits = [stopMs(keptMs), this.options.maxTunnels.has(peer) ? undefined : this.options.idleMs];
    const idleMs = Math.min(...limits.map((limit) => limit ?? Number.POSITIVE_INFINITY));
    const ends = Number.isFinite(idleMs) ? idleMs : 0;
    return {
      idleMs: flows.map((flow) => (this.#configured.has(flow) ? 0 : ends)),
      keepsTime: keptMs !== undefined,
    };
  }

  /** A key was installed whose peer made this promise. */
  installed(flow: FlowKey, keptMs: number | undefined, nowMs: number): void {
    if (!this.#configured.has(flow)) return;
    const ms = stopMs(keptMs);
    if (ms === undefined) this.#renewals.delete(flow);
    else this.#renewals.set(flow, nowMs + ms);
  }

  /** Requests new keys for flows of the node file whose peer may soon end their SPIs. */
  renewWhenDue(nowMs: number): void {
    if (nowMs < this.#lookedMs + lookMs) return;
    this.#lookedMs = nowMs;
    for (const [flow, atMs] of this.#renewals) {
      if (nowMs < atMs) continue;
      this.#renewals.delete(flow);
      const peer = this.#configured.get(flow);
      if (peer !== undefined && this.keys.isInstalled(flow)) this.wants.renew(flow, peer, nowMs);
    }
  }

  /** The engine ended an egress flow or a receive SPI. @returns the audit event of a tunnel that is down now. */
  aged({ flow, spi, peer, egress }: AgedFlow): Action[] {
    if (!egress) {
      if (this.inbound.aged({ inbound: flow, spi })) this.wants.fresh(reversed(flow));
      return [];
    }
    if (!this.keys.aged(flow, spi)) return [];
    if (!this.keys.has(flow)) this.wants.renewed(flow);
    return [audit({ type: 'tunnelDown', flow, peer, why: 'idle' })];
  }
}
