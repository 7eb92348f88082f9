// SPDX-License-Identifier: Apache-2.0
// The listening socket without TLS, for peers with insecureReferenceInterop. NVIDIA's DOCA PSP Gateway has no TLS, so the
// source address of a connection is all that identifies such a peer: a connection from any other address is closed before
// an octet of it is read. Whoever can send from the peer's address, or read the network between, has the keys.
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { parseEndpoint } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { canonicalSource } from '../core/sources.js';
import { listenError } from './tls_listener.js';

export interface PlaintextClients {
  /** The peer that is known by this source address. */
  nameAt(address: string): string | undefined;
  onPeer(socket: Socket, peer: string): void;
  onRefused(error: PspError): void;
}

export class PlaintextListener {
  readonly #server: Server;

  constructor(private readonly clients: PlaintextClients) {
    this.#server = createServer((socket) => this.#admit(socket));
  }

  /** @returns the port. @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE. */
  listen(address: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error) =>
        reject(listenError(address, 'keyExchange.insecureReferenceListen', error));
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

  #admit(socket: Socket): void {
    socket.on('error', () => undefined);
    const address = canonicalSource(socket.remoteAddress ?? '');
    const peer = address === undefined ? undefined : this.clients.nameAt(address);
    if (peer !== undefined) {
      this.clients.onPeer(socket, peer);
      return;
    }
    socket.destroy();
    this.clients.onRefused(new PspError('SOURCE_NOT_ALLOWED', { address: address ?? 'an unknown address' }));
  }
}
