// SPDX-License-Identifier: Apache-2.0
// TLS credentials for one peer: version 1.3 only, a certificate on each side, and the peer is identified by its
// certificate, not by its address. gRPC reports a failed connection only as text, so the error itself is kept here. Node's
// own verification does not end the connection, because the peer's certificate would not be available then: a connection
// is used only after `peerFault` has found no fault.
import { createSecureContext, type SecureContext, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { ChannelCredentials } from '@grpc/grpc-js';
import { soleIdentityOf } from '../../shared/config/identity.js';
import { clockFault, type NodeCertificate } from '../../shared/config/node_certificate.js';
import type { PspError } from '../../shared/errors.js';
import { unixMs } from '../../shared/process/clock.js';
import {
  alertOf,
  certificateInvalid,
  certificateMissing,
  certificateOfOther,
  type Usage,
} from '../core/handshake.js';
import type { Peer } from '../core/rules.js';

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/** The TLS context that client and server have in common. */
const secureContextOf = ({ pem }: NodeCertificate): SecureContext =>
  createSecureContext({ ca: pem.ca, cert: pem.certificate, key: pem.privateKey, minVersion: 'TLSv1.3' });

/** The fault of the other end's certificate, whatever its identity; undefined for a valid one. Call it before data is read. */
export function peerFault(socket: TLSSocket, peer: string, usage: Usage): PspError | undefined {
  if (socket.authorized) return undefined;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return certificateMissing(peer);
  const code = String(socket.authorizationError ?? 'unverified');
  return certificateInvalid(peer, code, usage, clockFault(certificate, unixMs()));
}

export class PeerCredentials extends ChannelCredentials {
  readonly #context: SecureContext;
  #failure: PspError | undefined;
  #ended: string | undefined;

  constructor(
    private readonly peer: Pick<Peer, 'name' | 'identity'>,
    certificate: NodeCertificate,
  ) {
    super();
    this.#context = secureContextOf(certificate);
  }

  /** The error of the latest TLS handshake, or of the peer's rejection of our certificate after it, if any. */
  get failure(): PspError | undefined {
    return this.#failure;
  }

  /** The reason for which the latest connection ended; undefined while it is open. */
  get ended(): string | undefined {
    return this.#ended;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(...context: Parameters<ChannelCredentials['_createSecureConnector']>) {
    const calls = ChannelCredentials.createInsecure()._createSecureConnector(...context);
    return { ...calls, connect: (socket) => this.#secure(socket) } satisfies SecureConnector;
  }

  async #secure(socket: Parameters<SecureConnector['connect']>[0]) {
    this.#failure = undefined;
    this.#ended = undefined;
    // The server name is the peer's name, because an address is not allowed there (RFC 6066, section 3).
    const secured = tlsConnect({
      socket,
      secureContext: this.#context,
      servername: this.peer.name,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    try {
      await new Promise<void>((resolve, reject) => {
        secured.once('secureConnect', resolve);
        secured.once('close', () =>
          reject(new Error('the peer closed the connection during the TLS handshake')),
        );
        secured.on('error', (error: NodeJS.ErrnoException) => {
          this.#failure ??= alertOf(this.peer.name, error.code);
          this.#ended ??= error.code ?? error.message;
          reject(this.#failure ?? error);
        });
      });
      this.#failure = this.#faultOf(secured);
      if (this.#failure !== undefined) throw this.#failure;
    } catch (error) {
      secured.destroy();
      throw error;
    }
    secured.once('close', () => {
      this.#ended ??= 'the peer closed the connection';
    });
    return { socket: secured, secure: true };
  }

  #faultOf(socket: TLSSocket): PspError | undefined {
    const { name, identity } = this.peer;
    const fault = peerFault(socket, name, 'serverAuth');
    if (fault !== undefined) return fault;
    const theirs = soleIdentityOf(socket.getPeerX509Certificate()?.raw ?? Buffer.alloc(0));
    return theirs === identity ? undefined : certificateOfOther(name, theirs, identity);
  }
}
