// SPDX-License-Identifier: Apache-2.0
// The memory of exchange traces: what is found, and what is forgotten.
import { expect, it } from 'vitest';
import type { FlowKey } from '../../../services/shared/address.js';
import { FlowTraces } from '../../../services/shared/service/flow_traces.js';

const flow = (i: number) => `flow ${i}` as FlowKey;
const same = (key: FlowKey) => key;
const about = (exchange: number) => ({ epoch: 7n, exchange: BigInt(exchange), peer: 'b' });

it('the steps of an exchange are found by its number and by each of its flows', () => {
  const traces = new FlowTraces();
  traces.begin(about(1), [flow(1), flow(2)], same).mark('offerRequested', 10n);
  traces.begin(about(2), [flow(3)], same);
  traces.find(1n)?.mark('offerMade', 30n);
  const shown = {
    ...about(1),
    flows: 2,
    steps: [
      { step: 'offerRequested', atNs: 10n },
      { step: 'offerMade', atNs: 30n },
    ],
  };
  expect(traces.of(flow(2))).toEqual([shown]);
  expect(traces.of(flow(4))).toEqual([]);
  expect(traces.find(3n)).toBeUndefined();
});

it('the last 256 exchanges are remembered, each with its first 16 flows', () => {
  const traces = new FlowTraces();
  for (let i = 1; i <= 257; i++) traces.begin(about(i), [flow(i)], same);
  expect(traces.of(flow(1))).toEqual([]);
  expect(traces.of(flow(2))).toHaveLength(1);
  const many = Array.from({ length: 17 }, (_, i) => flow(1000 + i));
  traces.begin(about(258), many, same);
  expect(traces.of(flow(1015))).toMatchObject([{ exchange: 258n, flows: 17 }]);
  expect(traces.of(flow(1016))).toEqual([]);
});
