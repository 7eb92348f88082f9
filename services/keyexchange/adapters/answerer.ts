// SPDX-License-Identifier: Apache-2.0
// The server way, end to end: a request of an authenticated peer is checked whole, handed to the dataplane and
// answered with its offers. After a time-out an accept is never sent again, because it may have been done.
// STALE proves that nothing was done: the same flows and keys go once more, sealed anew. Nothing is begun for a
// peer that has stopped waiting.
import type { MultiTunnelRequest, MultiTunnelResponse } from '../../../proto/gen/psp_gateway.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs } from '../../shared/process/clock.js';
import { acceptanceOf, responseOf } from '../core/acceptance.js';
import { longestCommandMs, type Peer, type Rules } from '../core/rules.js';
import type { Tally } from '../core/tally.js';
import type { DataplaneClient } from './dataplane_client.js';
import { InFlight } from './in_flight.js';

/** The call that a request came in. */
export interface Call {
  /** What is left of it on arrival; Infinity for a peer that set no deadline. */
  timeoutMs: number;
  /** The peer gave up, or its connection is gone. */
  isCancelled(): boolean;
}

export class Answerer {
  readonly #inFlight = new InFlight();

  constructor(
    private readonly rules: Rules,
    private readonly dataplane: Pick<DataplaneClient, 'accept'>,
    private readonly tally: Tally,
  ) {}

  /**
   * @returns keys of its own, wiped when it is sent.
   * @throws PspError whose gRPC status the peer is told; OVERLOADED when the call is over before its turn comes.
   */
  answer(peer: Peer, request: MultiTunnelRequest, call: Call): Promise<MultiTunnelResponse> {
    const endMs = monotonicMs() + call.timeoutMs;
    const leftMs = () => {
      const left = endMs - monotonicMs();
      if (left <= 0 || call.isCancelled()) throw new PspError('OVERLOADED');
      return Math.min(longestCommandMs, left);
    };
    return this.#inFlight.run(peer.name, request.tunnels.length, async () => {
      leftMs();
      const acceptance = acceptanceOf(request, peer, this.rules);
      let accepted = await this.dataplane.accept(peer.name, acceptance, leftMs());
      if (accepted.stale) {
        this.tally.count('requestsResent');
        accepted = await this.dataplane.accept(peer.name, acceptance, leftMs());
      }
      if (accepted.stale) throw new PspError('STALE', { epoch: accepted.epoch });
      return responseOf(request.requestId, accepted.epoch, accepted.offers, accepted.keys);
    });
  }
}
