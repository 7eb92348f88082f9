// SPDX-License-Identifier: Apache-2.0
// How tests of real processes wait: until a condition holds, however slow and busy the machine is. (expect.poll
// waits as long, see vitest.config.ts.)
import { vi } from 'vitest';

/** Longer than anything here takes on any machine: for what must happen, and for answers that must come. */
export const longMs = 20_000;

/** Resolves to what the assertion gives once it no longer throws. @throws what it threw last, after longMs. */
export const eventually = <T>(assertion: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(assertion, { timeout: longMs, interval: 20 });
