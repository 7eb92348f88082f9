// SPDX-License-Identifier: Apache-2.0
// Which greetings are sent and which are accepted.
import { expect, it } from 'vitest';
import { checkGreeting, greetMs, isFreshGreeting } from '../../../services/keyexchange/core/greeting.js';

const second = 1_000_000_000n;

it('a greeting is sent for half a second after it was published, and its call ends before the next one', () => {
  const greet = { peer: 'b', epoch: 1n, publishedNs: 10n * second, unknownSpis: [] };
  const ages = [-1, 0, 499, 500, 501, 60_000].map((ms) => 10n * second + BigInt(ms) * 1_000_000n);
  expect(ages.map((nowNs) => isFreshGreeting(greet, nowNs))).toEqual([true, true, true, true, false, false]);
  expect(greetMs).toBeLessThan(1000);
});

it('a greeting needs an epoch and names 64 SPIs at most', () => {
  const spis = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
  expect(() => checkGreeting({ epoch: 1n, unknownSpis: spis(64) })).not.toThrow();
  expect(() => checkGreeting({ epoch: 1n, unknownSpis: spis(65) })).toThrow(
    '65 SPIs in a greeting; 64 are possible',
  );
  expect(() => checkGreeting({ epoch: 0n, unknownSpis: [] })).toThrow('a greeting without an epoch');
});
