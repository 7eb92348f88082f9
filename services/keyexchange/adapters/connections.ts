// SPDX-License-Identifier: Apache-2.0
// The open connections of each identity, which are limited, and the time that a request may take to arrive. gRPC keeps
// the part of a request that has arrived for as long as the client likes, also after the call has ended, so a client that
// does not finish a request in time loses the connection. One identity can so occupy `connections` times 128 calls times
// the longest message, for at most `arrivalMs`.
import type { Socket } from 'node:net';
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { OldestYields } from '../core/oldest_yields.js';
import { arrivalMs } from '../core/rules.js';
import type { CounterName } from '../core/tally.js';

interface ConnectionInfo {
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
  localPort?: number | undefined;
}

/** All clients that are no configured peer. */
const unidentified = '';

/** Of a socket, and of gRPC's description of a connection. */
const idOf = ({ remoteAddress, remotePort, localPort }: ConnectionInfo): string =>
  `${remoteAddress}|${remotePort}|${localPort}`;

export class Connections {
  readonly #open: OldestYields<Socket>;
  /** Sockets of all identities by id. */
  readonly #sockets = new Map<string, Socket>();

  constructor(
    limit: number,
    private readonly count: (name: CounterName) => void,
  ) {
    this.#open = new OldestYields(limit);
  }

  /** A connection of a configured peer, or of a client that is none. The oldest one is closed if there are too many. */
  opened(socket: Socket, peer: string = unidentified): void {
    const id = idOf(socket);
    const yields = this.#open.add(peer, id, socket);
    this.#sockets.set(id, socket);
    socket.once('close', () => {
      this.#open.remove(peer, id);
      this.#sockets.delete(id);
    });
    if (yields === undefined) return;
    this.count('connectionsEvicted');
    yields.destroy();
  }

  /** Another limit, for connections that are opened from now on. */
  set limit(limit: number) {
    this.#open.limit = limit;
  }

  /** The peer was removed: its connections end. */
  end(peer: string): void {
    for (const socket of this.#open.of(peer)) socket.destroy();
  }

  /** Open connections of a peer. */
  countOf(peer: string): number {
    return this.#open.count(peer);
  }

  /** Ends the connection of a request that does not arrive in time. */
  readonly interceptor: ServerInterceptor = (_method, call) =>
    new ServerInterceptingCall(call, {
      start: (next) => {
        const timer = setTimeout(() => {
          this.count('requestsCut');
          this.#sockets.get(idOf(call.getConnectionInfo()))?.destroy();
        }, arrivalMs);
        const arrived = () => clearTimeout(timer);
        next({
          onReceiveMetadata: (metadata, pass) => pass(metadata),
          onReceiveMessage: (message, pass) => pass(message),
          onReceiveHalfClose: (pass) => {
            arrived();
            pass();
          },
          onCancel: arrived,
        });
      },
    });
}
