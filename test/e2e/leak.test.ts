// SPDX-License-Identifier: Apache-2.0
// No plaintext on the wire, whatever hosts send and whatever happens to the gateways: all that leaves is UDP/1000 and
// the gateways' own ARP and neighbour discovery. `npm run leak` runs it over both outer families, with jumbo frames,
// and several times.
import { afterEach, describe, expect, it } from 'vitest';
import { controls, controlsSeen, type LeakOptions, leaksOf, runLeak } from './leak_run.js';
import type { Topology } from './topology.js';

const long = process.env.PSP_LEAK === 'long';

const runs: LeakOptions[] = long
  ? ([4, 6] as const).flatMap((outer) =>
      (['tunnel', 'transport'] as const).flatMap((mode) =>
        [1500, 9000].map((mtu) => ({ outer, mode, mtu, rounds: 3 })),
      ),
    )
  : [
      { outer: 4, mode: 'tunnel', mtu: 1500, rounds: 1 },
      { outer: 4, mode: 'transport', mtu: 9000, rounds: 1 },
    ];

describe.each(runs)('outer IPv$outer, $mode mode, MTU $mtu, rounds: $rounds', (options) => {
  let net: Topology | undefined;
  afterEach(() => net?.close());

  it(
    'nothing but PSP and neighbour discovery is ever on the wire',
    async () => {
      const result = await runLeak(options, (topology) => {
        net = topology;
      });
      expect(leaksOf(result).slice(0, 20)).toEqual([]);
      expect(result.lost).toBe(0);
      // The same eyes see what is in the clear, in fragments too.
      expect(controlsSeen(result)).toEqual([controls, controls]);
      // And there was something to be seen: what was sent passed, sealed.
      expect(result.kinds).toBeGreaterThan(180);
      expect(Math.min(...result.sent)).toBeGreaterThan(result.kinds);
      expect(result.arrived).toBeGreaterThan(100);
      for (const { psp, neighbours } of Object.values(result.wire)) {
        expect(psp).toBeGreaterThan(result.arrived / 2);
        expect(neighbours).toBeGreaterThan(0);
      }
    },
    long ? 900_000 : 240_000,
  );
});
