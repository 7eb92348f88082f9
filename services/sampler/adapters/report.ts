// SPDX-License-Identifier: Apache-2.0
// What an operator sees of the sampler: which of its two outputs fails or drops and since when, its counters, and a log
// line when an output begins to fail or works again.
import type { Counter, Health } from '../../../proto/gen/bus.js';
import type { Backlog } from '../../shared/backlog.js';
import type { OwnCounters } from '../../shared/counter_help.js';
import { countersOf } from '../../shared/counters.js';
import { monotonicMs } from '../../shared/process/clock.js';
import type { Logger } from '../../shared/process/log.js';
import type { Pump } from '../../shared/process/outlet.js';
import { FaultList } from '../../shared/service/fault_list.js';
import type { OwnReport } from '../../shared/service/service_runtime.js';
import type { Intake } from '../core/intake.js';
import type { SampleFiles } from './sample_files.js';

/** An output of the sampler: standard output, or the files. */
export interface Output {
  backlog: Backlog;
  pump: Pump;
}

/** How long an output counts as failing after it dropped entries. */
const lossShownMs = 10_000;

/** The fault of an output that drops entries although it does not fail. */
const slow = {
  lines: 'lines are dropped: standard output is not read, or too slowly; files are still written',
  packets: 'packets are dropped: the disk is too slow; lines are still written',
};

export class Report {
  readonly #faults = new FaultList();
  readonly #lost = { lines: { count: 0, roseMs: -lossShownMs }, packets: { count: 0, roseMs: -lossShownMs } };

  constructor(
    private readonly intake: Intake,
    private readonly outputs: { lines: Output; packets: Output },
    private readonly files: SampleFiles,
    private readonly log: Logger,
  ) {}

  read(): OwnReport<'sampler'> {
    return { health: this.#health(), counters: this.#counters(), status: {}, stats: {} };
  }

  /** An output failed with this code, or works again. */
  outletState(part: 'stdout' | 'files', folder: string, code: string | undefined, gone: boolean): void {
    if (code === undefined) this.#works(part);
    else if (part === 'files') {
      const remedy =
        code === 'ENOSPC' || code === 'EDQUOT' ? 'free space' : 'check the owner and the mode of the folder';
      this.#fails(part, `sample files cannot be written in ${folder} (${code}); ${remedy}`, code);
    } else if (gone) {
      this.#fails(
        part,
        `standard output is closed (${code}): lines are dropped; files are still written`,
        code,
      );
    } else this.#fails(part, `standard output cannot be written (${code})`, code);
  }

  #health(): Health[] {
    for (const name of ['lines', 'packets'] as const) {
      const lost = this.#lost[name];
      const { dropped } = this.outputs[name].backlog;
      if (dropped > lost.count) this.#lost[name] = { count: dropped, roseMs: monotonicMs() };
      const isLosing = monotonicMs() - this.#lost[name].roseMs < lossShownMs;
      const failing = this.#faults.has(name === 'lines' ? 'stdout' : 'files');
      if (isLosing && !failing) this.#fails(name, slow[name]);
      else this.#works(name);
    }
    return this.#faults.list();
  }

  #fails(part: string, message: string, code?: string): void {
    if (!this.#faults.set(part, message)) return;
    this.log.warn({ part, ...(code !== undefined && { code }), err: message }, 'samples are not written');
  }

  #works(part: string): void {
    if (this.#faults.clear(part)) this.log.info({ part }, 'samples are written again');
  }

  #counters(): Counter[] {
    const { lines, packets } = this.outputs;
    return countersOf({
      samplesTaken: this.intake.taken,
      linesWritten: lines.pump.written,
      linesDropped: lines.backlog.dropped,
      linesWaitingBytes: lines.backlog.queuedBytes,
      packetsWritten: packets.pump.written,
      packetsDropped: packets.backlog.dropped,
      packetsWaitingBytes: packets.backlog.queuedBytes,
      ...this.files.counters,
      writesFailed: lines.pump.failures + packets.pump.failures,
      batchesMalformed: this.intake.malformed,
    } satisfies OwnCounters<'sampler'>);
  }
}
