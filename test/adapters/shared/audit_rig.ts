// SPDX-License-Identifier: Apache-2.0
// A real audit server with its stream, and producers with separate folders below one folder.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AuditEvent, readEvent } from '../../../services/shared/audit/event.js';
import type { StreamDoor } from '../../../services/shared/audit/publisher.js';
import type { AuditSlice } from '../../../services/shared/audit/slice.js';
import { type AuditOptions, AuditTrail, makeAuditFolder } from '../../../services/shared/audit/trail.js';
import { BusStream } from '../../../services/shared/bus/stream.js';
import type { Service } from '../../../services/shared/contracts.js';
import { until } from '../../e2e/namespace.js';
import { AuditServer } from './nats_server.js';

export class AuditRig {
  readonly #folder = mkdtempSync(join(tmpdir(), 'psp-audit-'));
  readonly #producers: Producer[] = [];

  private constructor(
    readonly nats: AuditServer,
    public operator: BusStream,
  ) {}

  static async start(): Promise<AuditRig> {
    const nats = await AuditServer.start('a');
    const operator = await nats.stream('operator');
    return new AuditRig(nats, operator);
  }

  /** Renames the node; its files stay. */
  async rename(node: string): Promise<void> {
    await this.operator.close();
    await this.nats.stop();
    this.nats.rename(node);
    await this.nats.start();
    this.operator = await this.nats.stream('operator');
  }

  /** The spool folder of all producers of a service. */
  folder(service: Service): string {
    return makeAuditFolder(this.#folder, service);
  }

  /** Writes the files that an operator's command needs into a folder. @returns the node file. */
  operatorFile(folder: string): string {
    const file = join(folder, 'node.yaml');
    writeFileSync(
      file,
      `{ node: a, unsecured: { port: x }, secured: { port: y, address: 192.0.2.1/24 },
         keyExchange: { listen: "127.0.0.1:1" }, vips: [10.1.0.0/24], bus: { listen: "127.0.0.1:1" },
         audit: { listen: "${this.nats.listen}" } }`,
    );
    mkdirSync(join(folder, 'nats'));
    writeFileSync(join(folder, 'nats/operator.password'), this.nats.passwords.operator, { mode: 0o640 });
    return file;
  }

  /**
   * A start of a service.
   * @param options `onBus: false` leaves out the audit server until `join`; `stream` replaces it.
   */
  async producer(
    service: Service,
    options: Partial<AuditOptions> & { onBus?: boolean; stream?: StreamDoor } = {},
  ): Promise<Producer> {
    const { onBus = true, stream, ...rest } = options;
    const producer = new Producer(this.nats, stream, {
      node: this.nats.node,
      service,
      folder: this.folder(service),
      spoolBytes: 1024 * 1024,
      server: this.nats.listen,
      password: this.nats.passwords[service],
      tendMs: 50,
      silentMs: 500,
      ...rest,
    });
    await producer.trail.begin();
    this.#producers.push(producer);
    if (onBus) await producer.join();
    return producer;
  }

  /** All messages of the stream, in order; the operator may have to reconnect to a server that was killed. */
  async events(): Promise<AuditEvent[]> {
    await until('the operator is on the bus', () => this.operator.connected);
    const events: AuditEvent[] = [];
    for await (const { octets } of this.operator.read({ follow: false }, new AbortController().signal)) {
      events.push(readEvent(octets) as AuditEvent);
    }
    return events;
  }

  /** Numbers of one producer's events in the order of the stream. */
  async numbers({ incarnation }: Pick<Producer, 'incarnation'>): Promise<number[]> {
    const events = await this.events();
    return events.filter((each) => each.incarnation === incarnation).map(({ sequence }) => sequence);
  }

  async end(): Promise<void> {
    await Promise.all(this.#producers.map((producer) => producer.leave()));
    await this.operator.close();
    await this.nats.remove();
    rmSync(this.#folder, { recursive: true });
  }
}

/** Connects when the test requests it. */
class LateStream extends BusStream {
  join: () => void = () => undefined;
  readonly #joined = new Promise<void>((resolve) => {
    this.join = resolve;
  });

  override async connect(): Promise<void> {
    await this.#joined;
    await super.connect();
  }
}

export class Producer {
  readonly trail: AuditTrail;
  readonly service: Service;
  readonly #stream: LateStream;
  #recorded = 0;

  constructor(nats: AuditServer, stream: StreamDoor | undefined, options: AuditOptions) {
    this.service = options.service;
    this.#stream = new LateStream({
      node: nats.node,
      server: nats.listen,
      user: options.service,
      password: nats.passwords[options.service],
      onState: (connected) => this.trail.streamState(connected),
    });
    const still = { connect: async () => undefined, close: async () => undefined };
    this.trail = new AuditTrail(options, stream ? { ...stream, ...still } : this.#stream);
  }

  get incarnation(): string {
    return this.trail.producer.incarnation;
  }

  async join(): Promise<void> {
    this.#stream.join();
    await until('the audit server is connected', () => this.#stream.connected);
  }

  /** Records this many events. */
  record(count = 1): void {
    for (let i = 0; i < count; i++) {
      const [generation, by] = [++this.#recorded, 'operator'] as const;
      this.trail.record('keys.rotated', {
        generation,
        by,
        why: 'command',
        peer: null,
        reofferedFlows: 0,
        cutFlows: 0,
      });
    }
  }

  counter(name: string): number {
    return Number(this.trail.counters().find((each) => each.name === name)?.value);
  }

  /**
   * Faults of the spool, without the one about events that wait for a bus, which is reported after five seconds and
   * may occur in any test.
   */
  spoolTroubles(): string[] {
    const messages = this.trail.health().map(({ message }) => message);
    return messages.filter((message) => !/^\d+ events wait on disk: /.test(message));
  }

  async leave(): Promise<void> {
    await this.trail.close(500);
  }
}

/** 1, 2, ... n */
export const upTo = (n: number, first = 1): number[] =>
  Array.from({ length: n - first + 1 }, (_, i) => first + i);

/** The summary of a node file without VIPs and peers. */
export const emptySummary: AuditSlice['configSummary'] = {
  sha256: '0'.repeat(64),
  vips: [],
  peers: [],
  vipCount: 0,
  peerCount: 0,
  tunnels: 0,
  trustDomain: 'psp',
  versions: [1, 0],
  samplingEgressLog2: null,
  insecurePeers: [],
  authOnlyPeers: [],
  cryptOffsetPeers: [],
  ingressAcl: true,
  bypass: 0,
  samplingPlain: false,
  captureEgress: false,
};

/** The audit part of a service's configuration, with a state folder that is removed when the test file ends. */
export function auditSlice(): AuditSlice {
  const stateDir = mkdtempSync(join(tmpdir(), 'psp-audit-'));
  process.once('exit', () => rmSync(stateDir, { recursive: true, force: true }));
  // No process listens there.
  return {
    stateDir,
    server: '127.0.0.1:1',
    password: 'x',
    spoolBytes: 1024 * 1024,
    configSummary: emptySummary,
  };
}
