// SPDX-License-Identifier: Apache-2.0
// What the operator is told: what is wrong with the two ways out and since when, counters once a second, the
// answer to a status query, and a line in the log when something begins or ends to be wrong.
import { type Counter, type Health, ServiceStats, type ServiceStatus } from '../../../proto/gen/bus.js';
import type { AuditTrail } from '../../shared/audit/trail.js';
import type { Backlog } from '../../shared/backlog.js';
import type { BusCounters } from '../../shared/bus/bus.js';
import { monotonicMs, unixMs } from '../../shared/process/clock.js';
import { type Logger, logCounters } from '../../shared/process/log.js';
import type { Pump } from '../../shared/process/outlet.js';
import { version } from '../../shared/process/version.js';
import type { Intake } from '../core/intake.js';
import type { SampleFiles } from './sample_files.js';

/** A way out of the sampler. */
export interface Way {
  backlog: Backlog;
  pump: Pump;
}

/** How long entries that were dropped count as something wrong. */
const lossShownMs = 10_000;

/** What is wrong with a way out that drops although it does not fail. */
const slow = {
  lines: 'lines are dropped: standard output is not read, or too slowly; the files go on',
  packets: 'packets are dropped: the disk takes less than arrives; the lines go on',
};

export class Report {
  readonly #startedMs = BigInt(unixMs());
  readonly #wrong = new Map<string, Health>();
  readonly #lost = { lines: { count: 0, roseMs: -lossShownMs }, packets: { count: 0, roseMs: -lossShownMs } };
  #bus: Readonly<BusCounters> = { unsent: 0, overrun: 0, malformed: 0 };
  #audit: Pick<AuditTrail, 'counters' | 'health'> | undefined;

  constructor(
    private readonly node: string,
    private readonly intake: Intake,
    private readonly ways: { lines: Way; packets: Way },
    private readonly files: SampleFiles,
    private readonly log: Logger,
  ) {}

  /** Shows the counters of our bus beside our own. */
  useBus(counters: Readonly<BusCounters>): void {
    this.#bus = counters;
  }

  /** Shows what it has to tell of itself. */
  useAudit(audit: Pick<AuditTrail, 'counters' | 'health'>): void {
    this.#audit = audit;
  }

  busState(connected: boolean): void {
    if (connected) this.log.info('bus connected');
    else this.log.warn('bus lost');
  }

  /** A way out failed with this code, or works again. */
  outletState(part: 'stdout' | 'files', folder: string, code: string | undefined, gone: boolean): void {
    if (code === undefined) this.#well(part);
    else if (part === 'files') {
      const remedy =
        code === 'ENOSPC' || code === 'EDQUOT' ? 'make room' : 'see owner and mode of the folder';
      this.#amiss(part, `sample files cannot be written in ${folder} (${code}); ${remedy}`, code);
    } else if (gone) {
      this.#amiss(part, `standard output is closed (${code}): lines are dropped; the files go on`, code);
    } else this.#amiss(part, `standard output cannot be written (${code})`, code);
  }

  status(id: string): ServiceStatus {
    return {
      node: this.node,
      id,
      startedMs: this.#startedMs,
      health: this.#health(),
      counters: this.#counters(),
    };
  }

  /** Once a second. */
  stats(id: string): ServiceStats {
    return ServiceStats.fromPartial({
      service: 'sampler',
      id,
      startedMs: this.#startedMs,
      version,
      health: this.#health(),
      counters: this.#counters(),
    });
  }

  #health(): Health[] {
    for (const name of ['lines', 'packets'] as const) {
      const lost = this.#lost[name];
      const { dropped } = this.ways[name].backlog;
      if (dropped > lost.count) this.#lost[name] = { count: dropped, roseMs: monotonicMs() };
      const isLosing = monotonicMs() - this.#lost[name].roseMs < lossShownMs;
      const failing = this.#wrong.has(name === 'lines' ? 'stdout' : 'files');
      if (isLosing && !failing) this.#amiss(name, slow[name]);
      else this.#well(name);
    }
    return [...this.#wrong.values(), ...(this.#audit?.health() ?? [])];
  }

  #amiss(part: string, message: string, code?: string): void {
    const known = this.#wrong.get(part);
    if (known?.message === message) return;
    this.#wrong.set(part, { part, message, sinceMs: known?.sinceMs ?? BigInt(unixMs()) });
    this.log.warn({ part, ...(code !== undefined && { code }), err: message }, 'samples are not written');
  }

  #well(part: string): void {
    if (this.#wrong.delete(part)) this.log.info({ part }, 'samples are written again');
  }

  #counters(): Counter[] {
    const { lines, packets } = this.ways;
    const counts = {
      samplesTaken: this.intake.taken,
      linesWritten: lines.pump.written,
      linesDropped: lines.backlog.dropped,
      linesWaitingBytes: lines.backlog.queuedBytes,
      packetsWritten: packets.pump.written,
      packetsDropped: packets.backlog.dropped,
      packetsWaitingBytes: packets.backlog.queuedBytes,
      ...this.files.counters,
      writesFailed: lines.pump.failures + packets.pump.failures,
      unsent: this.#bus.unsent,
      overrun: this.#bus.overrun,
      malformed: this.#bus.malformed + this.intake.malformed,
    };
    const own = Object.entries(counts).map(([name, value]) => ({ name, value: BigInt(value) }));
    return [...own, ...logCounters(), ...(this.#audit?.counters() ?? [])];
  }
}
