// SPDX-License-Identifier: Apache-2.0
// The core of one replica of keyexchange, connected to the bus and to the peer as its adapters connect it.
import type { MultiTunnelRequest, MultiTunnelResponse } from '../../proto/gen/psp_gateway.js';
import { type Acceptance, acceptanceOf, responseOf } from '../../services/keyexchange/core/acceptance.js';
import { Answering, type AnsweringFact } from '../../services/keyexchange/core/answering.js';
import { greetMs } from '../../services/keyexchange/core/greeting.js';
import { type Egress, egressOf, isFresh, requestOf } from '../../services/keyexchange/core/peer_request.js';
import { Requesting, type RequestingFact } from '../../services/keyexchange/core/requesting.js';
import { shortestCommandMs } from '../../services/keyexchange/core/rules.js';
import { flowKeyOf } from '../../services/shared/address.js';
import { PspError } from '../../services/shared/errors.js';
import {
  type Accepted,
  type Answered,
  type Installed,
  nextMessage,
  peerNumber,
  times,
  type Want,
} from './messages.js';
import type { Node } from './node.js';

/** One start of a replica of keyexchange. */
export class Replica {
  readonly #requesting: Requesting;
  readonly #answering = new Answering();
  #alive = true;
  #last = 0;
  readonly #wants = new Map<number, Want & { egress?: Egress }>();
  readonly #requests = new Map<
    number,
    {
      message: MultiTunnelRequest;
      acceptance?: Acceptance;
      response?: MultiTunnelResponse;
      answer: (answered: Answered) => void;
    }
  >();
  readonly #opened = new Set<number>();

  constructor(private readonly node: Node) {
    this.#requesting = new Requesting(times);
  }

  end(): void {
    this.#alive = false;
  }

  started(epoch: bigint): void {
    this.#answer({ type: 'epoch', epoch });
  }

  wanted(want: Want): void {
    if (!this.#alive || !isFresh(want.message, times, this.node.world.nowNs) || this.#opened.has(want.id))
      return;
    this.#opened.add(want.id);
    this.#answer({ type: 'epoch', epoch: want.message.epoch });
    const id = ++this.#last;
    this.#wants.set(id, want);
    this.#request({
      type: 'wanted',
      id,
      peer: this.node.peer.name,
      tunnels: want.message.flows.length,
      timed: want.message,
    });
  }

  #request(fact: RequestingFact): void {
    if (!this.#alive) return;
    for (const action of this.#requesting.on(fact, this.node.world.nowNs)) {
      const { id } = action;
      const want = this.#wants.get(id) as Want & { egress?: Egress };
      const { message } = want;
      const flows = message.flows.map(flowKeyOf);
      const ended = () => this.#request({ type: 'ended', id });
      switch (action.type) {
        case 'call': {
          const request = requestOf(message, want.keys, this.node.peerRule, BigInt(id));
          if (this.node.plain) request.epoch = undefined;
          this.node.call(request, action.timeoutMs, (result) => {
            if (result === 'timeout') return this.#request({ type: 'failed', id, code: 'PEER_TIMEOUT' });
            if ('error' in result) {
              const { code } = result.error as PspError;
              // SERVICE_DOWN and its like are UNAVAILABLE for the peer: an unknown outcome.
              const refused = code.startsWith('VIP_') || code === 'REQUEST_INVALID' || code === 'TABLE_FULL';
              return this.#request({ type: 'failed', id, code: refused ? 'PEER_REFUSED' : 'PEER_DOWN' });
            }
            want.egress = egressOf(result.response, message, this.node.peerRule, this.node.rules);
            this.#request({ type: 'answered', id });
          });
          break;
        }
        case 'install': {
          const { offers, keys, peerEpoch } = want.egress as Egress;
          const { exchange, epoch } = message;
          const install = { id: nextMessage(), exchange, epoch, flows, egress: offers, keys, peerEpoch };
          this.node.bus.request<Installed>(
            (answer) => this.node.dataplane?.install(install, answer),
            action.timeoutMs,
            ended,
          );
          break;
        }
        case 'refuse':
          this.node.bus.request<void>(
            (answer) => this.node.dataplane?.refuse(message.exchange, message.epoch, flows, () => answer()),
            action.timeoutMs,
            ended,
          );
          break;
        case 'end':
          this.#wants.delete(id);
      }
    }
  }

  /** Sends a greeting of our dataplane to the peer, and the answer to our dataplane. */
  greet(epoch: bigint, spis: readonly number[]): void {
    if (!this.#alive) return;
    const { node } = this;
    node.grpc.request<bigint | undefined>(
      (answer) => node.world.oneOf(node.peer.replicas)?.greeted(epoch, spis, answer),
      greetMs,
      (result) => {
        if (result === 'timeout' || !this.#alive) return;
        node.bus.request<void>(
          (answered) => {
            const { dataplane } = node;
            if (dataplane === undefined || !dataplane.arbiter.isCurrent(epoch)) return;
            dataplane.on({ type: 'greetingAnswered', peer: peerNumber, epoch: result.answer });
            answered();
          },
          shortestCommandMs,
          () => undefined,
        );
      },
    );
  }

  /** A greeting of the peer. */
  greeted(epoch: bigint, spis: readonly number[], answer: (epoch: bigint | undefined) => void): void {
    if (!this.#alive) return;
    if (this.node.plain) {
      answer(undefined);
      return;
    }
    this.node.bus.request<bigint>(
      (greeted) => this.node.dataplane?.greeted(epoch, spis, greeted),
      shortestCommandMs,
      (result) => {
        if (result !== 'timeout') answer(result.answer);
      },
    );
  }

  /** A request of the peer. */
  requested(message: MultiTunnelRequest, timeoutMs: number, answer: (answered: Answered) => void): void {
    if (!this.#alive) return;
    const id = ++this.#last;
    this.#requests.set(id, { message, answer });
    // An application such as NVIDIA's sets no deadline, so we do not know that it has stopped waiting.
    const endMs = this.node.peer.plain ? Number.POSITIVE_INFINITY : this.node.world.nowMs + timeoutMs;
    this.#answer({
      type: 'requested',
      id,
      peer: this.node.peer.name,
      tunnels: message.tunnels.length,
      endMs,
    });
  }

  #answer(fact: AnsweringFact): void {
    if (!this.#alive) return;
    for (const action of this.#answering.on(fact, this.node.world.nowMs)) {
      const { id } = action;
      const request = this.#requests.get(id);
      if (request === undefined) throw new Error(`no request ${id}`);
      switch (action.type) {
        case 'accept':
          this.#accept(action.id, action.epoch, action.timeoutMs);
          break;
        case 'answer':
          this.#requests.delete(id);
          request.answer({ response: request.response as MultiTunnelResponse });
          break;
        case 'fail':
          this.#requests.delete(id);
          request.answer({ error: action.error });
      }
    }
  }

  #accept(id: number, epoch: bigint, timeoutMs: number): void {
    const request = this.#requests.get(id);
    if (request === undefined) throw new Error(`no request ${id}`);
    const { message } = request;
    try {
      request.acceptance ??= acceptanceOf(message, this.node.peerRule, this.node.rules);
    } catch (error) {
      this.#answer({ type: 'failed', id, error: error as Error });
      return;
    }
    const { flows, egress, keys, peerEpoch } = request.acceptance;
    const accept = { id: nextMessage(), epoch, flows: flows.map(flowKeyOf), egress, keys, peerEpoch };
    this.node.bus.request<Accepted>(
      (answer) => this.node.dataplane?.accept(accept, answer),
      timeoutMs,
      (result) => {
        if (result === 'timeout')
          return this.#answer({ type: 'failed', id, error: new PspError('SERVICE_TIMEOUT') });
        const { code, epoch: current, offers, keys: made } = result.answer;
        if (code === 'STALE') return this.#answer({ type: 'stale', id, epoch: current });
        if (code !== '') return this.#answer({ type: 'failed', id, error: new PspError(code as 'REPLAY') });
        request.response = responseOf(message.requestId, current, offers, made);
        if (this.node.plain) request.response.epoch = undefined;
        this.#answer({ type: 'accepted', id, epoch: current });
      },
    );
  }
}
