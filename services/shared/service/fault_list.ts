// SPDX-License-Identifier: Apache-2.0
// What is wrong with a service now: one line for each part, with the time since when.
import type { Health } from '../../../proto/gen/bus.js';
import { unixMs } from '../process/clock.js';

export class FaultList {
  readonly #faults = new Map<string, Health>();

  /**
   * A part is wrong until it is cleared. @param message also says what to do.
   * @returns whether that is new, or its message is.
   */
  set(part: string, message: string): boolean {
    const known = this.#faults.get(part);
    if (known?.message === message) return false;
    this.#faults.set(part, { part, message, sinceMs: known?.sinceMs ?? BigInt(unixMs()) });
    return true;
  }

  /** @returns whether it was wrong. */
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
