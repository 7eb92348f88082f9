// SPDX-License-Identifier: Apache-2.0
// TLS credentials for one peer: version 1.3 only, a certificate on each side, and the peer is identified by its
// certificate, not by its address. gRPC reports a failed connection only as text, so the error itself is kept here. Node's
// own verification does not end the connection, because the peer's certificate would not be available then: a connection
// is used only after `peerFault` has found no fault.
import type { X509Certificate } from 'node:crypto';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { ChannelCredentials } from '@grpc/grpc-js';
import { clockFault, linkedChain } from '../../shared/certificates/chain.js';
import { soleIdentityOf } from '../../shared/certificates/identity.js';
import type { Trust } from '../../shared/certificates/trust.js';
import type { PspError } from '../../shared/errors.js';
import { monotonicMs, unixMs } from '../../shared/process/clock.js';
import {
  alertOf,
  certificateInvalid,
  certificateMissing,
  certificateOfOther,
  certificateWithdrawn,
  type Usage,
} from '../core/handshake.js';
import type { ConnectionAge } from '../core/renewal.js';
import type { Peer } from '../core/rules.js';
import type { CertificateFiles } from './certificate_files.js';
import { EstablishedCertificate } from './established_certificate.js';

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/**
 * The fault of the other end's certificate, whatever its identity; undefined for a valid one. Call it before data is read.
 * @param certificate of `socket`. Read it once: Node takes the first certificate out of the chain of a server.
 */
export function peerFault(
  socket: TLSSocket,
  certificate: X509Certificate | undefined,
  about: { peer: string; usage: Usage; trust: Trust },
): PspError | undefined {
  const { peer, usage, trust } = about;
  if (certificate === undefined) return certificateMissing(peer);
  if (!socket.authorized) {
    const code = String(socket.authorizationError ?? 'unverified');
    return certificateInvalid(peer, code, usage, clockFault(certificate, unixMs()));
  }
  const fault = trust.faultOf(linkedChain(certificate), unixMs());
  return fault && certificateWithdrawn(peer, fault);
}

/** A certificate that the peer presented. */
export interface Presented {
  certificate: X509Certificate;
  /** Unix milliseconds. */
  atMs: number;
}

export class PeerCredentials extends ChannelCredentials {
  #failure: PspError | undefined;
  #ended: string | undefined;
  #established: EstablishedCertificate | undefined;
  #age: ConnectionAge | undefined;
  #presented: Presented | undefined;

  constructor(
    private readonly peer: Pick<Peer, 'name' | 'identity'>,
    private readonly files: CertificateFiles,
  ) {
    super();
  }

  /** The error of the latest TLS handshake, or of the peer's rejection of our certificate after it, if any. */
  get failure(): PspError | undefined {
    return this.#failure;
  }

  /** The reason for which the latest connection ended; undefined while it is open. */
  get ended(): string | undefined {
    return this.#ended;
  }

  /** The age of the latest connection. */
  get age(): ConnectionAge | undefined {
    return this.#age;
  }

  /** The latest valid certificate of the peer. */
  get presented(): Presented | undefined {
    return this.#presented;
  }

  /** To be called once a second: ends the connection if the peer's certificate is not accepted any more. */
  judge(): void {
    const fault = this.#established?.judge(this.files.certificate.trust);
    if (fault !== undefined) this.#failure = certificateWithdrawn(this.peer.name, fault);
  }

  get isOpen(): boolean {
    return this.#established?.isOpen ?? false;
  }

  /** Ends the connection at once. */
  end(): void {
    this.#established?.end();
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
    const { version } = this.files.version;
    // The server name is the peer's name, because an address is not allowed there (RFC 6066, section 3).
    const secured = tlsConnect({
      socket,
      secureContext: this.files.context,
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
      const certificate = secured.getPeerX509Certificate();
      this.#failure = this.#faultOf(secured, certificate);
      if (this.#failure !== undefined) throw this.#failure;
      this.#establish(secured, certificate as X509Certificate, version);
    } catch (error) {
      secured.destroy();
      throw error;
    }
    secured.once('close', () => {
      this.#ended ??= 'the peer closed the connection';
    });
    return { socket: secured, secure: true };
  }

  #establish(socket: TLSSocket, certificate: X509Certificate, version: number): void {
    const chain = linkedChain(certificate);
    const peerExpiresMs = this.files.certificate.trust.expiryOf(chain);
    this.#established = new EstablishedCertificate(socket, chain);
    this.#age = { sinceMs: monotonicMs(), version, peerExpiresMs };
    this.#presented = { certificate, atMs: unixMs() };
  }

  #faultOf(socket: TLSSocket, certificate: X509Certificate | undefined): PspError | undefined {
    const { name, identity } = this.peer;
    const { trust } = this.files.certificate;
    const fault = peerFault(socket, certificate, { peer: name, usage: 'serverAuth', trust });
    if (fault !== undefined) return fault;
    const theirs = soleIdentityOf(certificate?.raw ?? Buffer.alloc(0));
    return theirs === identity ? undefined : certificateOfOther(name, theirs, identity);
  }
}
