// SPDX-License-Identifier: Apache-2.0
// The audit of one service: `record` and nothing else for whoever has something to tell. Behind it an event goes
// into the spool of this start (audit_spool.ts) and from there into the stream (audit_publisher.ts), whenever the
// bus is there; what earlier starts left goes the same way (audit_leftovers.ts). Recording never waits and never
// fails: what finds no room is counted, and told later.
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Counter, Health } from '../../proto/gen/bus.js';
import { type AuditData, type AuditType, envelopeOf, type Producer } from './audit_event.js';
import { Leftovers } from './audit_leftovers.js';
import { AuditPublisher, type StreamDoor } from './audit_publisher.js';
import { AuditSpool } from './audit_spool.js';
import { monotonicMs, unixMs } from './clock.js';
import type { NodeConfig } from './config.js';
import { auditContractOf, auditSubjectsOf, type Service, subjectOf } from './contracts.js';
import { PspError } from './errors.js';
import { accounts } from './privileges.js';
import { version } from './version.js';

/** What a service's slice of the node file says of its audit. */
export interface AuditSlice {
  stateDir: string;
  spoolBytes: number;
  gist: AuditData['config.loaded'];
}

export interface AuditOptions {
  node: string;
  service: Service;
  /** Of this service, made by `makeAuditFolder`. */
  folder: string;
  spoolBytes: number;
  /** How long events stay that the stream holds: longer than a server may take to sync them. */
  keepMs?: number;
  /** A folder whose owner is silent for so long was left. */
  silentMs?: number;
  tendMs?: number;
}

/** What recording needs; a service's other rooms see no more of it. */
export interface Auditor {
  record<T extends AuditType>(type: T, data: AuditData[T]): void;
}

/** Debian's nats-server syncs every two minutes. */
const defaultKeepMs = 180_000;
const defaultSilentMs = 10_000;
const defaultTendMs = 2000;
/** Trouble shorter than this is no news. */
const patienceMs = 5000;
/** Names of peers and prefixes in one event; their number is told beside them. */
const longestList = 64;
const fullDisk = ['ENOSPC', 'EDQUOT'];

/** Makes the folder that a service spools into, for that service alone. Call it while still root. @throws PspError FILE_UNWRITABLE */
export function makeAuditFolder(stateDir: string, service: Service): string {
  const folder = join(stateDir, 'audit', service);
  try {
    mkdirSync(join(stateDir, 'audit'), { recursive: true, mode: 0o755 });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (process.geteuid?.() === 0) {
      const { uid, gid } = accounts[service];
      for (const each of [stateDir, join(stateDir, 'audit')]) chmodSync(each, 0o755);
      chownSync(folder, uid, gid);
      chmodSync(folder, 0o700);
    }
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    const remedy = 'give stateDir a folder that can be written';
    throw new PspError('FILE_UNWRITABLE', { file: folder, detail, remedy }, { cause });
  }
  return folder;
}

export const auditSliceOf = (config: NodeConfig): AuditSlice => ({
  stateDir: config.stateDir,
  spoolBytes: config.audit.spoolBytes,
  gist: gistOf(config),
});

function gistOf(config: NodeConfig): AuditData['config.loaded'] {
  const peers = Object.keys(config.peers);
  return {
    sha256: config.digest,
    vips: config.vips.slice(0, longestList),
    peers: peers.slice(0, longestList),
    vipCount: config.vips.length,
    peerCount: peers.length,
    tunnels: config.tunnels.length,
    trustDomain: config.trustDomain,
    versions: config.versions,
    samplingEgressLog2: config.sampling.egressLog2 ?? null,
    authOnlyPeers: peers.filter((name) => config.peers[name]?.authOnly).slice(0, longestList),
    cryptOffsetPeers: peers.filter((name) => config.peers[name]?.cryptOffset).slice(0, longestList),
    ingressAcl: config.ingressAcl,
    bypass: config.bypass.length,
    samplingPlain: config.sampling.points.includes('plain'),
    captureEgress: config.capture.egress,
  };
}

export class AuditTrail implements Auditor {
  readonly #spool: AuditSpool;
  readonly #publisher: AuditPublisher;
  readonly #tending: NodeJS.Timeout;
  #tended: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(
    readonly producer: Producer,
    private readonly options: AuditOptions,
    private readonly leftovers: Leftovers,
    publisher: AuditPublisher,
    spool: AuditSpool,
  ) {
    this.#publisher = publisher;
    this.#spool = spool;
    this.#tending = setInterval(() => this.#tend(), options.tendMs ?? defaultTendMs);
    this.#tend();
  }

  /** Begins a new incarnation. Call it as the user that the service runs as. @throws PspError FILE_UNWRITABLE */
  static async open(options: AuditOptions): Promise<AuditTrail> {
    const { node, service, folder, spoolBytes } = options;
    const keepMs = options.keepMs ?? defaultKeepMs;
    const producer = { node, service, incarnation: randomBytes(8).toString('hex') };
    const { incarnation } = producer;
    const contract = auditContractOf[service];
    const publisher: AuditPublisher = new AuditPublisher({
      subjectOf: (tail) => subjectOf(node, contract, tail),
      everySubject: auditSubjectsOf(node),
      monotonicMs,
      unixMs,
      onUnfillable: (source, first, last) => {
        if (source.incarnation === incarnation) spool.tellRollback(first, last);
      },
    });
    const leftovers = new Leftovers({
      folder,
      incarnation,
      keepMs,
      silentMs: options.silentMs ?? defaultSilentMs,
      monotonicMs,
      unixMs,
      lossEvent: (incarnation, sequence, data) =>
        envelopeOf({ ...producer, incarnation }, sequence, 'audit.lost', data, unixMs()),
      onTaken: (leftover) => publisher.add(leftover),
      onLeft: (leftover) => publisher.remove(leftover),
      onRetaken: () => spool.renew(),
    });
    try {
      await leftovers.begin();
    } catch (cause) {
      const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
      const remedy = 'give the folder to the user that the service runs as';
      // A full disk keeps no service from running: events are lost, counted and told once there is room.
      if (!fullDisk.includes(detail)) {
        throw new PspError('FILE_UNWRITABLE', { file: folder, detail, remedy }, { cause });
      }
    }
    const spool: AuditSpool = new AuditSpool({
      folder: leftovers.own,
      limitBytes: spoolBytes,
      othersBytes: () => leftovers.othersBytes,
      keepMs,
      envelope: (sequence, type, data) => envelopeOf(producer, sequence, type, data, unixMs()),
      monotonicMs,
      onRecorded: () => publisher.wake(),
    });
    const own = {
      incarnation,
      get first() {
        return spool.first;
      },
      get last() {
        return spool.last;
      },
      read: (after: number) => spool.read(after),
      confirm: (sequence: number) => spool.confirm(sequence),
      rewind: (sequence: number) => spool.rewind(sequence),
    };
    publisher.add(own, () => leftovers.isOursAlone());
    return new AuditTrail(producer, options, leftovers, publisher, spool);
  }

  /** The first events of every service. @param about what a service adds to `service.started`. */
  static async begin(
    node: string,
    service: Service,
    folder: string,
    { spoolBytes, gist }: AuditSlice,
    about: { epoch?: string } = {},
  ): Promise<AuditTrail> {
    const trail = await AuditTrail.open({ node, service, folder, spoolBytes });
    trail.record('service.started', { version, ...about });
    trail.record('config.loaded', gist);
    return trail;
  }

  /** The last event of a service, and its end. */
  async end(reason: AuditData['service.stopped']['reason'], deadlineMs: number): Promise<void> {
    this.record('service.stopped', { reason });
    await this.close(deadlineMs);
  }

  record<T extends AuditType>(type: T, data: AuditData[T]): void {
    if (!this.#closed) this.#spool.record(type, data);
  }

  /** Events go into the stream from now on, as long as the bus is there. */
  useBus(bus: { stream: StreamDoor; connected: boolean }): void {
    this.#publisher.useStream(bus.stream, bus.connected);
  }

  busState(connected: boolean): void {
    this.#publisher.busState(connected);
  }

  /** Resolves once everything recorded so far is synced. */
  flush(): Promise<void> {
    return this.#spool.flush();
  }

  /** auditBacklog is a gauge. */
  counters(): Counter[] {
    const values = {
      auditRecorded: this.#spool.counters.recorded,
      auditPublished: this.#publisher.counters.published,
      auditLost: this.#spool.counters.lost,
      auditBacklog: this.#publisher.backlog,
    };
    return Object.entries(values).map(([name, value]) => ({ name, value: BigInt(value) }));
  }

  health(): Health[] {
    const lines: Health[] = [];
    const { failure, loss, bytes } = this.#spool;
    const tell = (message: string, sinceMs = 0) =>
      lines.push({ part: 'audit', message, sinceMs: BigInt(sinceMs) });
    if (failure !== undefined) tell(`events cannot be written to ${this.options.folder} (${failure})`);
    if (this.leftovers.failure !== undefined) {
      tell(`events of an earlier start cannot be taken over: ${this.leftovers.failure}`);
    }
    if (loss !== undefined) {
      tell(`the spool is full and events are lost since number ${loss.first}; let nats-server run again`);
    } else if (
      2 * (bytes + this.leftovers.othersBytes) > this.options.spoolBytes &&
      this.#publisher.backlog > 0
    ) {
      tell(`the spool is more than half full; let nats-server run again or raise audit.spoolBytes`);
    }
    const { trouble } = this.#publisher;
    if (trouble !== undefined && this.#publisher.backlog > 0 && unixMs() - trouble.sinceMs > patienceMs) {
      tell(`${this.#publisher.backlog} events wait on disk: ${trouble.detail}`, trouble.sinceMs);
    }
    return lines;
  }

  /** Publishes what it can within the deadline and leaves the rest to the next start. */
  async close(deadlineMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#tending);
    await this.#spool.close();
    await this.#publisher.finish(deadlineMs);
    await this.#tended;
    await this.leftovers.end().catch(() => undefined);
  }

  /** One round at a time; a folder that cannot be read now is tried again in the next. */
  #tend(): void {
    this.#spool.sweep();
    this.#tended = this.#tended
      .then(async () => {
        if (this.#spool.loss !== undefined) await this.leftovers.makeRoom();
        await this.leftovers.tend(this.#publisher.connected);
      })
      .catch(() => undefined);
  }
}
