// SPDX-License-Identifier: Apache-2.0
// Rotation by command under traffic: no packet is lost, every inbound flow moves to a new SPI, and a second rotation
// has to wait.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from './namespace.js';
import { newDrops } from './numbers.js';
import { Topology } from './topology.js';
import { ping, startTransfer } from './traffic.js';

let net: Topology;

beforeAll(async () => {
  // A drain time long enough for two attempts within it.
  net = await Topology.create({ edit: (_, yaml) => `${yaml}engine: { drainMs: 4000 }\n` });
  await net.start();
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
});
afterAll(() => net?.close());

const settled = () =>
  until('the rotation is over', async () => {
    const [a, b] = await Promise.all([net.a.numbers(), net.b.numbers()]);
    return [a, b].every(({ unansweredFlows, drainLeftMs }) => unansweredFlows === 0 && drainLeftMs === 0);
  });

it('loses nothing while both gateways rotate repeatedly during a transfer', async () => {
  const before = await Promise.all([net.a.numbers(), net.b.numbers()]);
  const spis = async () =>
    (await net.b.flows()).filter(({ direction }) => direction === 'ingress').map(({ spi }) => spi);
  const first = await spis();
  const running = await startTransfer(net.host1.namespace, net.host2.namespace, net.host2.v4, {
    bytes: 96 << 20,
    rate: 4 << 20,
  });
  for (let round = 1; round <= 2; round++) {
    await Promise.all([net.a.rotate(), net.b.rotate()]);
    await settled();
  }
  running.release();
  expect((await running.done).equal).toBe(true);
  const after = await Promise.all([net.a.numbers(), net.b.numbers()]);
  for (const [i, numbers] of after.entries()) {
    expect(numbers.generation).toBe((before[i]?.generation ?? 0) + 2);
    expect(newDrops(before[i] ?? numbers, numbers)).toEqual({});
  }
  const last = await spis();
  expect(last.some((spi) => first.includes(spi))).toBe(false);
});

it('refuses a second rotation with ROTATION_PENDING during the drain time of the first, and reports the wait', async () => {
  await settled();
  await net.a.rotate();
  const second = await net.a.ask('rotate');
  expect(second.code).toBe(3);
  expect(second.stderr).toMatch(
    /^psp: ROTATION_PENDING: .*\d+ flows unanswered, \d+ ms of drain left; a forced one would cut \d+ flows; try again later\n$/,
  );
  await settled();
  expect((await net.a.ask('rotate')).code).toBe(0);
});

it('moves idle flows too, so that a peer sends under a live key afterwards', async () => {
  await settled();
  await net.b.rotate();
  await settled();
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
  expect((await ping(net.host2.namespace, net.host1.v4)).received).toBe(1);
});
