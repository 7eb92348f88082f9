// SPDX-License-Identifier: Apache-2.0
// Tells the auditors of the refusals that we give to peers, as far as the ledger lets them through.
import type { AuditRecorder } from '../../shared/audit/trail.js';
import type { PspError } from '../../shared/errors.js';
import { monotonicMs, unixMs } from '../../shared/process/clock.js';
import { type RefusalEvent, RefusalLedger } from '../core/refusal_ledger.js';

export class Refusals {
  readonly #ledger = new RefusalLedger();

  constructor(private readonly audit: AuditRecorder) {}

  given(error: PspError, peer: string | undefined): void {
    const { code, message } = error;
    this.#tell(this.#ledger.refused({ code, peer, detail: message }, monotonicMs(), unixMs()));
  }

  /** Once a second. @param all also what would have to wait. */
  tick(all = false): void {
    this.#tell(this.#ledger.tick(monotonicMs(), all));
  }

  #tell(events: readonly RefusalEvent[]): void {
    for (const { type, code, peer, detail, count, firstMs, lastMs } of events) {
      const firstTime = new Date(firstMs).toISOString();
      const joined = { code, detail, count, firstTime, lastTime: new Date(lastMs).toISOString() };
      if (type === 'peer.unauthorized') this.audit.record(type, { ...joined, peer: peer ?? null });
      else this.audit.record(type, { ...joined, by: 'us', peer: peer ?? '' });
    }
  }
}
