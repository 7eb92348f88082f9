// SPDX-License-Identifier: Apache-2.0
// The clock of one gateway jumps back and forth by a day while hosts send, and across a restart of its dataplane: no IV
// occurs twice under a key, no packet is lost, nothing rotates. Beyond the dates of certificates no connection lasts.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { long } from '../long.js';
import type { Capture } from './capture.js';
import { noAllocation } from './gateway.js';
import { MovedClock } from './moved_clock.js';
import { until } from './namespace.js';
import { newDrops } from './numbers.js';
import { type PspFrame, pspFrames } from './psp_frames.js';
import { Topology } from './topology.js';
import { Listener, ping, send } from './traffic.js';

const dayMs = 86_400_000;
/** Of the certificates of `psp init`. */
const lifetimeMs = 825 * dayMs;
const tunnels = 12;
const port = 7000;

let clock: MovedClock;
let net: Topology;
let capture: Capture;
beforeAll(async () => {
  // Certificates are not valid before today, so the clock is ahead where it shows the earliest day.
  clock = new MovedClock();
  clock.moveTo(dayMs);
  net = await Topology.create({
    environment: (node) => (node === 'a' ? clock.environment(noAllocation) : []),
  });
  net.addAddresses(tunnels);
  await net.start();
  capture = await net.capture('clock', { filter: 'udp port 1000' });
});
afterAll(async () => {
  await net?.close();
  clock?.remove();
});

let next = 0;
/** Both hosts use a new tunnel: one packet that is held, and its reply. */
const newTunnel = async (waitS = 10): Promise<number> => {
  const n = 100 + next++;
  const { received } = await ping(net.host1.namespace, `10.2.0.${n}`, { source: `10.1.0.${n}`, waitS });
  return received;
};
const exchangeWithB = async () => (await net.a.numbers()).peers.b;
/** PSP packets that gateway a sent so far. */
const sent = (): PspFrame[] => pspFrames(capture.frames()).filter(({ source }) => source === 'c0000201');
const byNumber = (one: bigint, other: bigint): number => Number(one - other);
const greatest = (ivs: readonly bigint[]): bigint => [...ivs].sort(byNumber).at(-1) ?? 0n;

/** These tests take more than a minute, so they run with `npm run test:long`. */
const clocked = it.runIf(long);

clocked('jumps of a day while hosts send lose no packet and rotate nothing', async () => {
  expect(await newTunnel()).toBe(1);
  const before = [await net.a.numbers(), await net.b.numbers()];
  const listeners = [
    await Listener.start(net.host1.namespace, port),
    await Listener.start(net.host2.namespace, port),
  ];
  const count = 400;
  const streams = [
    send(net.host2.namespace, [{ source: '10.2.0.100', destination: '10.1.0.100', port, count }], 10),
    send(net.host1.namespace, [{ source: '10.1.0.100', destination: '10.2.0.100', port, count }], 10),
  ];
  for (const days of [2, 1, 0, 2]) {
    clock.moveTo(days * dayMs);
    for (let i = 0; i < 2; i++) expect([days, await newTunnel()]).toEqual([days, 1]);
  }
  for (const stream of streams) expect(await stream).toEqual({ sent: count, failed: 0 });
  await until('all datagrams arrive', () => listeners.every(({ received }) => received.length === count));
  for (const listener of listeners) await listener.stop();
  for (const [i, gateway] of [net.a, net.b].entries()) {
    const after = await gateway.numbers();
    const first = before[i] as typeof after;
    expect(newDrops(first, after)).toEqual({});
    expect(after.generation).toBe(first.generation);
    expect(after.health).toEqual([]);
  }
});

clocked('the log and the audit have the time of the clock, and the audit is complete', async () => {
  const { code, stdout } = await net.a.ask('audit', '--json');
  expect(code).toBe(0);
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; time: string });
  const days = events
    .filter(({ type }) => type === 'psp.tunnel.up')
    .map(({ time }) => Math.round((Date.parse(time) - Date.now()) / dayMs));
  expect(new Set(days)).toEqual(new Set([0, 1, 2]));
  const lines = net.a
    .log()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { time: string });
  const ahead = lines.map(({ time }) => Math.round((Date.parse(time) - Date.now()) / dayMs));
  expect(ahead.filter((days) => days === 1).length).toBeGreaterThan(0);
});

clocked('a restart with the clock set back by a day begins with lower IVs, under new keys', async () => {
  const known = new Set(sent().map(({ spi }) => spi));
  const highest = greatest(sent().map(({ iv }) => iv));
  clock.moveTo(dayMs);
  const { epoch } = await net.a.numbers();
  net.a.kill('dataplane');
  await until('the dataplane is back', async () => {
    const now = await net.a.numbers().catch(() => undefined);
    return now !== undefined && now.epoch !== epoch;
  });
  await until('the tunnel carries', async () => {
    const { received } = await ping(net.host1.namespace, '10.2.0.100', { source: '10.1.0.100', waitS: 1 });
    return received === 1;
  });
  expect(await newTunnel()).toBe(1);
  await until('the capture has frames under new keys', () => sent().some(({ spi }) => !known.has(spi)));
  const after = sent().filter(({ spi }) => !known.has(spi));
  expect(greatest(after.map(({ iv }) => iv)) < highest).toBe(true);
});

clocked(
  'beyond the dates of certificates no exchange succeeds; back within them exchanges succeed again',
  async () => {
    clock.moveTo(lifetimeMs + dayMs);
    await until('gateway a rejects the certificate of b', async () => {
      await newTunnel(1);
      next--;
      return (await exchangeWithB())?.lastCode === 'PEER_CERTIFICATE_INVALID';
    });
    // Keys are no matter of certificates.
    expect((await ping(net.host1.namespace, '10.2.0.100', { source: '10.1.0.100' })).received).toBe(1);
    expect((await net.a.numbers()).health.join()).toContain('expired');
    clock.moveTo(dayMs);
    await until('exchanges succeed again', async () => {
      const received = await newTunnel(1);
      next -= 1 - received;
      return received === 1;
    });
    await until('gateway a is healthy', async () => (await net.a.numbers()).health.length === 0);
  },
);

clocked('no IV occurred twice under an SPI of gateway b', async () => {
  await capture.stop();
  expect(capture.summary([]).lost).toBe(0);
  const pairs = sent().map(({ spi, iv }) => `${spi} ${iv}`);
  expect(pairs.length).toBeGreaterThan(400);
  expect(new Set(pairs).size).toBe(pairs.length);
});
