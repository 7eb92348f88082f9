// SPDX-License-Identifier: Apache-2.0
// The stages of the tests in TypeScript. A file belongs to exactly one: house rules, packet vectors, adapters
// (real nats-server, real gRPC), e2e (whole nodes in network namespaces), and core for everything else, so that no
// test file is ever left out. Stages run one after another, a few files of a stage at a time; files share no resources.
import { defineConfig } from 'vitest/config';

const house = ['test/house/**/*.test.ts'];
const vectors = ['test/vectors/**/*.test.ts', 'test/**/vectors/**/*.test.ts'];
const adapters = ['test/adapters/**/*.test.ts', 'test/**/adapters/**/*.test.ts'];
const e2e = ['test/e2e/**/*.test.ts'];

/** Timeout of expect.poll, as in test/adapters/shared/waiting.ts: longer than anything takes on a slow and busy machine. */
const poll = { timeout: 20_000, interval: 20 };

export default defineConfig({
  test: {
    // By default, Vitest runs one file at a time on two cores.
    maxWorkers: 2,
    projects: [
      { test: { name: 'house', include: house, testTimeout: 60_000, sequence: { groupOrder: 0 } } },
      { test: { name: 'vectors', include: vectors, testTimeout: 60_000, sequence: { groupOrder: 1 } } },
      {
        test: {
          name: 'core',
          sequence: { groupOrder: 2 },
          include: ['test/**/*.test.ts'],
          exclude: [...house, ...vectors, ...adapters, ...e2e],
          testTimeout: 60_000,
          expect: { poll },
        },
      },
      {
        test: {
          name: 'adapters',
          sequence: { groupOrder: 3 },
          include: adapters,
          // These tests mostly wait.
          maxWorkers: 4,
          testTimeout: 120_000,
          hookTimeout: 60_000,
          expect: { poll },
        },
      },
      {
        test: {
          name: 'e2e',
          sequence: { groupOrder: 4 },
          include: e2e,
          // These tests wait for about a third of their time.
          maxWorkers: 3,
          testTimeout: 300_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
