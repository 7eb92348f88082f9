// SPDX-License-Identifier: Apache-2.0
// The current faults of a service: one message for each part, with the time of its beginning.
import type { Health } from '../../../proto/gen/bus.js';
import { unixMs } from '../process/clock.js';

export class FaultList {
  readonly #faults = new Map<string, Health>();

  /**
   * Reports a fault of a part, which lasts until it is cleared. @param message with the remedy.
   * @returns whether the fault or its message is new.
   */
  set(part: string, message: string): boolean {
    const known = this.#faults.get(part);
    if (known?.message === message) return false;
    this.#faults.set(part, { part, message, sinceMs: known?.sinceMs ?? BigInt(unixMs()) });
    return true;
  }

  /** @returns whether the part had a fault. */
  clear(part: string): boolean {
    return this.#faults.delete(part);
  }

  has(part: string): boolean {
    return this.#faults.has(part);
  }

  list(): Health[] {
    return [...this.#faults.values()];
  }
}
