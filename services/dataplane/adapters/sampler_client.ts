// SPDX-License-Identifier: Apache-2.0
// Sends samples to the samplers that answer sample.egress, sample.ingress and capture.failed, if any. The sample window
// (core/sample_window.ts) limits how many are sent; the rest is dropped and counted at once, before any work is spent on
// it. Nothing here delays packets, misses or commands.
import type { Sample, SampleBatch, SamplesTaken } from '../../../proto/gen/bus.js';
import type { Bus } from '../../shared/bus/bus.js';
import { contracts, type RequestContract } from '../../shared/contracts.js';
import { PspError } from '../../shared/errors.js';
import { samplesPerBatch } from '../../shared/limits.js';
import { monotonicMs } from '../../shared/process/clock.js';
import { samplePoints } from '../../shared/samples/sample_points.js';
import type { DataplaneConfig } from '../config.js';
import { type BatchOutcome, SampleWindow } from '../core/sample_window.js';
import type { SampleColumns } from './engine.js';
import { rowsAt, sampleReader } from './sample_rows.js';

/** How long a batch waits for its answer. */
export const answerMs = 1500;
/** 256 samples with the longest copies take a third of the largest message. */
const limits = { batch: samplesPerBatch, batches: 32, restMs: 100, silentMs: answerMs };

/** The samples of one contract. */
interface Route {
  points: ReadonlySet<number>;
  contract: RequestContract<SampleBatch, SamplesTaken>;
  window: SampleWindow;
  /** As many as the window allows. */
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
  readonly #routes: readonly Route[] = [
    { of: [samplePoints.egressSealed, samplePoints.egressPlain], contract: contracts.sampleEgress },
    { of: [samplePoints.ingressOpened], contract: contracts.sampleIngress },
    { of: [samplePoints.ingressFailed, samplePoints.egressFailed], contract: contracts.captureFailed },
  ].map(({ of, contract }) => ({
    points: new Set<number>(of),
    contract,
    window: new SampleWindow(limits),
    waiting: [],
  }));

  /** @param reasons names of drop reasons by number: "ingress/icv_failure". */
  constructor(
    private readonly bus: Pick<Bus, 'request'>,
    private readonly config: Pick<DataplaneConfig, 'peers'>,
    private readonly reasons: readonly string[] = [],
  ) {}

  /** The results of all samples so far. */
  get counters(): SampleCounters {
    const sum = (name: keyof SampleWindow['counters'], captured: boolean) =>
      this.#routes
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

  /** Sends samples of the engine. */
  take(columns: SampleColumns): void {
    if (this.#finishing) return;
    const sampleAt = sampleReader(columns, this.config.peers, this.reasons);
    for (const route of this.#routes) {
      const rows = rowsAt(columns, route.points);
      const kept = route.window.keep(rows.length, monotonicMs());
      for (const row of rows.slice(0, kept)) route.waiting.push(sampleAt(row));
      this.#go(route);
    }
  }

  /** Sends no more; resolves once every batch was answered or has timed out, at most after twice answerMs. */
  async finish(): Promise<void> {
    this.#finishing = true;
    while (this.#sending.size > 0) await Promise.all(this.#sending);
  }

  #go(route: Route): void {
    for (let size = route.window.next(); size > 0; size = route.window.next()) {
      const sending = this.#send(route, route.waiting.splice(0, size)).finally(() =>
        this.#sending.delete(sending),
      );
      this.#sending.add(sending);
    }
  }

  async #send(route: Route, samples: Sample[]): Promise<void> {
    const outcome = await this.#outcome(route.contract, samples);
    route.waiting.splice(0, route.window.ended(outcome, samples.length, monotonicMs()));
    this.#go(route);
  }

  async #outcome(contract: Route['contract'], samples: Sample[]): Promise<BatchOutcome> {
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
