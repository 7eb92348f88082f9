// SPDX-License-Identifier: Apache-2.0
// Rotation by command under traffic: no packet is lost, every inbound flow moves to a new SPI, and a second rotation
// has to wait. Then tunnels that end at both gateways because they are idle, while no packet of others is lost.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from './namespace.js';
import { grew, newDrops } from './numbers.js';
import { Topology } from './topology.js';
import { Listener, ping, send, startTransfer } from './traffic.js';

let net: Topology;

beforeAll(async () => {
  // A drain time long enough for two attempts within it.
  const more = 'engine: { drainMs: 4000, maxFlows: 1024 }\nflows: { idleTimeout: 3s }\n';
  net = await Topology.create({ edit: (_, yaml) => `${yaml}${more}` });
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

it('ends an idle tunnel at both gateways, and never the one that carries packets in one direction only', async () => {
  const port = 5555;
  const listener = await Listener.start(net.host2.namespace, port);
  const before = await Promise.all([net.a.numbers(), net.b.numbers()]);
  const { sent } = await send(net.host1.namespace, [{ destination: net.host2.v4, port, count: 30 }], 300);
  expect(sent).toBe(30);
  await until('all datagrams arrived', () => listener.received.length === sent);
  await listener.stop();
  await until('both ends of every tunnel have ended', async () => {
    const [a, b] = await Promise.all([net.a.numbers(), net.b.numbers()]);
    return [a, b].every(({ values }) => values.keyed === 0 && values.receiveSpis === 0);
  });
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
  const after = await Promise.all([net.a.numbers(), net.b.numbers()]);
  for (const [i, numbers] of after.entries()) {
    const earlier = before[i] ?? numbers;
    expect(newDrops(earlier, numbers)).toEqual({});
    expect(grew(earlier, numbers, 'flowsAged')).toBeGreaterThan(0);
    expect(grew(earlier, numbers, 'spisAged')).toBeGreaterThan(0);
  }
});
