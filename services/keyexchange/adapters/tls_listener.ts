// SPDX-License-Identifier: Apache-2.0
// The listening socket for peers, with TLS in front of gRPC. Only a connection whose client presented a valid certificate of
// our authority reaches gRPC; every other one is closed before any octet after its handshake is read, and the reason is
// reported. The identity of the peer and its rights are not decided here.
import { constants, type X509Certificate } from 'node:crypto';
import type { AddressInfo, Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { parseEndpoint } from '../../shared/address.js';
import { linkedChain } from '../../shared/certificates/chain.js';
import { soleIdentityOf } from '../../shared/certificates/identity.js';
import { PspError } from '../../shared/errors.js';
import { alertOf, certificateWithdrawn, peerAt } from '../core/handshake.js';
import { OldestYields } from '../core/oldest_yields.js';
import { handshakeMs, handshakesAtOnce, handshakesPerAddress } from '../core/rules.js';
import type { CertificateFiles } from './certificate_files.js';
import { EstablishedCertificate } from './established_certificate.js';
import { peerFault } from './peer_credentials.js';

export interface TlsClients {
  /** A connection with a valid client certificate. */
  onPeer(socket: TLSSocket, certificate: X509Certificate): void;
  /** The peer with this identity. */
  nameOf(identity: string): string | undefined;
  /** @param peer named by a certificate of our authority; the client has not proved to own it. */
  onRefused(error: PspError, peer: string | undefined): void;
  /** A connection without a complete handshake was closed because there were too many. */
  onHandshakeEvicted(): void;
}

export class TlsListener {
  readonly #server: Server;
  readonly #ofAddress = new OldestYields<Socket>(handshakesPerAddress);
  readonly #ofAll = new OldestYields<Socket>(handshakesAtOnce);

  readonly #established = new Map<
    TLSSocket,
    { certificate: X509Certificate; judged: EstablishedCertificate }
  >();

  constructor(
    private readonly files: CertificateFiles,
    private readonly clients: TlsClients,
  ) {
    this.#server = createServer({
      ...this.#options,
      requestCert: true,
      // #admit verifies it, where the certificate is still available for the report.
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      handshakeTimeout: handshakeMs,
    });
    files.onChange(() => this.#server.setSecureContext(this.#options));
    this.#server.on('connection', (socket) => this.#handshakeBegins(socket));
    this.#server.on('secureConnection', (socket) => {
      this.#handshakeEnded(socket);
      this.#admit(socket);
    });
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      const refused = alertOf(peerAt(socket.remoteAddress), error.code);
      if (refused !== undefined) this.clients.onRefused(refused, undefined);
    });
  }

  /** @returns the port. @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE. */
  listen(address: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error) => reject(listenError(address, 'keyExchange.listen', error));
      this.#server.once('error', failed);
      this.#server.listen(parseEndpoint(address), () => {
        this.#server.off('error', failed);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  /** Accepts no more connections; those that were passed on stay open. */
  close(): void {
    this.#server.close();
  }

  /** To be called once a second: ends connections whose client's certificate is not accepted any more. */
  judge(): void {
    for (const [socket, { certificate, judged }] of this.#established) {
      const fault = judged.judge(this.files.certificate.trust);
      if (fault === undefined) continue;
      const peer = this.#peerOf(certificate);
      this.clients.onRefused(certificateWithdrawn(peer ?? peerAt(socket.remoteAddress), fault), peer);
    }
  }

  /** A resumed session would skip the verification of the certificate, so no tickets are given. */
  get #options() {
    return { ...this.files.tlsOptions, secureOptions: constants.SSL_OP_NO_TICKET };
  }

  #handshakeBegins(socket: Socket): void {
    const { remoteAddress = '', remotePort } = socket;
    const id = `${remoteAddress}|${remotePort}`;
    socket.once('close', () => this.#handshakeEnded({ remoteAddress, remotePort }));
    const yields = [this.#ofAddress.add(remoteAddress, id, socket), this.#ofAll.add('', id, socket)];
    for (const oldest of yields) {
      if (oldest === undefined) continue;
      this.clients.onHandshakeEvicted();
      oldest.destroy();
    }
  }

  #handshakeEnded({ remoteAddress = '', remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): void {
    const id = `${remoteAddress}|${remotePort}`;
    this.#ofAddress.remove(remoteAddress, id);
    this.#ofAll.remove('', id);
  }

  #admit(socket: TLSSocket): void {
    // gRPC handles the end of the connection. A client that rejects our certificate may send its alert only now.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const refused = alertOf(peerAt(socket.remoteAddress), error.code);
      if (refused !== undefined) this.clients.onRefused(refused, undefined);
    });
    const certificate = socket.getPeerX509Certificate();
    const peer = certificate && this.#peerOf(certificate);
    const fault = peerFault(socket, certificate, {
      peer: peer ?? peerAt(socket.remoteAddress),
      usage: 'clientAuth',
      trust: this.files.certificate.trust,
    });
    if (fault !== undefined || certificate === undefined) {
      socket.destroy();
      if (fault !== undefined) this.clients.onRefused(fault, peer);
      return;
    }
    const judged = new EstablishedCertificate(socket, linkedChain(certificate));
    this.#established.set(socket, { certificate, judged });
    socket.once('close', () => this.#established.delete(socket));
    this.clients.onPeer(socket, certificate);
  }

  /** The peer that a certificate of our authority names. */
  #peerOf(certificate: X509Certificate): string | undefined {
    if (this.files.certificate.trust.pathOf(linkedChain(certificate)).anchor === undefined) return undefined;
    const identity = soleIdentityOf(certificate.raw);
    return identity === undefined ? undefined : this.clients.nameOf(identity);
  }
}

/** @param key of the node file that has the address. */
export function listenError(address: string, key: string, cause: Error): PspError {
  const detail = (cause as NodeJS.ErrnoException).code ?? cause.message;
  const data = { address, key, detail };
  return new PspError(detail === 'EADDRINUSE' ? 'ADDRESS_TAKEN' : 'ADDRESS_UNUSABLE', data, { cause });
}
