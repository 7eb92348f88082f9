// SPDX-License-Identifier: Apache-2.0
// No plaintext on the wire and no IV twice, whatever hosts send and whatever happens to the gateways: only UDP/1000
// and the gateways' own ARP and neighbour discovery leave. In the short form one gateway has faults in each run. `npm
// run leak` has faults at both gateways, over both outer families in both modes, with jumbo frames and with faults
// that take long.
import { afterEach, describe, expect, it } from 'vitest';
import { controls, controlsSeen, type LeakOptions, leaksOf, runLeak } from './leak_run.js';
import type { Topology } from './topology.js';

const long = process.env.PSP_LEAK === 'long';

const runs: LeakOptions[] = long
  ? ([4, 6] as const).flatMap((outer) =>
      (['tunnel', 'transport'] as const).flatMap((mode) =>
        [1500, 9000].map((mtu) => ({ outer, mode, mtu, troubled: ['a', 'b'], long })),
      ),
    )
  : [
      { outer: 4, mode: 'tunnel', mtu: 1500, troubled: ['a'], long },
      { outer: 6, mode: 'transport', mtu: 9000, troubled: ['b'], long },
    ];

describe.each(runs)('outer IPv$outer, $mode mode, MTU $mtu, with faults at: $troubled', (options) => {
  let net: Topology | undefined;
  afterEach(() => net?.close());

  it(
    'only PSP and neighbour discovery are ever on the wire, and no IV is used twice',
    async () => {
      const result = await runLeak(options, (topology) => {
        net = topology;
      });
      expect(leaksOf(result).slice(0, 20)).toEqual([]);
      expect(result.lost).toBe(0);
      // The same check finds plaintext, also in fragments.
      expect(controlsSeen(result)).toEqual([controls, controls]);
      // And there was traffic to check: packets passed, sealed, in both versions.
      expect(result.kinds).toBeGreaterThan(180);
      expect(Math.min(...result.sent)).toBeGreaterThan(result.kinds);
      expect(result.arrived).toBeGreaterThan(100);
      for (const { psp, neighbours, versions, spis } of Object.values(result.wire)) {
        expect(psp).toBeGreaterThan(result.arrived / 2);
        expect(neighbours).toBeGreaterThan(0);
        expect([...versions].sort()).toEqual([0, 1]);
        // New SPIs after each rotation and each start.
        expect(spis.size).toBeGreaterThan(50);
      }
      // The rings really were full.
      for (const { samples, events, receiving, commands, answers, sending } of result.full) {
        expect(samples).toBeGreaterThan(0);
        expect(receiving).toBeGreaterThan(0);
        if (long) expect(events).toBeGreaterThan(0);
        // Each command was carried out or refused, and each refusal is counted.
        expect(Object.keys(answers).sort()).toEqual(['', 'ENGINE_BUSY']);
        expect(commands).toBeGreaterThanOrEqual(answers.ENGINE_BUSY as number);
        expect(sending).toBeGreaterThan(0);
      }
    },
    long ? 900_000 : 240_000,
  );
});
