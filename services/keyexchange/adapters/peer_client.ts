// SPDX-License-Identifier: Apache-2.0
// The way to one peer: a channel, a deadline for each call, a breaker. A call is made once and never repeated
// here; the dataplane repeats what it wants. The channel is kept connected without calls, so that the first
// packet finds it ready and an idle peer can be told from one that is down. A channel on which a whole call
// passed without any answer, or that does not come to be, is replaced, at most every few seconds, because gRPC
// and the kernel wait ever longer before they try a silent address again.
import { type ChannelCredentials, Client, type ServiceError, status } from '@grpc/grpc-js';
import type { MultiTunnelRequest, MultiTunnelResponse } from '../../../proto/gen/psp_gateway.js';
import { monotonicMs } from '../../shared/clock.js';
import type { Link } from '../core/link.js';
import { errorOf } from '../core/outcome.js';
import type { Peer } from '../core/rules.js';
import { Breaker } from './breaker.js';
import { PeerLink } from './peer_link.js';
import { maxMessageLength, peerProtocol, wipeRequest, wipeResponse } from './peer_protocol.js';

const channelOptions = {
  'grpc.initial_reconnect_backoff_ms': 500,
  'grpc.max_reconnect_backoff_ms': 1000,
  // A peer that vanished without a word is noticed within both together. A server that finds this too often
  // says so, and gRPC then doubles the interval by itself.
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 5000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': maxMessageLength,
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
};
const replaceAfterMs = 2000;
const replaceUnconnectedMs = 5000;
const { path, requestSerialize, responseDeserialize } = peerProtocol.requestMultipleTunnelParams;

export class PeerClient {
  readonly #breaker: Breaker;
  readonly #link = new PeerLink();
  #channel: Client;
  #channelSinceMs = monotonicMs();
  #heardMs = 0;

  constructor(
    private readonly peer: Peer,
    private readonly credentials: ChannelCredentials,
  ) {
    this.#breaker = new Breaker(peer.name);
    this.#channel = this.#open();
  }

  get link(): Link {
    return this.#link.state;
  }

  get breakerState(): string {
    return this.#breaker.state;
  }

  /** To be called once a second: keeps the channel connected. */
  tend(): void {
    this.#link.look();
    const ageMs = monotonicMs() - this.#channelSinceMs;
    if (this.link.state !== 'connected' && ageMs > replaceUnconnectedMs) this.#replace();
  }

  /**
   * Asks the peer once. The keys of the request are wiped. What `read` throws counts against the peer.
   * @param read translates the answer; its keys stay valid until the promise that it leads to is settled.
   * @throws PspError PEER_REFUSED or MODE_MISMATCH, or one of the unknown outcomes: PEER_DOWN, PEER_TIMEOUT, RESPONSE_INVALID,
   * BREAKER_OPEN.
   */
  async ask<T>(
    request: MultiTunnelRequest,
    timeoutMs: number,
    read: (response: MultiTunnelResponse) => T,
  ): Promise<T> {
    try {
      return await this.#breaker.run(async () => {
        const response = await this.#call(request, timeoutMs);
        try {
          return read(response);
        } catch (error) {
          wipeResponse(response);
          throw error;
        }
      });
    } finally {
      wipeRequest(request);
    }
  }

  close(): void {
    this.#breaker.close();
    this.#link.close();
    this.#channel.close();
  }

  #open(): Client {
    // The name in TLS is the peer's own, because an address may not stand there (RFC 6066).
    const options = { ...channelOptions, 'grpc.ssl_target_name_override': this.peer.name };
    const client = new Client(this.peer.endpoint, this.credentials, options);
    this.#link.follow(client.getChannel());
    return client;
  }

  #call(request: MultiTunnelRequest, timeoutMs: number): Promise<MultiTunnelResponse> {
    // What is wanted does not wait for the next attempt; how often is the breaker's to say.
    if (this.#link.isResting) this.#replace();
    const startMs = monotonicMs();
    return new Promise((resolve, reject) => {
      const settle = (error: ServiceError | null, response?: MultiTunnelResponse) => {
        if (error === null && response !== undefined) {
          this.#heardMs = monotonicMs();
          resolve(response);
          return;
        }
        const code = error?.code ?? status.UNKNOWN;
        const failure = errorOf(status[code], error?.details ?? '', this.peer.name, timeoutMs);
        if (failure.code === 'PEER_REFUSED') this.#heardMs = monotonicMs();
        if (failure.code === 'PEER_TIMEOUT') this.#replaceIfSilent(startMs);
        reject(failure);
      };
      const deadline = Date.now() + timeoutMs;
      this.#channel.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        { deadline },
        settle,
      );
    });
  }

  #replaceIfSilent(sinceMs: number): void {
    if (this.#heardMs >= sinceMs || monotonicMs() - this.#channelSinceMs < replaceAfterMs) return;
    this.#replace();
  }

  #replace(): void {
    const old = this.#channel;
    this.#channelSinceMs = monotonicMs();
    this.#channel = this.#open();
    old.close();
  }
}
