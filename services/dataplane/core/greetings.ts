// SPDX-License-Identifier: Apache-2.0
// When this gateway greets its peers. A greeting states our epoch, so that a peer that has keys of an earlier start
// requests new ones. Each peer is greeted once the bus is connected, every second until it answers, or until its
// application turns out not to know greetings. Later a peer is greeted when packets under unknown SPIs arrive from its
// address: at most once a second, and the greeting names up to 64 of these SPIs. Anybody can send packets with a forged
// source, so nothing else follows from such packets. Where the address belongs to no peer for certain, all peers that
// may have it are greeted, but at most `guessesAtOnce` peers in a second, chosen at random.
import type { PeerAddresses } from './peer_addresses.js';

/** Time between two greetings of one peer. */
const repeatMs = 1000;
/** Unknown SPIs in one greeting. */
export const spisPerGreeting = 64;
/** Peers that are greeted within `repeatMs` because they may have an address. */
export const guessesAtOnce = 16;

export interface Greeting {
  peer: number;
  /** SPIs under which packets arrived from the peer's address and which are not valid here. */
  spis: readonly number[];
}

/** A packet with an SPI that is not valid here. */
export interface UnknownSpi {
  /** Its outer source address, 32 hex digits. */
  source: string;
  spi: number;
}

/**
 * unanswered: the peer may not have received our epoch yet; unsupported: its application does not know greetings.
 */
export type GreetingState = 'unanswered' | 'answered' | 'unsupported';

interface Peer {
  state: GreetingState;
  greetedMs: number;
  readonly spis: Set<number>;
}

export class Greetings {
  readonly #peers = new Map<number, Peer>();
  #connected = false;
  /** No greeting is due before this time. */
  #nextMs = Number.NEGATIVE_INFINITY;
  #guessingMs = Number.NEGATIVE_INFINITY;
  #guesses = 0;

  constructor(
    peers: Iterable<number>,
    private readonly addresses: PeerAddresses,
    private readonly random: () => number,
  ) {
    for (const peer of peers) this.#add(peer);
  }

  /** The peers that are greeted. */
  peers(): Iterable<number> {
    return this.#peers.keys();
  }

  /** The peers changed. @param added peers with new numbers. */
  reconfigured(peers: { has(peer: number): boolean }, added: ReadonlySet<number>): void {
    for (const peer of this.#peers.keys()) if (!peers.has(peer)) this.#peers.delete(peer);
    for (const peer of added) this.#add(peer);
    this.#nextMs = Number.NEGATIVE_INFINITY;
  }

  stateOf(peer: number): GreetingState | undefined {
    return this.#peers.get(peer)?.state;
  }

  /** Without the bus no greeting is sent; once it returns, peers that did not answer are greeted at once. */
  busChanged(connected: boolean): void {
    this.#connected = connected;
    this.#nextMs = Number.NEGATIVE_INFINITY;
    for (const peer of this.#peers.values()) {
      peer.spis.clear();
      if (peer.state === 'unanswered') peer.greetedMs = Number.NEGATIVE_INFINITY;
    }
  }

  /** The peer answered a greeting, or used an epoch and therefore knows greetings. */
  answered(peer: number): void {
    this.#set(peer, 'answered');
  }

  /** The peer's application does not know greetings, so it receives none until it uses an epoch. */
  unsupported(peer: number): void {
    this.#set(peer, 'unsupported');
    this.#peers.get(peer)?.spis.clear();
  }

  /** The peer used an epoch: if its application did not know greetings before, it does now. */
  usedEpoch(peer: number): void {
    if (this.#peers.get(peer)?.state === 'unsupported') this.#set(peer, 'unanswered');
  }

  /** Packets with unknown SPIs arrived. */
  unknownSpis(packets: readonly UnknownSpi[], nowMs: number): void {
    if (!this.#connected) return;
    const bySource = new Map<string, number[]>();
    for (const { source, spi } of packets) {
      const spis = bySource.get(source);
      if (spis === undefined) bySource.set(source, [spi]);
      else spis.push(spi);
    }
    for (const [source, spis] of bySource) {
      const { peers, isCertain } = this.addresses.sendersAt(source);
      for (const peer of isCertain ? peers : this.#shuffled(peers)) this.#name(peer, spis, isCertain, nowMs);
    }
  }

  /** The greetings that are due. */
  due(nowMs: number): Greeting[] {
    if (!this.#connected || nowMs < this.#nextMs) return [];
    this.#nextMs = Number.POSITIVE_INFINITY;
    return Array.from(this.#peers).flatMap(([peer, each]) => {
      if (each.state !== 'unanswered' && each.spis.size === 0) return [];
      const isDue = nowMs >= each.greetedMs + repeatMs;
      const spis = [...each.spis];
      if (isDue) {
        each.greetedMs = nowMs;
        each.spis.clear();
      }
      this.#nextMs = Math.min(this.#nextMs, each.greetedMs + repeatMs);
      return isDue ? [{ peer, spis }] : [];
    });
  }

  /** The next greeting of a peer names these SPIs, as far as there is space. */
  #name(peer: number, spis: readonly number[], isCertain: boolean, nowMs: number): void {
    const named = this.#peers.get(peer);
    if (named === undefined || named.state === 'unsupported') return;
    if (!isCertain && named.spis.size === 0 && !this.#mayGuess(nowMs)) return;
    for (const spi of spis) if (named.spis.size < spisPerGreeting) named.spis.add(spi);
    this.#nextMs = Math.min(this.#nextMs, named.greetedMs + repeatMs);
  }

  #add(peer: number): void {
    this.#peers.set(peer, {
      state: 'unanswered',
      greetedMs: Number.NEGATIVE_INFINITY,
      spis: new Set<number>(),
    });
  }

  #mayGuess(nowMs: number): boolean {
    if (nowMs >= this.#guessingMs + repeatMs) {
      this.#guessingMs = nowMs;
      this.#guesses = 0;
    }
    return ++this.#guesses <= guessesAtOnce;
  }

  #set(peer: number, state: GreetingState): void {
    const known = this.#peers.get(peer);
    if (known === undefined || known.state === state) return;
    known.state = state;
    this.#nextMs = Number.NEGATIVE_INFINITY;
  }

  /** Fisher and Yates. */
  #shuffled(peers: readonly number[]): number[] {
    const result = [...peers];
    for (let i = result.length - 1; i > 0; i--) {
      const j = Math.floor(this.random() * (i + 1));
      [result[i], result[j]] = [result[j] as number, result[i] as number];
    }
    return result;
  }
}
