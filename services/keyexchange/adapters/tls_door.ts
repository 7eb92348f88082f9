// SPDX-License-Identifier: Apache-2.0
// Where connections of peers arrive: the listening socket and TLS in front of gRPC. Only a connection whose client
// presented a valid certificate of our authority reaches gRPC; every other one is closed before a single octet behind
// its handshake is read, and the reason is reported. Which peer it is, and what it may do, is not decided here.
import { constants } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { parseEndpoint } from '../../shared/address.js';
import { soleIdentityOf } from '../../shared/config/identity.js';
import type { NodeCertificate } from '../../shared/config/node_certificate.js';
import { PspError } from '../../shared/errors.js';
import { alertOf, peerAt } from '../core/handshake.js';
import { peerFault } from './peer_credentials.js';

/** A client that is slower has no use for its connection. */
const handshakeTimeoutMs = 10_000;

export interface Visitors {
  /** A connection with a valid client certificate. */
  onPeer(socket: TLSSocket): void;
  /** The name of the peer that an identity belongs to. */
  nameOf(identity: string): string | undefined;
  /** @param peer whose certificate it was, where our authority issued it; the client may still be anybody. */
  onRefused(error: PspError, peer: string | undefined): void;
}

export class TlsDoor {
  readonly #server: Server;

  constructor(
    private readonly certificate: NodeCertificate,
    private readonly visitors: Visitors,
  ) {
    const { ca, certificate: cert, privateKey: key } = certificate.pem;
    this.#server = createServer({
      ca,
      cert,
      key,
      minVersion: 'TLSv1.3',
      requestCert: true,
      // Judged in #admit, where the certificate is still there to be named.
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      handshakeTimeout: handshakeTimeoutMs,
      // A resumed session would skip the verification of the certificate.
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
    this.#server.on('secureConnection', (socket) => this.#admit(socket));
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      const refused = alertOf(peerAt(socket.remoteAddress), error.code);
      if (refused !== undefined) this.visitors.onRefused(refused, undefined);
    });
  }

  /** @returns the port. @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE. */
  listen(address: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error) => reject(listenError(address, error));
      this.#server.once('error', failed);
      this.#server.listen(parseEndpoint(address), () => {
        this.#server.off('error', failed);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  /** Accepts no more connections; those that were passed on stay. */
  close(): void {
    this.#server.close();
  }

  #admit(socket: TLSSocket): void {
    // gRPC sees the end of the connection; a client that rejects our certificate may say so only now.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const refused = alertOf(peerAt(socket.remoteAddress), error.code);
      if (refused !== undefined) this.visitors.onRefused(refused, undefined);
    });
    if (socket.authorized) {
      this.visitors.onPeer(socket);
      return;
    }
    const der = socket.getPeerX509Certificate()?.raw;
    const identity = der && this.certificate.hasIssued(der) ? soleIdentityOf(der) : undefined;
    const peer = identity === undefined ? undefined : this.visitors.nameOf(identity);
    const fault = peerFault(socket, peer ?? peerAt(socket.remoteAddress), 'clientAuth');
    socket.destroy();
    if (fault !== undefined) this.visitors.onRefused(fault, peer);
  }
}

function listenError(address: string, cause: Error): PspError {
  const detail = (cause as NodeJS.ErrnoException).code ?? cause.message;
  const data = { address, key: 'keyExchange.listen', detail };
  return new PspError(detail === 'EADDRINUSE' ? 'ADDRESS_TAKEN' : 'ADDRESS_UNUSABLE', data, { cause });
}
