// SPDX-License-Identifier: Apache-2.0
// Records in the audit what the core decided, in an operator's terms: addresses, names of peers, SPIs in hex. A peer decides
// how many flows it refuses, so these events are limited for each peer and code. Rotations are logged, too, because most of
// them have no command whose answer would report them.
import { flowOf, formatAddress, formatEpoch } from '../../shared/address.js';
import type { AuditData } from '../../shared/audit/event.js';
import type { AuditRecorder } from '../../shared/audit/trail.js';
import { monotonicMs, unixMs } from '../../shared/process/clock.js';
import type { Logger } from '../../shared/process/log.js';
import { type JoinedEvent, JoinedEvents } from '../../shared/rate/joined_events.js';
import type { DataplaneConfig } from '../config.js';
import type { AuditFact } from '../core/facts.js';

/** A flow that a peer refused, or the latest of several. */
interface RefusedFlow {
  local: string;
  remote: string;
  peer: string;
  code: string;
}

export class AuditReport {
  readonly #refused = new JoinedEvents<RefusedFlow>();

  constructor(
    private readonly config: Pick<DataplaneConfig, 'peers'>,
    private readonly audit: AuditRecorder,
    private readonly log: Pick<Logger, 'info' | 'warn'>,
  ) {}

  record(event: AuditFact): void {
    if (event.type === 'keysRotated') {
      this.#rotated(event);
      return;
    }
    if (event.type === 'peerRestarted') {
      const peer = this.config.peers[event.peer] as string;
      this.log.info({ peer, flows: event.flows }, 'peer restarted, its keys are renewed');
      this.audit.record('peer.restarted', { peer, epoch: formatEpoch(event.epoch), flows: event.flows });
      return;
    }
    const { source, destination } = flowOf(event.flow);
    const [from, to] = [formatAddress(source), formatAddress(destination)];
    const peer = this.config.peers[event.peer] as string;
    const egress = { local: from, remote: to, peer };
    switch (event.type) {
      case 'tunnelUp': {
        const spi = `0x${event.spi.toString(16).padStart(8, '0')}`;
        this.audit.record('tunnel.up', { ...egress, spi, version: event.version, asked: event.asked });
        break;
      }
      case 'tunnelRefused': {
        const { code } = event;
        const subject = `${peer}|${code}`;
        this.#recordRefused(this.#refused.occurred(subject, { ...egress, code }, monotonicMs(), unixMs()));
        break;
      }
      case 'tunnelDown': {
        const isIngress = event.why === 'rotationForced';
        const ends = isIngress ? { local: to, remote: from, peer } : egress;
        const direction = isIngress ? 'ingress' : 'egress';
        this.audit.record('tunnel.down', { ...ends, direction, reason: event.why });
      }
    }
  }

  /** To be called once a second: records joined events. @param all also those that would have to wait. */
  tick(all = false): void {
    this.#recordRefused(this.#refused.tick(monotonicMs(), all));
  }

  #recordRefused(events: readonly JoinedEvent<RefusedFlow>[]): void {
    for (const { latest, count, firstMs, lastMs } of events) {
      const [firstTime, lastTime] = [new Date(firstMs).toISOString(), new Date(lastMs).toISOString()];
      this.audit.record('tunnel.refused', { ...latest, by: 'peer', count, firstTime, lastTime });
    }
  }

  #rotated({ generation, cause, reoffered, cut }: Extract<AuditFact, { type: 'keysRotated' }>): void {
    const { why } = cause;
    const by = why === 'command' ? 'operator' : why === 'request' ? 'peer' : 'us';
    const peer = why === 'request' ? (this.config.peers[cause.peer] as string) : null;
    this.audit.record('keys.rotated', {
      generation,
      by,
      why,
      peer,
      reofferedFlows: reoffered,
      cutFlows: cut,
    });
    this.log.info({ generation, why, ...(peer !== null && { peer }) }, 'keys rotated');
    if (cut > 0) this.log.warn({ generation, flows: cut }, 'rotation cut flows whose peers had not answered');
  }

  /** Rates: one of 2^n packets; undefined: none. @param peer undefined: all peers. */
  samplingChanged(from: number | undefined, to: number | undefined, peer: number | undefined): void {
    const name = peer === undefined ? null : (this.config.peers[peer] as string);
    this.audit.record('sampling.changed', {
      from: from ?? null,
      to: to ?? null,
      peer: name,
      by: 'operator',
    });
  }

  linkChanged(data: AuditData['link.changed']): void {
    this.audit.record('link.changed', data);
  }

  /**
   * Records what passes unencrypted or unchecked by configuration, one event for each entry of the node file.
   * @param before entries of `bypass` that were recorded before.
   */
  configured(
    { bypass, engine }: Pick<DataplaneConfig, 'bypass' | 'engine'>,
    before?: readonly string[],
  ): void {
    for (const rule of bypass) if (!before?.includes(rule)) this.audit.record('bypass.configured', { rule });
    if (before !== undefined) return;
    if (!engine.ingressAcl) this.audit.record('acl.disabled', {});
  }
}
