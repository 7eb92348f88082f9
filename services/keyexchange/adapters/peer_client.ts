// SPDX-License-Identifier: Apache-2.0
// The gRPC client of one peer: a channel, a deadline for each call, a circuit breaker. A call is made once and never
// repeated here; the dataplane repeats its wants. The channel is kept connected without calls, so that it is ready for the
// first packet, and an idle peer can be distinguished from one that is down. A peer that has not answered for a while is
// probed by a call, because servers treat HTTP/2 pings without calls as abuse (gRFC A8) and answer any call. A channel
// whose call ended without any answer, or that cannot be connected, is replaced, at most every few seconds, because gRPC
// and the kernel back off ever longer from an address that does not answer. A connected one is replaced before it is ten minutes
// old (core/renewal.ts).
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { MultiTunnelRequest, MultiTunnelResponse } from '../../../proto/gen/psp_gateway.js';
import { type GreetRequest, type GreetResponse, PeerServiceService } from '../../../proto/gen/psp_peer.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs } from '../../shared/process/clock.js';
import { closedAfterHandshake } from '../core/handshake.js';
import type { Link } from '../core/link.js';
import { errorOf, isOrderly, retryMsOf, retryTrailer } from '../core/outcome.js';
import { idleMs, type Peer, probeMs } from '../core/rules.js';
import { Breaker } from './breaker.js';
import type { CertificateFiles } from './certificate_files.js';
import { ChannelRenewal } from './channel_renewal.js';
import { PeerChannel } from './peer_channel.js';
import type { Presented } from './peer_credentials.js';
import { PeerLink } from './peer_link.js';
import { peerProtocol, wipeRequest, wipeResponse } from './peer_protocol.js';

const replaceAfterMs = 2000;
const replaceUnconnectedMs = 5000;
const { path, requestSerialize, responseDeserialize } = peerProtocol.requestMultipleTunnelParams;
const greeting = PeerServiceService.greet;

/** gRPC's health check (grpc.health.v1) about the server as a whole: the request has no octets. */
const healthCheck = '/grpc.health.v1.Health/Check';
const octets = (message: Buffer): Buffer => message;

/** gRPC's text for a connection that ended before HTTP/2 began on it: the only text that ends with a time. */
const endedBeforeHttp2 = /\(\d{4}-\d\d-\d\dT[\d:.]+Z\)/;

/** Receives changes of the link to a peer. */
export interface LinkListener {
  /** @param reason of a failure. */
  linkChanged(peer: string, link: Link, reason: PspError | undefined): void;
}

export class PeerClient {
  readonly #breaker: Breaker;
  readonly #link = new PeerLink((before) => this.#changed(before));
  readonly #renewal: ChannelRenewal;
  /** Connected from `connect` on. */
  #channel: PeerChannel;
  #channelSinceMs = monotonicMs();
  #lastAnswerMs = 0;
  #isProbing = false;
  #isClosed = false;
  /** The reason for which the channel is being replaced. */
  #replaceReason: PspError | undefined;
  #reason: PspError | undefined;
  #reported: Link | undefined;

  constructor(
    private readonly peer: Peer,
    private readonly files: CertificateFiles,
    private readonly listener: LinkListener,
  ) {
    this.#breaker = new Breaker(peer.name);
    this.#renewal = new ChannelRenewal(peer, files);
    this.#channel = this.#newChannel();
  }

  /** Connects the channel, and keeps it connected from then on. */
  connect(): void {
    this.#channelSinceMs = monotonicMs();
    this.#link.follow(this.#channel.getChannel());
  }

  get endpoint(): string {
    return this.peer.endpoint;
  }

  get link(): Link {
    return this.#link.state;
  }

  /** The reason for which there is no connection, if it is known. */
  get reason(): PspError | undefined {
    return this.#reason;
  }

  get breakerState(): string {
    return this.#breaker.state;
  }

  /** The latest valid certificate of the peer as a server. */
  get presented(): Presented | undefined {
    return this.#channel.credentials.presented;
  }

  /** To be called once a second: keeps the channel connected, follows its state, and renews its connection in time. */
  tend(): void {
    this.#renew();
    this.#link.look();
    const nowMs = monotonicMs();
    const isConnected = this.link.state === 'connected';
    if (!isConnected && nowMs - this.#channelSinceMs > replaceUnconnectedMs) {
      if (this.#link.isConnecting) this.#setReason(this.#down(`no answer within ${replaceUnconnectedMs} ms`));
      this.#replace();
    } else if (!isConnected || nowMs - this.#lastAnswerMs > idleMs) this.#probe();
  }

  /**
   * Sends a request once. Its keys are wiped. An error of `read` counts as a failure of the peer.
   * @param read translates the answer; the answer's keys stay valid until the promise of `request` is settled.
   * @throws PspError PEER_REFUSED or MODE_MISMATCH, PEER_LIMITS_RATE with the time `ms` until it accepts requests, or one of the unknown outcomes: PEER_DOWN, PEER_CERTIFICATE_INVALID,
   * CERTIFICATE_REFUSED, PEER_TIMEOUT, RESPONSE_INVALID, BREAKER_OPEN.
   */
  async request<T>(
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

  /**
   * Sends a greeting once, as soon as there is a connection. Its failure says nothing about key exchange, so the breaker
   * does not count it.
   * @returns undefined if the peer's application does not know greetings. @throws PspError otherwise as `request`.
   */
  greet(request: GreetRequest, timeoutMs: number): Promise<GreetResponse | undefined> {
    const metadata = new Metadata({ waitForReady: true });
    const deadline = Date.now() + timeoutMs;
    return new Promise((resolve, reject) => {
      const settle = (error: ServiceError | null, response?: GreetResponse) => {
        const isUnsupported = error?.code === status.UNIMPLEMENTED;
        if (isUnsupported || (error === null && response !== undefined)) {
          this.#lastAnswerMs = monotonicMs();
          resolve(isUnsupported ? undefined : response);
        } else reject(this.#failureOf(error, timeoutMs));
      };
      const { path, requestSerialize, responseDeserialize } = greeting;
      this.#channel.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        { deadline },
        settle,
      );
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#breaker.close();
    this.#link.close();
    this.#renewal.close();
    this.#channel.close();
  }

  #newChannel(): PeerChannel {
    return new PeerChannel(this.peer, this.files);
  }

  #renew(): void {
    const channel = this.#renewal.tend(this.#channel);
    if (channel !== this.#channel) {
      this.#channel = channel;
      this.connect();
    } else if (this.link.state === 'connected' && this.#renewal.isTooOld(channel)) {
      this.#replaceBecause(this.#renewal.failure ?? this.#down('its connection could not be renewed'));
    }
  }

  #call(request: MultiTunnelRequest, timeoutMs: number): Promise<MultiTunnelResponse> {
    // A call does not wait for gRPC's next attempt; the breaker limits how often.
    if (this.#link.isResting) this.#replace();
    const startMs = monotonicMs();
    return new Promise((resolve, reject) => {
      const settle = (error: ServiceError | null, response?: MultiTunnelResponse) => {
        if (error === null && response !== undefined) {
          this.#lastAnswerMs = monotonicMs();
          resolve(response);
          return;
        }
        const failure = this.#failureOf(error, timeoutMs);
        if (isOrderly(failure.code)) this.#lastAnswerMs = monotonicMs();
        if (failure.code === 'PEER_TIMEOUT') this.#replaceIfSilent(startMs, failure);
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

  /** Checks whether the peer answers, or why there is no connection. Any answer is a good one. */
  #probe(): void {
    if (this.#isProbing) return;
    this.#isProbing = true;
    const channel = this.#channel;
    const settle = (error: ServiceError | null) => {
      this.#isProbing = false;
      if (channel !== this.#channel || this.#isClosed) return;
      const failure = error === null ? undefined : this.#failureOf(error, probeMs);
      if (this.link.state === 'connected') {
        if (failure?.code === 'PEER_TIMEOUT') this.#replaceBecause(failure);
        else this.#lastAnswerMs = monotonicMs();
      } else if (failure !== undefined && !isOrderly(failure.code)) this.#setReason(failure);
    };
    const deadline = Date.now() + probeMs;
    channel.makeUnaryRequest(healthCheck, octets, octets, Buffer.alloc(0), { deadline }, settle);
  }

  #failureOf(error: ServiceError | null, timeoutMs: number): PspError {
    const { code = status.UNKNOWN, details = '' } = error ?? {};
    const { name } = this.peer;
    const retryMs = retryMsOf(error?.metadata?.get(retryTrailer)[0]?.toString());
    const failure = errorOf(status[code], details, name, timeoutMs, retryMs);
    if (failure.code !== 'PEER_DOWN') return failure;
    const { failure: ofTls } = this.#channel.credentials;
    if (endedBeforeHttp2.test(details)) {
      if (this.peer.insecure) return this.#down('it closed the connection at once; it may require TLS');
      return ofTls ?? closedAfterHandshake(name);
    }
    return ofTls !== undefined && details.includes(ofTls.message) ? ofTls : failure;
  }

  #changed(before: Link): void {
    const { state } = this.link;
    if (state === 'connected') {
      this.#lastAnswerMs = monotonicMs();
      this.#reason = undefined;
      this.#report();
    } else if (before.state === 'connected') {
      this.#setReason(
        this.#replaceReason ??
          this.#down(this.#channel.credentials.ended ?? 'the peer closed the connection'),
      );
    } else if (this.#reason !== undefined) this.#report();
  }

  #setReason(reason: PspError): void {
    this.#reason = reason;
    if (this.link.state === 'failed') this.#report();
  }

  #report(): void {
    if (this.#reported === this.link || this.#isClosed) return;
    this.#reported = this.link;
    this.listener.linkChanged(this.peer.name, this.link, this.#reason);
  }

  #down(detail: string): PspError {
    return new PspError('PEER_DOWN', { peer: this.peer.name, detail });
  }

  #replaceIfSilent(sinceMs: number, failure: PspError): void {
    if (this.#lastAnswerMs >= sinceMs || monotonicMs() - this.#channelSinceMs < replaceAfterMs) return;
    this.#replaceBecause(failure);
  }

  #replaceBecause(reason: PspError): void {
    this.#replaceReason = reason;
    this.#replace();
    this.#replaceReason = undefined;
  }

  #replace(): void {
    const old = this.#channel;
    this.#channel = this.#newChannel();
    this.connect();
    old.close();
  }
}
