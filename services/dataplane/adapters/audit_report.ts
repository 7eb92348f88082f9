// SPDX-License-Identifier: Apache-2.0
// Tells the auditors what the core decided, in an operator's words: addresses, names of peers, SPIs in hex.
// Nothing happens that they would want to know before the trail is there.
import { flowOf, formatAddress } from '../../shared/address.js';
import type { AuditData } from '../../shared/audit/event.js';
import type { Auditor as Trail } from '../../shared/audit/trail.js';
import type { DataplaneConfig } from '../config.js';
import type { AuditFact } from '../core/facts.js';

export class Auditor {
  #trail: Trail | undefined;

  /** @param peers names by peer number. */
  constructor(private readonly peers: readonly string[]) {}

  useTrail(trail: Trail): void {
    this.#trail = trail;
  }

  tell(event: AuditFact): void {
    if (event.type === 'keysRotated') {
      const { generation, reoffered, cut } = event;
      const data = { generation, by: 'operator', reofferedFlows: reoffered, cutFlows: cut } as const;
      this.#trail?.record('keys.rotated', data);
      return;
    }
    const { source, destination } = flowOf(event.flow);
    const [from, to] = [formatAddress(source), formatAddress(destination)];
    const peer = this.peers[event.peer] as string;
    const egress = { local: from, remote: to, peer };
    switch (event.type) {
      case 'tunnelUp': {
        const spi = `0x${event.spi.toString(16).padStart(8, '0')}`;
        this.#trail?.record('tunnel.up', { ...egress, spi, version: event.version, asked: event.asked });
        break;
      }
      case 'tunnelRefused':
        this.#trail?.record('tunnel.refused', { ...egress, by: 'peer', code: event.code });
        break;
      case 'tunnelDown': {
        const ends = event.why === 'tableFull' ? egress : { local: to, remote: from, peer };
        const direction = event.why === 'tableFull' ? 'egress' : 'ingress';
        this.#trail?.record('tunnel.down', { ...ends, direction, reason: event.why });
      }
    }
  }

  /** One of 2^n packets; undefined: none. @param peer undefined: towards all. */
  samplingChanged(from: number | undefined, to: number | undefined, peer: number | undefined): void {
    const name = peer === undefined ? null : (this.peers[peer] as string);
    this.#trail?.record('sampling.changed', {
      from: from ?? null,
      to: to ?? null,
      peer: name,
      by: 'operator',
    });
  }

  linkChanged(data: AuditData['link.changed']): void {
    this.#trail?.record('link.changed', data);
  }

  /** What passes unencrypted or unchecked from now on, one event for each entry of the node file. */
  configured({ bypass, engine }: Pick<DataplaneConfig, 'bypass' | 'engine'>): void {
    for (const rule of bypass) this.#trail?.record('bypass.configured', { rule });
    if (!engine.ingressAcl) this.#trail?.record('acl.disabled', {});
  }
}
