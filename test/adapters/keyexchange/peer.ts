// SPDX-License-Identifier: Apache-2.0
// Counterparts for the tests of the key exchange: a client that uses only the field numbers of the reference
// application, and a server that answers as a test specifies.
import tls from 'node:tls';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceError,
  type sendUnaryData,
  type VerifyOptions,
} from '@grpc/grpc-js';
import {
  type MultiTunnelRequest,
  type MultiTunnelResponse,
  PSP_GatewayService,
} from '../../../proto/gen/psp_gateway.js';
import { longMs } from '../shared/waiting.js';
import type { KeyPair } from './certificates.js';

export interface PlainParameters {
  mac: string;
  ip: string;
  version: number;
  spi: number;
  key: Buffer;
  encapType: number;
}

export interface PlainRequest {
  requestId: number;
  versions: number[];
  tunnels: { source: string; destination: string; innerType: number; reverse?: PlainParameters }[];
}

function encodeParameters(
  out: BinaryWriter,
  { mac, ip, version, spi, key, encapType }: PlainParameters,
): void {
  out.uint32(10).string(mac).uint32(18).string(ip).uint32(24).uint32(version);
  out.uint32(32).uint32(spi).uint32(42).bytes(key).uint32(56).uint32(encapType);
}

function encodeRequest({ requestId, versions, tunnels }: PlainRequest): Buffer {
  const out = new BinaryWriter();
  out.uint32(8).uint64(requestId);
  out.uint32(18).fork();
  for (const version of versions) out.uint32(version);
  out.join();
  for (const { source, destination, innerType, reverse } of tunnels) {
    out.uint32(26).fork();
    out.uint32(10).string(source).uint32(18).string(destination).uint32(24).uint32(innerType);
    if (reverse) {
      out.uint32(34).fork();
      encodeParameters(out, reverse);
      out.join();
    }
    out.join();
  }
  return Buffer.from(out.finish());
}

function decodeParameters(octets: Uint8Array): PlainParameters {
  const reader = new BinaryReader(octets);
  const found = { mac: '', ip: '', version: 0, spi: 0, key: Buffer.alloc(0), encapType: 0 };
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === 1) found.mac = reader.string();
    else if (field === 2) found.ip = reader.string();
    else if (field === 3) found.version = reader.uint32();
    else if (field === 4) found.spi = reader.uint32();
    else if (field === 5) found.key = Buffer.from(reader.bytes());
    else if (field === 7) found.encapType = reader.uint32();
    else reader.skip(wire);
  }
  return found;
}

export interface PlainResponse {
  requestId: number;
  tunnels: PlainParameters[];
}

function decodeResponse(octets: Buffer): PlainResponse {
  const reader = new BinaryReader(octets);
  const found: PlainResponse = { requestId: 0, tunnels: [] };
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === 1) found.requestId = Number(reader.uint64());
    else if (field === 2) found.tunnels.push(decodeParameters(reader.bytes()));
    else reader.skip(wire);
  }
  return found;
}

/** The error of the server in place of an answer. */
export interface Refusal {
  code: number;
  details: string;
  /** Milliseconds after which the server would accept it. */
  retryMs?: number;
}

function refusalOf({ code, details, metadata }: ServiceError): Refusal {
  const [retryMs] = metadata.get('grpc-retry-pushback-ms');
  return { code, details, ...(retryMs === undefined ? {} : { retryMs: Number(retryMs) }) };
}

export class PlainClient {
  readonly #client: Client;

  /** @param pair none: no client certificate. */
  constructor(port: number, ca: string, pair: KeyPair | undefined, verify: VerifyOptions = {}) {
    this.#client = new Client(
      `127.0.0.1:${port}`,
      credentials.createSsl(
        Buffer.from(ca),
        pair ? Buffer.from(pair.privateKey) : null,
        pair ? Buffer.from(pair.certificate) : null,
        { checkServerIdentity: () => undefined, ...verify },
      ),
      { 'grpc.ssl_target_name_override': 'gateway' },
    );
  }

  request(request: PlainRequest, timeoutMs?: number): Promise<PlainResponse | Refusal> {
    return this.#call('RequestMultipleTunnelParams', encodeRequest(request), decodeResponse, timeoutMs);
  }

  /** request_id 1. */
  rotate(issueNewKeys = false): Promise<unknown> {
    const octets = Buffer.from(issueNewKeys ? [8, 1, 16, 1] : [8, 1]);
    return this.#call('RequestKeyRotation', octets, (octets) => [...octets]);
  }

  close(): void {
    this.#client.close();
  }

  #call<T>(
    method: string,
    octets: Buffer,
    decode: (octets: Buffer) => T,
    timeoutMs = longMs,
  ): Promise<T | Refusal> {
    return new Promise((resolve) => {
      this.#client.makeUnaryRequest(
        `/psp_gateway.PSP_Gateway/${method}`,
        (message: Buffer) => message,
        decode,
        octets,
        { deadline: Date.now() + timeoutMs },
        (error: ServiceError | null, response?: T) => resolve(error ? refusalOf(error) : (response as T)),
      );
    });
  }
}

/** The result for a TLS client that offers at most `version`. */
export function handshake(
  port: number,
  ca: string,
  pair: KeyPair,
  version: tls.SecureVersion,
): Promise<string> {
  return new Promise((resolve) => {
    const socket = tls.connect({
      port,
      host: '127.0.0.1',
      ca,
      key: pair.privateKey,
      cert: pair.certificate,
      minVersion: 'TLSv1.2',
      maxVersion: version,
      ALPNProtocols: ['h2'],
      checkServerIdentity: () => undefined,
    });
    socket.once('secureConnect', () => {
      resolve(socket.getProtocol() ?? '');
      socket.destroy();
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

type Behaviour = (request: MultiTunnelRequest, callback: sendUnaryData<MultiTunnelResponse>) => void;

/** A peer that answers as `behave` specifies. */
export class FakePeer {
  readonly requests: MultiTunnelRequest[] = [];
  behave: Behaviour = () => undefined;
  readonly #server = new Server();

  /** @param pair none: it listens without TLS. */
  async start(port: number, ca?: string, pair?: KeyPair): Promise<void> {
    this.#server.addService(PSP_GatewayService, {
      requestMultipleTunnelParams: (
        call: ServerUnaryCall<MultiTunnelRequest, MultiTunnelResponse>,
        callback: sendUnaryData<MultiTunnelResponse>,
      ) => {
        this.requests.push(call.request);
        this.behave(call.request, callback);
      },
      requestKeyRotation: (_call: unknown, callback: sendUnaryData<unknown>) => callback({ code: 12 }),
    });
    const secured =
      ca === undefined || pair === undefined
        ? ServerCredentials.createInsecure()
        : ServerCredentials.createSsl(
            Buffer.from(ca),
            [{ private_key: Buffer.from(pair.privateKey), cert_chain: Buffer.from(pair.certificate) }],
            true,
          );
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, secured, (error) => (error ? reject(error) : resolve()));
    });
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

/** What a peer that works, and knows no modes, answers; `change` replaces fields of every offer. */
export const answerTo = (request: MultiTunnelRequest, change = {}): MultiTunnelResponse => ({
  requestId: request.requestId,
  epoch: undefined,
  tunnelsParams: request.tunnels.map((_, i) => ({
    macAddr: '02:00:00:00:00:02',
    ipAddr: '192.0.2.2',
    pspVersion: 0,
    spi: 0x80000001 + i,
    encryptionKey: Buffer.alloc(16, 7),
    virtCookie: 0n,
    encapType: 4,
    offerNumber: undefined,
    ...change,
  })),
});
