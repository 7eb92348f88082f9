// SPDX-License-Identifier: Apache-2.0
// The listening socket for peers, with TLS in front of gRPC. Only a connection whose client presented a valid certificate of
// our authority reaches gRPC; every other one is closed before any octet after its handshake is read, and the reason is
// reported. The identity of the peer and its rights are not decided here.
import { constants } from 'node:crypto';
import type { AddressInfo, Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { parseEndpoint } from '../../shared/address.js';
import { soleIdentityOf } from '../../shared/config/identity.js';
import type { NodeCertificate } from '../../shared/config/node_certificate.js';
import { PspError } from '../../shared/errors.js';
import { alertOf, peerAt } from '../core/handshake.js';
import { OldestYields } from '../core/oldest_yields.js';
import { handshakeMs, handshakesAtOnce, handshakesPerAddress } from '../core/rules.js';
import { peerFault } from './peer_credentials.js';

export interface TlsClients {
  /** A connection with a valid client certificate. */
  onPeer(socket: TLSSocket): void;
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

  constructor(
    private readonly certificate: NodeCertificate,
    private readonly clients: TlsClients,
  ) {
    const { ca, certificate: cert, privateKey: key } = certificate.pem;
    this.#server = createServer({
      ca,
      cert,
      key,
      minVersion: 'TLSv1.3',
      requestCert: true,
      // #admit verifies it, where the certificate is still available for the report.
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      handshakeTimeout: handshakeMs,
      // A resumed session would skip the verification of the certificate.
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
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
    if (socket.authorized) {
      this.clients.onPeer(socket);
      return;
    }
    const der = socket.getPeerX509Certificate()?.raw;
    const identity = der && this.certificate.hasIssued(der) ? soleIdentityOf(der) : undefined;
    const peer = identity === undefined ? undefined : this.clients.nameOf(identity);
    const fault = peerFault(socket, peer ?? peerAt(socket.remoteAddress), 'clientAuth');
    socket.destroy();
    if (fault !== undefined) this.clients.onRefused(fault, peer);
  }
}

/** @param key of the node file that has the address. */
export function listenError(address: string, key: string, cause: Error): PspError {
  const detail = (cause as NodeJS.ErrnoException).code ?? cause.message;
  const data = { address, key, detail };
  return new PspError(detail === 'EADDRINUSE' ? 'ADDRESS_TAKEN' : 'ADDRESS_UNUSABLE', data, { cause });
}
