// SPDX-License-Identifier: Apache-2.0
// The server's side of an exchange, end to end: a request of an authenticated peer is checked as a whole, sent to the
// dataplane as an accept, and answered with the dataplane's offers. After a timeout an accept is never sent again, because
// it may have been carried out. STALE proves that it was not: the same flows and keys are sent once more, sealed anew. No
// work is started for a peer that has stopped waiting.
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
  /** Time left on arrival; Infinity for a peer that set no deadline. */
  timeoutMs: number;
  /** Whether the peer cancelled it, or its connection is gone. */
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
   * @returns the answer with its own copy of the keys, wiped when it is sent.
   * @throws PspError, which the peer receives as a gRPC status; OVERLOADED when the call ends before its turn.
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
