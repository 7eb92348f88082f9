// SPDX-License-Identifier: Apache-2.0
// The state of the channel to a peer in an operator's terms: "connected"; "failed" from the moment at which it broke or
// could not be established until it is connected again, however many attempts follow; "connecting" only before the first
// result, and for a limited time, because an address that drops packets is a failure, too. Changes are recorded in the
// audit, but a flapping link cannot fill it.
import type { Moment } from '../../shared/moment.js';
import { TokenBucket } from '../../shared/rate/token_bucket.js';

export type LinkState = 'connected' | 'connecting' | 'failed';

/** The state of the channel as gRPC reports it. */
export type ChannelState = 'idle' | 'connecting' | 'ready' | 'failed';

/** A first attempt that takes longer than this has failed. */
export const connectTimeoutMs = 3000;

export interface Link {
  readonly state: LinkState;
  readonly since: Moment;
}

export const newLink = (now: Moment): Link => ({ state: 'connecting', since: now });

/** @returns the same link if nothing changed. */
export function linkAfter(link: Link, channel: ChannelState, now: Moment): Link {
  const state = stateAfter(link, channel, now.monotonicMs);
  return state === link.state ? link : { state, since: now };
}

function stateAfter({ state, since }: Link, channel: ChannelState, nowMs: number): LinkState {
  if (channel === 'ready') return 'connected';
  if (channel === 'failed' || state === 'connected') return 'failed';
  return state === 'connecting' && nowMs - since.monotonicMs > connectTimeoutMs ? 'failed' : state;
}

/** Which changes of one link are recorded. */
export class LinkRecorder {
  readonly #bucket: TokenBucket;
  #recorded: LinkState = 'connecting';
  #seen: LinkState = 'connecting';
  #changes = 0;

  constructor(nowMs: number) {
    this.#bucket = new TokenBucket(nowMs);
  }

  /**
   * Call it at each change, and once a second for a change that had to wait.
   * @returns the number of changes since the last record, if the state is to be recorded now.
   */
  due(state: LinkState, nowMs: number): number | undefined {
    if (state !== this.#seen) this.#changes++;
    this.#seen = state;
    if (state === this.#recorded || !this.#bucket.take(nowMs)) return undefined;
    const changes = this.#changes;
    this.#recorded = state;
    this.#changes = 0;
    return changes;
  }
}
