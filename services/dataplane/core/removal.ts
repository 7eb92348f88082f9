// SPDX-License-Identifier: Apache-2.0
// Removes flows: by command of an operator, and when their peer or their VIPs leave the configuration. Both directions of
// a tunnel are removed together: its egress key, every offer of ours for the opposite direction, its want and its
// hold-down. What is under way for the flow ends without effect: an answer to its exchange is late, an exchange or an
// accept whose offers are being made is not completed. The next packet of the flow requests a new tunnel, and a flow that
// the node file names is requested again at once.
import { contains, type FlowKey, flowOf, type Prefix } from '../../shared/address.js';
import type { EgressKeys } from './egress_keys.js';
import type { Exchanges } from './exchanges.js';
import { type Action, audit, type FlowSelection, reversed } from './facts.js';
import type { InboundFlows } from './inbound.js';
import type { Installs } from './installs.js';
import type { Wants } from './wants.js';

/** Egress flows, each with its peer. */
export type Flows = ReadonlyMap<FlowKey, number>;

export class Removal {
  constructor(
    private readonly keys: EgressKeys,
    private readonly inbound: InboundFlows,
    private readonly wants: Wants,
    private readonly exchanges: Exchanges,
    private readonly installs: Installs,
    private readonly counters: { removed: number },
  ) {}

  /** The flows of which anything is known, and for which `isSelected` returns true. */
  select(isSelected: (flow: FlowKey, peer: number) => boolean): Flows {
    const flows = new Map<FlowKey, number>();
    const add = (flow: FlowKey, peer: number) => {
      if (!flows.has(flow) && isSelected(flow, peer)) flows.set(flow, peer);
    };
    for (const [flow, peer] of this.keys.flows()) add(flow, peer);
    for (const [inbound, peer] of this.inbound.flows()) add(reversed(inbound), peer);
    for (const [flow, peer] of this.wants.flows()) add(flow, peer);
    return flows;
  }

  /** Forgets the flows. @returns the audit events, and the command for the engine, which answers a request if given. */
  remove(flows: Flows, request: number | undefined, nowMs: number): Action[] {
    if (flows.size === 0) return [];
    this.counters.removed += flows.size;
    const actions: Action[] = [];
    this.exchanges.removed(flows);
    this.installs.removed(flows);
    for (const [flow, peer] of flows) {
      if (this.keys.isInstalled(flow))
        actions.push(audit({ type: 'tunnelDown', flow, peer, why: 'removed' }));
      this.keys.remove(flow);
      this.inbound.remove(reversed(flow));
      this.wants.removed(flow, nowMs);
    }
    return [...actions, { type: 'remove', request, flows: [...flows.keys()] }];
  }
}

/** Whether a selection includes a flow, by its egress direction and its peer. */
export function selects({ peer: only, between }: FlowSelection): (flow: FlowKey, peer: number) => boolean {
  const isBetween = between === undefined ? () => true : connects(...between);
  return (flow, peer) => (only === undefined || peer === only) && isBetween(flow);
}

/** Whether a flow runs between two networks, in either direction. */
function connects(one: Prefix, other: Prefix): (flow: FlowKey) => boolean {
  return (flow) => {
    const { source, destination } = flowOf(flow);
    return (
      (contains(one, source) && contains(other, destination)) ||
      (contains(other, source) && contains(one, destination))
    );
  };
}
