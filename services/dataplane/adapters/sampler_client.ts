// SPDX-License-Identifier: Apache-2.0
// The sampler as the dataplane sees it: whoever answers sample.egress, sample.ingress and capture.failed, or nobody.
// Samples go
// as far as core/sample_window lets them; the rest is dropped and counted at once, before any work is spent on it.
// Nothing here holds up packets, misses or commands.
import type { Sample, SampleBatch, SamplesTaken } from '../../../proto/gen/bus.js';
import type { Bus } from '../../shared/bus/bus.js';
import { contracts, type RequestContract } from '../../shared/contracts.js';
import { PspError } from '../../shared/errors.js';
import { samplesPerBatch } from '../../shared/limits.js';
import { monotonicMs } from '../../shared/process/clock.js';
import { samplePoints } from '../../shared/samples/sample_points.js';
import { type BatchOutcome, SampleWindow } from '../core/sample_window.js';
import type { SampleColumns } from './engine.js';
import { rowsAt, sampleReader } from './sample_rows.js';

/** A batch without an answer after so long is given up. */
export const answerMs = 1500;
/** 256 samples with the longest copies take a third of what one message may. */
const limits = { batch: samplesPerBatch, batches: 32, restMs: 100, silentMs: answerMs };

interface Way {
  points: ReadonlySet<number>;
  contract: RequestContract<SampleBatch, SamplesTaken>;
  window: SampleWindow;
  /** As many as the window says. */
  waiting: Sample[];
}

export interface SampleCounters {
  samplesDelivered: number;
  samplesDropped: number;
  samplesUnanswered: number;
  capturesDelivered: number;
  capturesDropped: number;
  capturesUnanswered: number;
}

export class SamplerClient {
  #finishing = false;
  readonly #sending = new Set<Promise<void>>();
  readonly #ways: readonly Way[] = [
    { of: [samplePoints.egressSealed, samplePoints.egressPlain], contract: contracts.sampleEgress },
    { of: [samplePoints.ingressOpened], contract: contracts.sampleIngress },
    { of: [samplePoints.ingressFailed, samplePoints.egressFailed], contract: contracts.captureFailed },
  ].map(({ of, contract }) => ({
    points: new Set<number>(of),
    contract,
    window: new SampleWindow(limits),
    waiting: [],
  }));

  /** @param peers names by peer number. @param reasons why packets are dropped, by number: "ingress/icv_failure". */
  constructor(
    private readonly bus: Pick<Bus, 'request'>,
    private readonly peers: readonly string[],
    private readonly reasons: readonly string[] = [],
  ) {}

  /** What became of samples so far. */
  get counters(): SampleCounters {
    const sum = (name: keyof SampleWindow['counters'], captured: boolean) =>
      this.#ways
        .filter(({ contract }) => (contract === contracts.captureFailed) === captured)
        .reduce((total, { window }) => total + window.counters[name], 0);
    return {
      samplesDelivered: sum('delivered', false),
      samplesDropped: sum('dropped', false),
      samplesUnanswered: sum('unanswered', false),
      capturesDelivered: sum('delivered', true),
      capturesDropped: sum('dropped', true),
      capturesUnanswered: sum('unanswered', true),
    };
  }

  /** The engine took samples. */
  take(columns: SampleColumns): void {
    if (this.#finishing) return;
    const sampleAt = sampleReader(columns, this.peers, this.reasons);
    for (const way of this.#ways) {
      const rows = rowsAt(columns, way.points);
      const kept = way.window.keep(rows.length, monotonicMs());
      for (const row of rows.slice(0, kept)) way.waiting.push(sampleAt(row));
      this.#go(way);
    }
  }

  /** Takes no more; resolves once every batch was answered or given up, which takes at most twice answerMs. */
  async finish(): Promise<void> {
    this.#finishing = true;
    while (this.#sending.size > 0) await Promise.all(this.#sending);
  }

  #go(way: Way): void {
    for (let size = way.window.next(); size > 0; size = way.window.next()) {
      const sending = this.#send(way, way.waiting.splice(0, size)).finally(() =>
        this.#sending.delete(sending),
      );
      this.#sending.add(sending);
    }
  }

  async #send(way: Way, samples: Sample[]): Promise<void> {
    const outcome = await this.#outcome(way.contract, samples);
    way.waiting.splice(0, way.window.ended(outcome, samples.length, monotonicMs()));
    this.#go(way);
  }

  async #outcome(contract: Way['contract'], samples: Sample[]): Promise<BatchOutcome> {
    try {
      await this.bus.request(contract, { samples }, answerMs);
      return 'taken';
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      if (error.code === 'SERVICE_DOWN') return 'absent';
      return error.code === 'SERVICE_TIMEOUT' ? 'unanswered' : 'refused';
    }
  }
}
