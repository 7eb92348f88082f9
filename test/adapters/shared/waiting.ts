// SPDX-License-Identifier: Apache-2.0
// How tests of real processes wait: until a condition holds, however slow and busy the machine is. (expect.poll has
// the same timeout, see vitest.config.ts.)
import { vi } from 'vitest';

/** Longer than anything here takes on any machine: a timeout for events and answers that must occur. */
export const longMs = 20_000;

/** Resolves to the result of the assertion once it no longer throws. @throws its last error, after longMs. */
export const eventually = <T>(assertion: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(assertion, { timeout: longMs, interval: 20 });
