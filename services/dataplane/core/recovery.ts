// SPDX-License-Identifier: Apache-2.0
// How tunnels form again after a restart of this gateway or of a peer: greetings are sent and received, the epoch of each
// peer is followed, and the flows whose keys a peer lacks are renewed. See greetings.ts, peer_epochs.ts and
// peer_addresses.ts.
import type { EgressKeys } from './egress_keys.js';
import type { Exchanges } from './exchanges.js';
import { type Action, audit, type EgressKey } from './facts.js';
import { type GreetingState, Greetings, spisPerGreeting, type UnknownSpi } from './greetings.js';
import { PeerAddresses, type PeerNetworks } from './peer_addresses.js';
import { PeerEpochs } from './peer_epochs.js';
import type { Wants } from './wants.js';

/** What operators can observe of it. */
interface Counters {
  greetingsSent: number;
  greetingsReceived: number;
  peerRestarts: number;
  unknownSpisReported: number;
  unknownSpisRenewed: number;
}

export class Recovery {
  readonly #addresses: PeerAddresses;
  readonly #greetings: Greetings;
  readonly #epochs = new PeerEpochs();

  /** @param peers by their numbers. @param random uniform in [0, 1). */
  constructor(
    peers: ReadonlyMap<number, PeerNetworks>,
    random: () => number,
    private readonly keys: EgressKeys,
    private readonly wants: Wants,
    private readonly exchanges: Exchanges,
    private readonly counters: Counters,
  ) {
    this.#addresses = new PeerAddresses(peers);
    this.#greetings = new Greetings(peers.keys(), this.#addresses, random);
  }

  /** The epoch of a peer that was seen last; undefined when none was. */
  epochOf(peer: number): bigint | undefined {
    return this.#epochs.of(peer);
  }

  /** Whether a peer has answered our greeting. */
  greetingOf(peer: number): GreetingState | undefined {
    return this.#greetings.stateOf(peer);
  }

  /** The peers changed: those with new numbers are greeted, and those that are not there any more are forgotten. */
  reconfigured(peers: ReadonlyMap<number, PeerNetworks>, added: ReadonlySet<number>): void {
    for (const peer of this.#greetings.peers()) {
      if (!peers.has(peer) || added.has(peer)) this.#epochs.forget(peer);
    }
    this.#addresses.reconfigured(peers, added);
    this.#greetings.reconfigured(peers, added);
  }

  busChanged(connected: boolean): void {
    this.#greetings.busChanged(connected);
  }

  /** Packets with SPIs arrived that are not valid here. */
  unknownSpis(packets: readonly UnknownSpi[], nowMs: number): void {
    this.#greetings.unknownSpis(packets, nowMs);
  }

  /** A peer greeted us. SPIs that it names count only where one is the key that we use towards that peer now. */
  greeted(peer: number, epoch: bigint, spis: readonly number[], nowMs: number): void {
    this.counters.greetingsReceived++;
    this.#epochSeen(peer, epoch);
    if (spis.length === 0 || !this.#epochs.mayName(peer, nowMs)) return;
    for (const spi of spis.slice(0, spisPerGreeting)) {
      const flow = this.keys.flowOf(peer, spi);
      if (flow === undefined) continue;
      this.counters.unknownSpisRenewed++;
      this.wants.renew(flow, peer, nowMs);
    }
  }

  /** A peer answered our greeting. @param epoch undefined if its application does not know greetings. */
  greetingAnswered(peer: number, epoch: bigint | undefined): void {
    if (epoch === undefined) {
      this.#greetings.unsupported(peer);
      return;
    }
    this.#greetings.answered(peer);
    this.#epochs.seen(peer, epoch);
  }

  /** A peer offered keys, all with one address and of one epoch. */
  keysReceived(peer: number, [key]: readonly EgressKey[]): void {
    if (key === undefined) return;
    this.#addresses.learned(peer, key.address);
    this.#epochSeen(peer, key.epoch);
  }

  /** Renews the flows with peers that have a new epoch. @returns that and the greetings that are due. */
  due(nowMs: number): Action[] {
    const actions: Action[] = [];
    for (const { peer, epoch, restarted } of this.#epochs.due(nowMs)) {
      if (restarted) this.exchanges.interrupt(peer);
      this.wants.epochChanged(peer, restarted, nowMs);
      actions.push(...this.#renewAll(peer, epoch, nowMs));
    }
    for (const greeting of this.#greetings.due(nowMs)) {
      this.counters.greetingsSent++;
      this.counters.unknownSpisReported += greeting.spis.length;
      actions.push({ type: 'greet', ...greeting });
    }
    return actions;
  }

  #epochSeen(peer: number, epoch: bigint | undefined): void {
    if (epoch === undefined) return;
    this.#greetings.usedEpoch(peer);
    this.#epochs.seen(peer, epoch);
  }

  /** The peer has a new epoch: it lacks all keys of others, which stay in use until newer ones arrive. */
  #renewAll(peer: number, epoch: bigint, nowMs: number): Action[] {
    const flows = this.keys.ofOtherEpochs(peer, epoch);
    for (const flow of flows) this.wants.renew(flow, peer, nowMs);
    if (flows.length === 0) return [];
    this.counters.peerRestarts++;
    return [audit({ type: 'peerRestarted', peer, epoch, flows: flows.length })];
  }
}
