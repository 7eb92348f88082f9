// SPDX-License-Identifier: Apache-2.0
// The state of the channel to a peer, as operators mean it: "connected"; "failed" from the moment it broke or
// could not be made until it is connected again, however often it is tried meanwhile; "connecting" only before
// the first outcome, and not for long: an address that swallows packets is a failure too. Changes are recorded for
// auditors, but a link that flaps cannot fill the audit.
import type { Moment } from '../../shared/moment.js';
import { TokenBucket } from './token_bucket.js';

export type LinkState = 'connected' | 'connecting' | 'failed';

/** What the channel says of itself. */
export type ChannelState = 'idle' | 'connecting' | 'ready' | 'failed';

/** A first attempt that takes longer than this has failed. */
export const patienceMs = 3000;

export interface Link {
  readonly state: LinkState;
  readonly since: Moment;
}

export const newLink = (now: Moment): Link => ({ state: 'connecting', since: now });

/** @returns the same link where nothing changed. */
export function linkAfter(link: Link, channel: ChannelState, now: Moment): Link {
  const state = stateAfter(link, channel, now.monotonicMs);
  return state === link.state ? link : { state, since: now };
}

function stateAfter({ state, since }: Link, channel: ChannelState, nowMs: number): LinkState {
  if (channel === 'ready') return 'connected';
  if (channel === 'failed' || state === 'connected') return 'failed';
  return state === 'connecting' && nowMs - since.monotonicMs > patienceMs ? 'failed' : state;
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
   * Call it at each change, and from time to time for a change that had to wait.
   * @returns how often the link changed since the last record, when the state is to be recorded now.
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
