// SPDX-License-Identifier: Apache-2.0
// Records refusals of peers in the audit, within the limits of the ledger.
import type { AuditRecorder } from '../../shared/audit/trail.js';
import type { PspError } from '../../shared/errors.js';
import { monotonicMs, unixMs } from '../../shared/process/clock.js';
import { type RefusalEvent, RefusalLedger } from '../core/refusal_ledger.js';

export class Refusals {
  readonly #ledger = new RefusalLedger();

  constructor(private readonly audit: AuditRecorder) {}

  given(error: PspError, peer: string | undefined): void {
    const { code, message } = error;
    this.#record(this.#ledger.refused({ code, peer, detail: message }, monotonicMs(), unixMs()));
  }

  /** To be called once a second. @param all also records joined events that would have to wait. */
  tick(all = false): void {
    this.#record(this.#ledger.tick(monotonicMs(), all));
  }

  #record(events: readonly RefusalEvent[]): void {
    for (const { type, code, peer, detail, count, firstMs, lastMs } of events) {
      const firstTime = new Date(firstMs).toISOString();
      const joined = { code, detail, count, firstTime, lastTime: new Date(lastMs).toISOString() };
      if (type === 'peer.unauthorized') this.audit.record(type, { ...joined, peer: peer ?? null });
      else this.audit.record(type, { ...joined, by: 'us', peer: peer ?? '' });
    }
  }
}
