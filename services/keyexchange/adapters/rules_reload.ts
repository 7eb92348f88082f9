// SPDX-License-Identifier: Apache-2.0
// Applies a changed node file to the running key exchange. From then on requests of peers are judged by the new rules, and
// so are the answers to our own. A peer that is removed loses its channel, its connections and everything that was noted
// about it; one whose endpoint, identity or TLS changes gets a new channel. Requests in progress end as they began.
import type { NodeConfig } from '../../shared/config/config.js';
import type { Reloading } from '../../shared/service/config_reloads.js';
import type { Peer, Rules } from '../core/rules.js';
import type { CertificateFiles } from './certificate_files.js';
import type { LinkReport } from './link_report.js';
import { PeerClient } from './peer_client.js';
import type { PeerServer } from './peer_server.js';
import type { Report } from './report.js';

/** What a reload changes. */
export interface Reloaded {
  /** Replaced in place, because every part has them. */
  rules: Rules;
  clients: Map<string, PeerClient>;
  files: CertificateFiles;
  links: LinkReport;
  report: Report;
  server: PeerServer;
}

/** The part of a node file that a reload applies. */
export interface ReloadedConfig {
  rules: Rules;
  /** host:port of the listener without TLS; undefined unless a peer needs it. */
  insecureListen: string | undefined;
}

export class RulesReload implements Reloading {
  /** @param insecureListen of the listener without TLS that is open. @param read reads a node file. */
  constructor(
    private readonly parts: Reloaded,
    private insecureListen: string | undefined,
    private readonly read: (node: NodeConfig) => ReloadedConfig,
  ) {}

  /** @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE; then nothing changed. */
  async apply(node: NodeConfig): Promise<void> {
    const { rules, server, report } = this.parts;
    const { rules: next, insecureListen: listen } = this.read(node);
    if (listen !== undefined && this.insecureListen === undefined) await server.listenInPlaintext(listen);
    if (listen === undefined && this.insecureListen !== undefined) server.endPlaintext();
    this.insecureListen = listen;

    const before = rules.peers;
    const areLimitsNew = JSON.stringify(rules.limits) !== JSON.stringify(next.limits);
    Object.assign(rules, next);
    server.knows(rules);
    if (areLimitsNew) server.limitBy(rules.limits);
    for (const old of before.values()) {
      const now = rules.peers.get(old.name);
      if (now === undefined || !isReachedAlike(old, now)) this.#disconnect(old.name);
      if (now === undefined) this.#forget(old.name);
      else if (old.insecure !== now.insecure) server.removed(old.name);
    }
    for (const peer of rules.peers.values()) {
      if (!before.has(peer.name)) report.added(peer.name);
      if (!this.parts.clients.has(peer.name)) this.#connect(peer);
    }
  }

  #connect(peer: Peer): void {
    const client = new PeerClient(peer, this.parts.files, this.parts.links);
    this.parts.clients.set(peer.name, client);
    client.connect();
  }

  #disconnect(peer: string): void {
    this.parts.clients.get(peer)?.close();
    this.parts.clients.delete(peer);
  }

  #forget(peer: string): void {
    this.parts.server.removed(peer);
    this.parts.links.removed(peer);
    this.parts.report.removed(peer);
  }
}

const isReachedAlike = (one: Peer, other: Peer): boolean =>
  one.endpoint === other.endpoint && one.identity === other.identity && one.insecure === other.insecure;
