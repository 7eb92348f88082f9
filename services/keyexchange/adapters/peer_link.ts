// SPDX-License-Identifier: Apache-2.0
// Keeps the channel to one peer connected without calls, and follows its state. A change is noticed when it happens and
// reported once; `look` once a second keeps gRPC from leaving an unused channel idle. Calls and the circuit breaker are
// not affected.
import { type Client, connectivityState } from '@grpc/grpc-js';
import { moment } from '../../shared/process/clock.js';
import { type ChannelState, type Link, linkAfter, newLink } from '../core/link.js';

type Channel = ReturnType<Client['getChannel']>;

const stateNames: Partial<Record<connectivityState, ChannelState>> = {
  [connectivityState.IDLE]: 'idle',
  [connectivityState.CONNECTING]: 'connecting',
  [connectivityState.READY]: 'ready',
  [connectivityState.TRANSIENT_FAILURE]: 'failed',
};

export class PeerLink {
  #link: Link = newLink(moment());
  #channel: Channel | undefined;

  constructor(private readonly onChange: (before: Link) => void) {}

  /** Follows this channel of the peer from now on, and no earlier one. */
  follow(channel: Channel): void {
    this.#channel = channel;
    this.look();
    this.#watch(channel);
  }

  get state(): Link {
    return this.#link;
  }

  /** Whether the channel backs off after a failed attempt, so that a call would fail without a new one. */
  get isResting(): boolean {
    return this.#channel?.getConnectivityState(false) === connectivityState.TRANSIENT_FAILURE;
  }

  /** Whether an attempt to connect is under way. */
  get isConnecting(): boolean {
    return this.#channel?.getConnectivityState(false) === connectivityState.CONNECTING;
  }

  /** Requests a connection, and notes the state of the channel. */
  look(): void {
    const state = stateNames[this.#channel?.getConnectivityState(true) ?? connectivityState.SHUTDOWN];
    if (state === undefined) return;
    const before = this.#link;
    this.#link = linkAfter(before, state, moment());
    if (this.#link !== before) this.onChange(before);
  }

  close(): void {
    this.#channel = undefined;
  }

  #watch(channel: Channel): void {
    const current = channel.getConnectivityState(false);
    if (current === connectivityState.SHUTDOWN) return;
    channel.watchConnectivityState(current, Number.POSITIVE_INFINITY, () => {
      if (channel !== this.#channel) return;
      this.look();
      this.#watch(channel);
    });
  }
}
