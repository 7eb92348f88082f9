// SPDX-License-Identifier: Apache-2.0
// The gRPC server for peers. Over TLS a caller is identified by its client certificate alone, which tls_listener.ts has
// verified: its only URI names a configured peer, or the call ends with PEER_UNKNOWN. Without TLS it is identified by its
// source address alone, which plaintext_listener.ts has verified. No peer is known in both ways. Errors become gRPC statuses here, and are reported
// here, once.
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type StatusObject,
  type sendUnaryData,
} from '@grpc/grpc-js';
import type {
  KeyRotationRequest,
  KeyRotationResponse,
  MultiTunnelRequest,
  MultiTunnelResponse,
} from '../../../proto/gen/psp_gateway.js';
import { type GreetRequest, type GreetResponse, PeerServiceService } from '../../../proto/gen/psp_peer.js';
import { soleIdentityOf } from '../../shared/certificates/identity.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs, monotonicNs } from '../../shared/process/clock.js';
import { foreignText, retryTrailer } from '../core/outcome.js';
import { readAddress } from '../core/parameters.js';
import { RequestLimits } from '../core/request_limits.js';
import {
  atOnce,
  type IdentityLimits,
  type Peer,
  type Rules,
  serverAgeMs,
  serverGraceMs,
} from '../core/rules.js';
import { canonicalSource, peersByIdentity, peersBySource } from '../core/sources.js';
import type { Answerer, Call } from './answerer.js';
import type { CertificateFiles } from './certificate_files.js';
import type { Connections } from './connections.js';
import type { Greeter } from './greeter.js';
import { grpcStatusOf } from './grpc_status.js';
import { maxMessageLength, peerProtocol, wipeRequest } from './peer_protocol.js';
import { PlaintextListener } from './plaintext_listener.js';
import type { Refusals } from './refusals.js';
import type { Report } from './report.js';
import { TlsListener } from './tls_listener.js';

const certificatesRemembered = 1024;

const serverOptions = {
  'grpc.max_receive_message_length': maxMessageLength,
  'grpc.max_concurrent_streams': 2 * atOnce,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.max_connection_age_ms': serverAgeMs,
  'grpc.max_connection_age_grace_ms': serverGraceMs,
};

type ConnectionInjector = ReturnType<Server['createConnectionInjector']>;
type Identified = Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext' | 'getPeer'>;

export class PeerServer {
  readonly #server: Server;
  /** Connections are verified before they are injected. */
  readonly #injector: ConnectionInjector;
  #listener: TlsListener | undefined;
  #plaintextListener: PlaintextListener | undefined;
  #byIdentity: ReadonlyMap<string, Peer> = new Map();
  #bySource: ReadonlyMap<string, Peer> = new Map();
  /** Identities by the fingerprint of the certificate, so that each is parsed once. */
  readonly #identities = new Map<string, string | undefined>();
  readonly #limits: RequestLimits;

  constructor(
    rules: Rules,
    private readonly answerer: Pick<Answerer, 'answer' | 'rotate'>,
    private readonly greeter: Pick<Greeter, 'answer'>,
    private readonly connections: Connections,
    private readonly report: Report,
    private readonly refusals: Pick<Refusals, 'given'>,
  ) {
    this.#server = new Server({ ...serverOptions, interceptors: [connections.interceptor] });
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#limits = new RequestLimits(rules.limits);
    this.knows(rules);
    this.#server.addService(peerProtocol, {
      requestMultipleTunnelParams: (
        call: ServerUnaryCall<MultiTunnelRequest, MultiTunnelResponse>,
        callback: sendUnaryData<MultiTunnelResponse>,
      ) => void this.#exchange(call, callback),
      requestKeyRotation: (
        call: ServerUnaryCall<KeyRotationRequest, KeyRotationResponse>,
        callback: sendUnaryData<KeyRotationResponse>,
      ) => void this.#rotate(call, callback),
    });
    this.#server.addService(PeerServiceService, {
      greet: (call: ServerUnaryCall<GreetRequest, GreetResponse>, callback: sendUnaryData<GreetResponse>) =>
        void this.#greet(call, callback),
    });
  }

  /** @returns the port. @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE. */
  listen(listen: string, files: CertificateFiles): Promise<number> {
    this.#listener = new TlsListener(files, {
      onPeer: (socket, certificate) => {
        const peer = this.#byIdentity.get(soleIdentityOf(certificate.raw) ?? '');
        if (peer) this.report.handshakeAccepted(peer.name, certificate);
        this.connections.opened(socket, peer?.name);
        this.#injector.injectConnection(socket);
      },
      nameOf: (identity) => this.#byIdentity.get(identity)?.name,
      onRefused: (error, peer) => {
        this.report.handshakeRefused(error, peer);
        this.refusals.given(error, peer);
      },
      onHandshakeEvicted: () => this.report.tally.count('handshakesEvicted'),
    });
    return this.#listener.listen(listen);
  }

  /** Listens without TLS as well. @returns the port. @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE. */
  listenInPlaintext(listen: string): Promise<number> {
    this.#plaintextListener = new PlaintextListener({
      nameAt: (address) => this.#bySource.get(address)?.name,
      onPeer: (socket, peer) => {
        this.connections.opened(socket, peer);
        this.#injector.injectConnection(socket);
      },
      onRefused: (error) => {
        this.report.failure(error, { ms: 0 });
        this.refusals.given(error, undefined);
      },
    });
    return this.#plaintextListener.listen(listen);
  }

  /** Peers are identified by these rules from the next request on. */
  knows({ peers }: Pick<Rules, 'peers'>): void {
    this.#byIdentity = peersByIdentity(peers.values());
    this.#bySource = peersBySource(peers.values());
  }

  /** The limits of requests and connections apply from now on. */
  limitBy(limits: IdentityLimits): void {
    this.#limits.replace(limits);
    this.connections.limit = limits.connections;
  }

  /** The peer was removed, or is identified in another way: its connections end. */
  removed(peer: string): void {
    this.#limits.forget(peer);
    this.connections.end(peer);
  }

  /** Closes the listener without TLS; connections stay open. */
  endPlaintext(): void {
    this.#plaintextListener?.close();
    this.#plaintextListener = undefined;
  }

  /** To be called once a second: ends connections whose client's certificate is not accepted any more. */
  judge(): void {
    this.#listener?.judge();
  }

  /** Accepts no more calls; those in progress may end until the deadline, then they are aborted. */
  async stop(deadlineMs: number): Promise<void> {
    this.#listener?.close();
    this.#plaintextListener?.close();
    const cut = setTimeout(() => this.#server.forceShutdown(), deadlineMs);
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    clearTimeout(cut);
  }

  async #exchange(
    call: ServerUnaryCall<MultiTunnelRequest, MultiTunnelResponse>,
    callback: sendUnaryData<MultiTunnelResponse>,
  ): Promise<void> {
    const startNs = monotonicNs();
    let peer: Peer | undefined;
    this.report.tally.count('requests');
    try {
      peer = this.#peerOf(call);
      this.#limits.admit(peer?.name, call.request.tunnels.length, monotonicMs());
      if (peer === undefined) throw this.#unknown(call);
      const { epoch } = call.request;
      const shared = epoch && this.report.epochUsed(peer.name, epoch, call.getPeer());
      if (shared) this.refusals.given(shared, peer.name);
      const response = await this.answerer.answer(peer, call.request, callOf(call));
      this.report.tally.count('requestsAnswered');
      this.report.tally.answer.took(Number(monotonicNs() - startNs) / 1e9);
      callback(null, response);
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      this.report.failure(error, {
        peer: peer?.name,
        ...flowFields(call.request),
        ms: Math.round(Number(monotonicNs() - startNs) / 1e6),
      });
      if (peer !== undefined) this.report.refusedTo(peer.name, error);
      this.refusals.given(error, peer?.name);
      callback(statusOf(error));
    } finally {
      wipeRequest(call.request);
    }
  }

  async #rotate(
    call: ServerUnaryCall<KeyRotationRequest, KeyRotationResponse>,
    callback: sendUnaryData<KeyRotationResponse>,
  ): Promise<void> {
    const startMs = monotonicMs();
    let peer: Peer | undefined;
    this.report.tally.count('rotationRequests');
    try {
      peer = this.#peerOf(call);
      this.#limits.admit(peer?.name, 0, monotonicMs());
      if (peer === undefined) throw this.#unknown(call);
      callback(null, await this.answerer.rotate(peer, call.request, callOf(call)));
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      this.report.failure(error, { peer: peer?.name, ms: Math.round(monotonicMs() - startMs) });
      this.refusals.given(error, peer?.name);
      callback(statusOf(error));
    }
  }

  async #greet(
    call: ServerUnaryCall<GreetRequest, GreetResponse>,
    callback: sendUnaryData<GreetResponse>,
  ): Promise<void> {
    let peer: Peer | undefined;
    try {
      peer = this.#peerOf(call);
      this.#limits.admit(peer?.name, 0, monotonicMs());
      if (peer === undefined) throw this.#unknown(call);
      callback(null, await this.greeter.answer(peer, call.request, call.getPeer()));
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      // While our dataplane cannot be reached the peer repeats its greeting each second, so this is no failure.
      if (!isUnreached(error)) {
        this.report.failure(error, { peer: peer?.name, ms: 0 });
        this.refusals.given(error, peer?.name);
      }
      callback(statusOf(error));
    }
  }

  #peerOf(call: Identified): Peer | undefined {
    if (call.getAuthContext().transportSecurityType !== 'ssl') {
      return this.#bySource.get(canonicalSource(call.getPeer().replace(/:\d+$/, '')) ?? '');
    }
    return this.#byIdentity.get(this.#identityOf(call) ?? '');
  }

  #unknown(call: Identified): PspError {
    const identity = this.#identityOf(call);
    return new PspError('PEER_UNKNOWN', {
      identity: identity === undefined ? 'without exactly one URI' : foreignText(identity),
    });
  }

  #identityOf(call: Identified): string | undefined {
    const certificate = call.getAuthContext().sslPeerCertificate;
    if (certificate === undefined) return undefined;
    const { fingerprint256: fingerprint, raw: der } = certificate;
    if (!this.#identities.has(fingerprint)) {
      if (this.#identities.size >= certificatesRemembered) this.#identities.clear();
      this.#identities.set(fingerprint, soleIdentityOf(der));
    }
    return this.#identities.get(fingerprint);
  }
}

const callOf = (call: Pick<ServerUnaryCall<unknown, unknown>, 'getDeadline' | 'on'>): Call => ({
  timeoutMs: Number(call.getDeadline()) - Date.now(),
  onCancelled: (listener) => call.on('cancelled', listener),
});

/** Our dataplane did not receive what a peer sent, or did not answer in time. */
const isUnreached = ({ code }: PspError): boolean => code === 'SERVICE_DOWN' || code === 'SERVICE_TIMEOUT';

function statusOf({ code, message, data }: PspError): Partial<StatusObject> {
  const metadata = new Metadata();
  if (code === 'RATE_LIMITED') metadata.set(retryTrailer, String(data.ms));
  return { code: grpcStatusOf(code), details: `${code}: ${message}`, metadata };
}

/** Log fields of a request that was not checked yet. */
function flowFields({ tunnels }: MultiTunnelRequest): { flow: string } | { count: number } {
  const [only] = tunnels;
  const named = tunnels.length === 1 && only && readAddress(only.virtSrcIp) && readAddress(only.virtDstIp);
  return named ? { flow: `${only.virtSrcIp} -> ${only.virtDstIp}` } : { count: tunnels.length };
}
