// SPDX-License-Identifier: Apache-2.0
// The server's side of an exchange: carries out what core/answering.ts decides. A request of an authenticated peer is
// checked as a whole, sent to the dataplane as an accept, and answered with the dataplane's offers.
import type {
  KeyRotationRequest,
  KeyRotationResponse,
  MultiTunnelRequest,
  MultiTunnelResponse,
} from '../../../proto/gen/psp_gateway.js';
import { flowKeyOf } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs, monotonicNs } from '../../shared/process/clock.js';
import type { ExchangeTrace, FlowTraces } from '../../shared/service/flow_traces.js';
import { type Acceptance, acceptanceOf, responseOf } from '../core/acceptance.js';
import { Answering, type AnsweringAction, type AnsweringFact } from '../core/answering.js';
import { longestCommandMs, type Peer, type Rules } from '../core/rules.js';
import type { Tally } from '../core/tally.js';
import type { DataplaneClient } from './dataplane_client.js';

/** The call that a request came in. */
export interface Call {
  /** Time left on arrival; Infinity for a peer that set no deadline. */
  timeoutMs: number;
  /** Reports that the peer cancelled it, or that its connection is gone. */
  onCancelled(listener: () => void): void;
}

interface Request {
  peer: Peer;
  message: MultiTunnelRequest;
  acceptance: Acceptance | undefined;
  answer: MultiTunnelResponse | undefined;
  receivedNs: bigint;
  trace: ExchangeTrace | undefined;
  resolve(response: MultiTunnelResponse): void;
  reject(error: Error): void;
}

export class Answerer {
  readonly #core = new Answering();
  readonly #requests = new Map<number, Request>();
  #lastRequest = 0;

  constructor(
    private readonly rules: Rules,
    private readonly dataplane: Pick<DataplaneClient, 'accept' | 'rotate'>,
    private readonly tally: Tally,
    private readonly traces: FlowTraces,
  ) {}

  /** The dataplane announced its epoch. */
  epochSeen(epoch: bigint): void {
    this.#on({ type: 'epoch', epoch });
  }

  /**
   * @returns the answer with its own copy of the keys, wiped when it is sent.
   * @throws PspError, which the peer receives as a gRPC status; OVERLOADED when the call ends before its turn.
   */
  answer(peer: Peer, message: MultiTunnelRequest, call: Call): Promise<MultiTunnelResponse> {
    const id = ++this.#lastRequest;
    return new Promise((resolve, reject) => {
      const request: Request = {
        ...{ peer, message, acceptance: undefined, answer: undefined, resolve, reject },
        ...{ receivedNs: monotonicNs(), trace: undefined },
      };
      this.#requests.set(id, request);
      call.onCancelled(() => this.#on({ type: 'cancelled', id }));
      const endMs = monotonicMs() + call.timeoutMs;
      this.#on({ type: 'requested', id, peer: peer.name, tunnels: message.tunnels.length, endMs });
    });
  }

  /**
   * A peer requests a rotation of our master key. A rotation always makes new offers for all flows, so
   * `issue_new_keys` changes nothing: without new offers the next rotation would end the keys in use.
   * @throws PspError ROTATION_NOT_ALLOWED, or as DataplaneClient.rotate.
   */
  async rotate(peer: Peer, { requestId }: KeyRotationRequest, call: Call): Promise<KeyRotationResponse> {
    if (!peer.mayRotate) throw new PspError('ROTATION_NOT_ALLOWED', { peer: peer.name });
    await this.dataplane.rotate(peer.name, Math.max(1, Math.min(longestCommandMs, call.timeoutMs)));
    return { requestId };
  }

  #on(fact: AnsweringFact): void {
    for (const action of this.#core.on(fact, monotonicMs())) this.#perform(action);
  }

  #perform(action: AnsweringAction): void {
    const request = this.#requests.get(action.id) as Request;
    if (action.type === 'accept') {
      if (action.again) this.tally.count('requestsResent');
      void this.#accept(action, request).then((fact) => this.#on(fact));
      return;
    }
    this.#requests.delete(action.id);
    if (action.type === 'fail') request.reject(action.error);
    else {
      request.trace?.mark('responseSent', monotonicNs());
      request.resolve(request.answer as MultiTunnelResponse);
    }
  }

  #traced({ peer, receivedNs }: Request, { flows }: Acceptance, epoch: bigint): ExchangeTrace {
    const trace = this.traces.begin({ epoch, exchange: 0n, peer: peer.name }, flows, flowKeyOf);
    trace.mark('requestReceived', receivedNs);
    return trace;
  }

  async #accept(
    { id, epoch, timeoutMs }: Extract<AnsweringAction, { type: 'accept' }>,
    request: Request,
  ): Promise<AnsweringFact> {
    const { peer, message } = request;
    try {
      request.acceptance ??= acceptanceOf(message, peer, this.rules);
      request.trace ??= this.#traced(request, request.acceptance, epoch);
      request.trace.mark('acceptSent', monotonicNs());
      const accepted = await this.dataplane.accept(peer.name, epoch, request.acceptance, timeoutMs);
      if (accepted.stale) return { type: 'stale', id, epoch: accepted.epoch };
      const { offers, keys } = accepted;
      request.trace.mark('acceptAnswered', monotonicNs());
      request.answer = responseOf(message.requestId, accepted.epoch, offers, keys);
      return { type: 'accepted', id, epoch: accepted.epoch };
    } catch (error) {
      return { type: 'failed', id, error: error as Error };
    }
  }
}
