// SPDX-License-Identifier: Apache-2.0
// Greetings end to end: those of our dataplane are sent to their peer, and the dataplane receives the answer; those of
// peers are sent to our dataplane, whose epoch is the answer. A greeting without an answer is only counted, because the
// dataplane repeats it and the state of the link to the peer is reported anyway.
import type { PeerGreet } from '../../../proto/gen/bus.js';
import type { GreetRequest, GreetResponse } from '../../../proto/gen/psp_peer.js';
import { PspError } from '../../shared/errors.js';
import { monotonicNs } from '../../shared/process/clock.js';
import { checkGreeting, greetMs, isFreshGreeting } from '../core/greeting.js';
import { type Peer, shortestCommandMs } from '../core/rules.js';
import type { DataplaneClient } from './dataplane_client.js';
import type { PeerClient } from './peer_client.js';
import type { Report } from './report.js';

export class Greeter {
  readonly #running = new Set<Promise<void>>();
  #stopped = false;

  constructor(
    private readonly dataplane: Pick<DataplaneClient, 'onGreet' | 'greeted' | 'greetingAnswered'>,
    private readonly clients: ReadonlyMap<string, PeerClient>,
    private readonly report: Pick<Report, 'tally' | 'epochUsed'>,
    private readonly epochSeen: (epoch: bigint) => void,
  ) {}

  /** Receives greetings of our dataplane from now on. */
  start(): void {
    this.dataplane.onGreet((greet) => {
      const client = this.clients.get(greet.peer);
      if (this.#stopped || client === undefined || !isFreshGreeting(greet, monotonicNs())) return;
      const running = this.#send(greet, client).finally(() => this.#running.delete(running));
      this.#running.add(running);
    });
  }

  /** Sends no more greetings; resolves when those in progress have ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  /** A peer greeted us. @throws PspError REQUEST_INVALID, or that the dataplane cannot be reached. */
  async answer(peer: Peer, request: GreetRequest, endpoint: string): Promise<GreetResponse> {
    checkGreeting(request);
    this.report.tally.count('greetingsReceived');
    this.report.epochUsed(peer.name, request.epoch, endpoint);
    const epoch = await this.dataplane.greeted(peer.name, request, shortestCommandMs);
    this.epochSeen(epoch);
    return { epoch };
  }

  async #send(greet: PeerGreet, client: PeerClient): Promise<void> {
    const { tally } = this.report;
    tally.count('greetings');
    try {
      const { epoch, unknownSpis } = greet;
      const answer = await client.greet({ epoch, unknownSpis }, greetMs);
      if (answer === undefined) tally.count('greetingsUnsupported');
      else {
        tally.count('greetingsAnswered');
        this.report.epochUsed(greet.peer, answer.epoch, client.endpoint);
      }
      await this.dataplane.greetingAnswered(greet, answer?.epoch, shortestCommandMs);
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      tally.count('greetingsFailed');
    }
  }
}
