// SPDX-License-Identifier: Apache-2.0
// Reports changes of the links to peers as log lines and as audit events. There is at most one line of a peer and state in a
// second; events of a flapping link are joined.
import type { AuditRecorder } from '../../shared/audit/trail.js';
import type { PspError } from '../../shared/errors.js';
import { monotonicMs } from '../../shared/process/clock.js';
import { LineGate } from '../../shared/process/line_gate.js';
import type { Logger } from '../../shared/process/log.js';
import { type Link, LinkRecorder } from '../core/link.js';
import type { Rules } from '../core/rules.js';
import type { LinkListener } from './peer_client.js';

/** A link as it was last reported. */
interface Reported {
  recorder: LinkRecorder;
  link: Link;
  reason: PspError | undefined;
}

export class LinkReport implements LinkListener {
  readonly #gate = new LineGate();
  readonly #links = new Map<string, Reported>();

  constructor(
    private readonly rules: Rules,
    private readonly audit: AuditRecorder,
    private readonly log: Logger,
  ) {}

  linkChanged(peer: string, link: Link, reason: PspError | undefined): void {
    const recorder = this.#links.get(peer)?.recorder ?? new LinkRecorder(monotonicMs());
    this.#links.set(peer, { recorder, link, reason });
    this.#record(peer);
    const suppressed = this.#gate.pass(`${peer}|${link.state}`, monotonicMs());
    if (suppressed === undefined) return;
    const more = suppressed > 0 ? { suppressed } : {};
    if (link.state === 'connected') this.log.info({ peer, ...more }, 'peer connected');
    else this.log.warn({ peer, code: reason?.code, err: reason?.message, ...more }, 'peer not connected');
  }

  /** The peer was removed. */
  removed(peer: string): void {
    this.#links.delete(peer);
    this.#gate.forget(`${peer}|`);
  }

  /** To be called once a second: records changes that had to wait. */
  tick(): void {
    for (const peer of this.#links.keys()) this.#record(peer);
  }

  #record(peer: string): void {
    const { recorder, link, reason } = this.#links.get(peer) as Reported;
    const changes = recorder.due(link.state, monotonicMs());
    if (changes === undefined) return;
    const endpoint = this.rules.peers.get(peer)?.endpoint ?? '';
    if (link.state === 'connected') this.audit.record('peer.up', { peer, endpoint, changes });
    else {
      const { code = 'PEER_DOWN', message: detail = '' } = reason ?? {};
      this.audit.record('peer.down', { peer, endpoint, code, detail, changes });
    }
  }
}
