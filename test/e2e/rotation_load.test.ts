// SPDX-License-Identifier: Apache-2.0
// Rotation once a second under traffic in both directions: no packet is lost, and a flow that is idle meanwhile survives
// ten rotations without a new exchange of its own. The benchmark `rotation` does the same for five minutes, and with ten
// thousand tunnels.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { long } from '../long.js';
import { until } from './namespace.js';
import { newDrops } from './numbers.js';
import { idleFlowWorks, keyAll, rotateBoth, settled, underLoad } from './rotation_load.js';
import { Topology } from './topology.js';

const perHost = 5;
const idleAddress = 100 + perHost;
const seconds = long ? 60 : 12;
let net: Topology;

beforeAll(async () => {
  net = await Topology.create();
  await net.start();
  net.addAddresses(perHost + 1);
});
afterAll(() => net?.close());

it('loses no packet of 25 flows each way, and an idle flow survives ten rotations', async () => {
  await keyAll(net, perHost);
  await keyAll(net, 1, idleAddress);
  const numbers = () => Promise.all([net.a.numbers(), net.b.numbers()]);
  const before = await numbers();
  const sending = { perHost, turns: seconds * 50, everyMs: 20 };
  const load = await underLoad(net, sending, () => rotateBoth(net));
  expect(load.drops).toEqual({});
  expect(load.received).toBe(load.sent);
  await until('both have rotated ten times', async () => {
    await rotateBoth(net);
    return (await numbers()).every(({ generation }, i) => generation >= (before[i]?.generation ?? 0) + 10);
  });
  await settled(net);
  const idle = await numbers();
  expect(await idleFlowWorks(net, idleAddress)).toBe(true);
  for (const [i, after] of (await numbers()).entries()) {
    expect(newDrops(idle[i] ?? after, after)).toEqual({});
    expect(after.values.exchanges).toBe(idle[i]?.values.exchanges);
  }
});
