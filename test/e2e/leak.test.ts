// SPDX-License-Identifier: Apache-2.0
// No plaintext on the wire and no IV twice, whatever hosts send and whatever happens to the gateways: all that leaves is
// UDP/1000 and the gateways' own ARP and neighbour discovery. The short form has one gateway in trouble in each run;
// `npm run leak` has both, over both outer families in both modes, with jumbo frames, with troubles that take long.
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

describe.each(runs)('outer IPv$outer, $mode mode, MTU $mtu, in trouble: $troubled', (options) => {
  let net: Topology | undefined;
  afterEach(() => net?.close());

  it(
    'nothing but PSP and neighbour discovery is ever on the wire, and no IV comes twice',
    async () => {
      const result = await runLeak(options, (topology) => {
        net = topology;
      });
      expect(leaksOf(result).slice(0, 20)).toEqual([]);
      expect(result.lost).toBe(0);
      // The same eyes see what is in the clear, in fragments too.
      expect(controlsSeen(result)).toEqual([controls, controls]);
      // And there was something to be seen: what was sent passed, sealed, in both versions.
      expect(result.kinds).toBeGreaterThan(180);
      expect(Math.min(...result.sent)).toBeGreaterThan(result.kinds);
      expect(result.arrived).toBeGreaterThan(100);
      for (const { psp, neighbours, versions, spis } of Object.values(result.wire)) {
        expect(psp).toBeGreaterThan(result.arrived / 2);
        expect(neighbours).toBeGreaterThan(0);
        expect([...versions].sort()).toEqual([0, 1]);
        // New ones after each rotation and each start.
        expect(spis.size).toBeGreaterThan(50);
      }
      // Rings were full, and not only in name.
      for (const { samples, events, receiving, commands, answers, sending } of result.full) {
        expect(samples).toBeGreaterThan(0);
        expect(receiving).toBeGreaterThan(0);
        if (long) expect(events).toBeGreaterThan(0);
        // Each command was done or refused, and each that was refused is counted.
        expect(Object.keys(answers).sort()).toEqual(['', 'ENGINE_BUSY']);
        expect(commands).toBeGreaterThanOrEqual(answers.ENGINE_BUSY as number);
        expect(sending).toBeGreaterThan(0);
      }
    },
    long ? 900_000 : 240_000,
  );
});
