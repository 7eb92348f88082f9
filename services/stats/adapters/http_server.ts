// SPDX-License-Identifier: Apache-2.0
// A few fixed pages over HTTP for monitoring: GET and HEAD without request bodies, small headers, one request for each
// connection so that no client queues answers that it does not read, a deadline for each request and each connection, and
// a limit on connections. Everything beyond is refused and counted.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { parseEndpoint } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { within } from '../../shared/process/within.js';

export interface Page {
  status: number;
  type: string;
  body: string;
}

export type Pages = Readonly<Record<string, () => Page | Promise<Page>>>;

/** Octets of all headers of a request. */
const maxHeaderBytes = 8192;
export const maxConnections = 64;
/** A request must have arrived completely within this time. */
const requestMs = 5000;
/** A connection ends within this time, even if its client does not read. */
export const connectionMs = 15_000;

const plain = (status: number, text: string): Page => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${text}\n`,
});

export class HttpServer {
  /**
   * served: pages sent; refused: requests for another page, with another method, or after another on one connection;
   * malformed: input that is no request, is too long or too slow; overflow: connections beyond the limit; overdue:
   * connections beyond their deadline.
   */
  readonly counters = { served: 0, refused: 0, malformed: 0, overflow: 0, overdue: 0 };
  readonly #server: Server;

  constructor(
    private readonly pages: Pages,
    /** Called with what a page threw, which is a fault of this service. */
    private readonly onFault: (page: string, error: unknown) => void,
  ) {
    this.#server = createServer(
      {
        maxHeaderSize: maxHeaderBytes,
        headersTimeout: requestMs,
        requestTimeout: requestMs,
        connectionsCheckingInterval: requestMs / 5,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = maxConnections;
    this.#server.maxRequestsPerSocket = 1;
    this.#server.on('connection', (socket: Socket) => this.#limit(socket));
    this.#server.on('drop', () => this.counters.overflow++);
    this.#server.on('dropRequest', () => this.counters.refused++);
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      // After an answer the connection only has to end.
      if (!socket.writable) return void socket.destroy();
      if (error.code !== 'ECONNRESET') this.counters.malformed++;
      socket.end(refusalOf(error.code));
    });
  }

  /** @throws PspError ADDRESS_TAKEN or ADDRESS_UNUSABLE. */
  async listen(address: string): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(parseEndpoint(address), () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
    } catch (cause) {
      const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
      const code = detail === 'EADDRINUSE' ? 'ADDRESS_TAKEN' : 'ADDRESS_UNUSABLE';
      throw new PspError(code, { address, key: 'metrics.listen', detail }, { cause });
    }
  }

  /** Accepts no more requests; those in progress are answered within deadlineMs. */
  async stop(deadlineMs: number): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeIdleConnections();
    await within(deadlineMs, closed);
    this.#server.closeAllConnections();
  }

  #limit(socket: Socket): void {
    const end = setTimeout(() => {
      this.counters.overdue++;
      socket.destroy();
    }, connectionMs);
    socket.once('close', () => clearTimeout(end));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const page = await this.#pageFor(request);
    if (!response.writable) return;
    response.writeHead(page.status, {
      'content-type': page.type,
      'content-length': Buffer.byteLength(page.body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      connection: 'close',
      ...(page.status === 405 ? { allow: 'GET, HEAD' } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : page.body);
  }

  async #pageFor({ method, url = '' }: IncomingMessage): Promise<Page> {
    const path = url.split('?', 1)[0] as string;
    const page = Object.hasOwn(this.pages, path) ? this.pages[path] : undefined;
    const allowed = method === 'GET' || method === 'HEAD';
    if (page === undefined || !allowed) this.counters.refused++;
    if (page === undefined)
      return plain(404, `not found; the pages are ${Object.keys(this.pages).join(', ')}`);
    if (!allowed) return plain(405, 'method not allowed; use GET or HEAD');
    try {
      const answer = await page();
      this.counters.served++;
      return answer;
    } catch (error) {
      this.onFault(path, error);
      return plain(500, 'internal error; see the log of the stats service');
    }
  }
}

function refusalOf(code: string | undefined): string {
  const status =
    code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request';
  return `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`;
}
