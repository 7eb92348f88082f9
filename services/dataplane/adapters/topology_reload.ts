// SPDX-License-Identifier: Apache-2.0
// Applies a changed node file to the running dataplane. First the engine looks packets up in the new configuration, then the
// arbiter removes the flows that it does not allow any more. Tunnels that stay lose no packet. A peer whose mode, protection,
// underlay or kind of key exchange changes is replaced: its tunnels end and form again. Other changes of a peer take effect
// in place; those of its cookie with the offers that follow.
import { setTimeout as delay } from 'node:timers/promises';
import { type FlowKey, flowOf } from '../../shared/address.js';
import type { NodeConfig, PeerConfig } from '../../shared/config/config.js';
import { formatPath } from '../../shared/config/cross_rules.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs } from '../../shared/process/clock.js';
import type { Logger } from '../../shared/process/log.js';
import type { Reloading } from '../../shared/service/config_reloads.js';
import { ourselves } from '../../shared/vip_table.js';
import {
  type DataplaneConfig,
  liveOf,
  maxPeersFor,
  numbersOf,
  rotationTimes,
  topologyOf,
  vipsOf,
} from '../config.js';
import { type Numbering, PeerNumbers } from '../core/peer_numbers.js';
import type { AuditReport } from './audit_report.js';
import type { Engine } from './engine.js';
import type { Executor } from './executor.js';

/** For how long, and how often, the engine is given a command while it is busy. */
const busyMs = 5000;
const retryMs = 20;

export class TopologyReload implements Reloading {
  readonly #numbers: PeerNumbers;

  /** @param config is changed in place. */
  constructor(
    private readonly config: DataplaneConfig,
    private readonly engine: Engine,
    private readonly executor: Executor,
    private readonly audit: AuditReport,
    private readonly log: Pick<Logger, 'warn'>,
  ) {
    const { peers } = config.nodeFile;
    this.#numbers = new PeerNumbers(Object.keys(peers), maxPeersFor(numbersOf(peers).size));
  }

  check(next: NodeConfig): void {
    this.engine.check(next);
    this.#plan(next);
  }

  async apply(next: NodeConfig): Promise<void> {
    const { config } = this;
    const { nodeFile: before, bypass, peers, warnings } = config;
    const plan = this.#plan(next);
    const live = liveOf(next, plan.numbers);
    if (JSON.stringify(topologyIn(before)) !== JSON.stringify(topologyIn(next))) {
      const topology = topologyOf(next, plan.numbers);
      await this.#whenFree(() => this.engine.reconfigure(topology, live.bypass, plan.added));
    }
    this.#numbers.take(plan, monotonicMs());
    // Flows of removed peers end under their names.
    Object.assign(config, live, { nodeFile: next, peers: unionOf(live.peers, peers) });
    this.executor.on({
      type: 'reconfigured',
      added: plan.added,
      peers: live.networks,
      maxTunnels: live.maxTunnels,
      configured: live.configured,
      times: timesOf(next),
      isAllowed: allowedBy(next, plan.numbers),
    });
    config.peers = live.peers;
    this.audit.configured(config, bypass);
    const known = new Set(warnings.map(({ path, message }) => `${formatPath(path)}: ${message}`));
    for (const { kind, path, message } of live.warnings) {
      const err = `${formatPath(path)}: ${message}`;
      if (kind !== 'cryptOffset' && !known.has(err))
        this.log.warn({ err }, 'less protection by configuration');
    }
    await this.#sample(before, next, plan);
  }

  /** @throws PspError TABLE_FULL */
  #plan(next: NodeConfig): Numbering {
    const plan = this.#numbers.plan(
      Object.keys(next.peers),
      replacedBy(this.config.nodeFile, next),
      monotonicMs(),
    );
    if (plan === undefined) throw new PspError('TABLE_FULL', { table: 'table of peers' });
    return plan;
  }

  /** Sets the rates that the node file changed; rates of `psp sampling` stay otherwise. */
  async #sample(before: NodeConfig, next: NodeConfig, { numbers, added }: Numbering): Promise<void> {
    const general = next.sampling.egressLog2;
    const isGeneralNew = before.sampling.egressLog2 !== general;
    if (isGeneralNew) await this.#setRate(general);
    for (const [name, number] of numbers) {
      const own = next.peers[name]?.sampling;
      const isNew = added.has(number) || before.peers[name]?.sampling !== own;
      if (own !== undefined && (isNew || isGeneralNew))
        await this.#setRate(own === 'off' ? undefined : own, number);
      else if (own === undefined && isNew) await this.#whenFree(() => this.engine.sampleAsOthers(number));
    }
  }

  async #setRate(rate: number | undefined, peer?: number): Promise<void> {
    await this.#whenFree(async () => {
      const { from, changed } = await this.engine.sampling(rate, peer);
      if (changed) this.audit.samplingChanged(from, rate, peer);
    });
  }

  async #whenFree(command: () => Promise<void>): Promise<void> {
    for (const untilMs = monotonicMs() + busyMs; ; ) {
      try {
        return await command();
      } catch (error) {
        const isBusy = error instanceof PspError && error.code === 'ENGINE_BUSY';
        if (!isBusy || monotonicMs() > untilMs) throw error;
        await delay(retryMs);
      }
    }
  }
}

const timesOf = (node: NodeConfig) => {
  const { drainMs, rotateGraceMs: graceMs, rotateEveryMs: everyMs } = rotationTimes(node);
  return { drainMs, graceMs, everyMs };
};

/** What the engine looks packets up by. */
const topologyIn = ({ vips, peers, bypass }: NodeConfig) => ({ vips, peers, bypass });

/** The peers whose tunnels cannot go on with what the node file says of them now. */
function replacedBy(before: NodeConfig, next: NodeConfig): Set<string> {
  const terms = ({ mode, authOnly, underlay, insecureReferenceInterop }: PeerConfig) =>
    JSON.stringify([mode, authOnly, underlay, insecureReferenceInterop]);
  return new Set(
    Object.entries(next.peers).flatMap(([name, peer]) => {
      const old = before.peers[name];
      return old !== undefined && terms(old) !== terms(peer) ? [name] : [];
    }),
  );
}

/** Whether a flow leads from a VIP of ours to one of the peer. */
function allowedBy(node: NodeConfig, numbers: ReadonlyMap<string, number>) {
  const vips = vipsOf(node);
  return (flow: FlowKey, peer: number): boolean => {
    const { source, destination } = flowOf(flow);
    return vips.ownerOf(source) === ourselves && numbers.get(String(vips.ownerOf(destination))) === peer;
  };
}

/** The names of one list, and where it has none those of the other. */
const unionOf = (one: readonly string[], other: readonly string[]): string[] =>
  Array.from({ length: Math.max(one.length, other.length) }, (_, i) => one[i] || (other[i] ?? ''));
