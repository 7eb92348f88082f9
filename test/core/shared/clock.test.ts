// SPDX-License-Identifier: Apache-2.0
// Times of CLOCK_MONOTONIC converted to Unix time: their order and distances are kept until the clock is set.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { monotonicNs, unixUsAt } from '../../../services/shared/process/clock.js';

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'hrtime'] }));
afterEach(() => void vi.useRealTimers());

it('unixUsAt keeps order and distance to the microsecond, and follows the clock when it is set', () => {
  const startNs = monotonicNs();
  const startUs = unixUsAt(startNs);
  expect(startUs).toBe(BigInt(Date.now()) * 1000n);
  vi.advanceTimersByTime(10_000);
  vi.setSystemTime(Date.now() + 4);
  expect(unixUsAt(startNs + 1_500_000n) - startUs).toBe(1500n);
  expect(unixUsAt(monotonicNs()) - startUs).toBe(10_000_000n);
  vi.setSystemTime(Date.now() + 3_600_000);
  expect(unixUsAt(monotonicNs())).toBe(BigInt(Date.now()) * 1000n);
});
