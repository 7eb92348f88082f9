// SPDX-License-Identifier: Apache-2.0
// What all services do alike while they run: the audit and the bus, which both exist from the start on and connect when
// their servers can be reached; the answer to a query of the status, and stats once a second; dropped privileges; log
// lines about the bus; and the end of it all, with deadlines. A service adds what is its own (service.ts of each).
import {
  type Counter,
  type Health,
  ServiceStats,
  type ServiceStatus,
  type StatusQuery,
} from '../../../proto/gen/bus.js';
import { AuditTrail, makeAuditFolder } from '../audit/trail.js';
import { Bus } from '../bus/bus.js';
import {
  type RequestContract,
  reloadContracts,
  type Service,
  type StatusOf,
  serviceRow,
  statsContracts,
  statusContracts,
} from '../contracts.js';
import { countersOf } from '../counters.js';
import { monotonicMs, unixMs } from '../process/clock.js';
import { LineGate } from '../process/line_gate.js';
import { type Logger, logCounters } from '../process/log.js';
import type { Dropped } from '../process/privileges.js';
import { version } from '../process/version.js';
import { within } from '../process/within.js';
import { ConfigReloads, type Reloading } from './config_reloads.js';
import type { ServiceConfig } from './service_config.js';

/** What a service adds at one moment to the report that all services have in common. */
export interface OwnReport<S extends Service> {
  /** Its faults, with their remedies. */
  health: Health[];
  /** Its own counters, with their names in counter_help.ts. */
  counters: Counter[];
  /** Fields of its status that no other service has. */
  status: Omit<StatusOf<S>, keyof ServiceStatus>;
  /** Fields of ServiceStats that no other service has. */
  stats: Partial<ServiceStats>;
}

export interface RuntimeOptions {
  /** Called when the bus connects and disconnects. */
  onBusState?: (connected: boolean) => void;
  /** Recorded in `service.started`. */
  epoch?: string;
}

const statsMs = 1000;
/** For the last events to reach the stream; the rest stays on disk. */
const publishMs = 1000;
/** Deadlines of the steps at the end. */
const auditEndMs = 1500;
const busCloseMs = 2500;

export class ServiceRuntime<S extends Service> {
  readonly audit: AuditTrail;
  readonly bus: Bus;
  readonly startedMs = unixMs();
  #stats: NodeJS.Timeout | undefined;
  #reloads: ConfigReloads | undefined;
  #isLeaving = false;

  /** Connects to nothing and does not wait. Call it while still root. @throws PspError FILE_UNWRITABLE */
  constructor(
    private readonly service: S,
    private readonly config: ServiceConfig,
    private readonly log: Logger,
    { onBusState, epoch }: RuntimeOptions = {},
  ) {
    const { node, audit } = config;
    const folder = makeAuditFolder(audit.stateDir, service);
    this.audit = new AuditTrail({ ...audit, node, service, folder });
    this.audit.record('service.started', { version, ...(epoch !== undefined && { epoch }) });
    this.audit.record('config.loaded', audit.configSummary);
    const faults = new LineGate();
    this.bus = new Bus({
      ...config.bus,
      node,
      user: service,
      service: { description: serviceRow(service).description, version },
      onWaiting: ({ code, message }) => log.warn({ code, err: message }, 'waiting for the bus'),
      onState: (connected) => {
        if (connected) log.info('bus connected');
        else log.warn('bus lost');
        onBusState?.(connected);
      },
      onFault: (subject, err) => {
        const suppressed = faults.pass(subject, monotonicMs());
        if (suppressed !== undefined) log.error({ subject, err, suppressed }, 'bus message failed');
      },
    });
  }

  /**
   * Drops root for good, then begins to write the audit. Call it once nothing is left that needs root.
   * @throws PspError RIGHTS_MISSING or FILE_UNWRITABLE.
   */
  async begin(drop: () => Dropped): Promise<void> {
    const privileges = drop();
    if (!privileges.dropped) this.log.info({ reason: privileges.reason }, 'privileges kept');
    await this.audit.begin();
  }

  /**
   * Connects to the bus without waiting for it; from then on answers queries with reports and publishes one each second.
   * @param reloading applies a changed node file.
   * @returns a promise that resolves once the bus is connected and has every handler; never if the service stops before.
   */
  join(report: () => OwnReport<S>, reloading: Reloading): Promise<void> {
    const reloads = new ConfigReloads(this.config.nodeFile, reloading, this.log, this.audit);
    this.#reloads = reloads;
    this.bus.respond(reloadContracts[this.service], (request) => reloads.on(request));
    const contract: RequestContract<StatusQuery, StatusOf<S>> = statusContracts[this.service];
    this.bus.respond(contract, () => {
      const own = report();
      return { node: this.config.node, ...this.#common(own), ...own.status } as StatusOf<S>;
    });
    return this.#connect(report);
  }

  async #connect(report: () => OwnReport<S>): Promise<void> {
    try {
      await this.bus.connect();
      if (!this.#isLeaving) this.#stats = setInterval(() => this.#publish(report()), statsMs);
      await this.bus.flush();
    } catch (error) {
      if (!this.#isLeaving) throw error;
      await new Promise(() => undefined);
    }
  }

  /** Records the last event of the audit and closes it. */
  async endAudit(reason: 'asked' | 'failed'): Promise<void> {
    await within(auditEndMs, this.audit.end(reason, publishMs));
  }

  /** Ends the audit, then leaves the bus: handlers finish, and queued messages are sent. */
  async leave(): Promise<void> {
    this.#isLeaving = true;
    clearInterval(this.#stats);
    await this.endAudit('asked');
    await within(busCloseMs, this.bus.close());
  }

  #publish(own: OwnReport<S>): void {
    const stats = ServiceStats.fromPartial({
      ...own.stats,
      service: this.service,
      version,
      ...this.#common(own),
    });
    this.bus.publish(statsContracts[this.service], stats, this.bus.id);
  }

  #common({ health, counters }: OwnReport<S>) {
    const { unsent, overrun, malformed } = this.bus.counters;
    return {
      id: this.bus.id,
      startedMs: BigInt(this.startedMs),
      config: this.#reloads?.state,
      health: [...health, ...this.audit.health()],
      counters: [
        ...counters,
        ...countersOf({ busUnsent: unsent, busOverrun: overrun, busMalformed: malformed }),
        ...logCounters(),
        ...this.audit.counters(),
      ],
    };
  }
}
