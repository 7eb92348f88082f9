// SPDX-License-Identifier: Apache-2.0
// Keeps one peer's channel connected though nobody calls, and follows how it stands. A change is seen when it
// happens and reported once; `look` once a second keeps gRPC from letting an unused channel rest. It touches neither
// calls nor the breaker.
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

  /** From now on this is the peer's channel; one followed before is left alone. */
  follow(channel: Channel): void {
    this.#channel = channel;
    this.look();
    this.#watch(channel);
  }

  get state(): Link {
    return this.#link;
  }

  /** Whether the channel rests after an attempt that failed, so that a call would fail without one. */
  get isResting(): boolean {
    return this.#channel?.getConnectivityState(false) === connectivityState.TRANSIENT_FAILURE;
  }

  /** Whether an attempt to connect is under way. */
  get isConnecting(): boolean {
    return this.#channel?.getConnectivityState(false) === connectivityState.CONNECTING;
  }

  /** Asks for a connection, and notes how it stands. */
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
