// SPDX-License-Identifier: Apache-2.0
// The faults of a gateway: its keys rotate, each of its processes dies or hangs, its bus is down, its peer is down,
// its rings are full (leak_full.ts). Each fault is over when both gateways carry traffic again.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from './gateway.js';
import { type FullRings, fullRings, roundMs, type Troubled } from './leak_full.js';
import { stopped, until } from './namespace.js';
import type { Topology } from './topology.js';
import { ping } from './traffic.js';

/** Also includes the faults that take long. */
export interface Long {
  long: boolean;
}

const children: Child[] = ['keyexchange', 'nats-server', 'sampler', 'stats', 'dataplane'];

export const carries = (net: Topology, what: string) =>
  until(
    what,
    async () =>
      (await ping(net.host1.namespace, net.host2.v4, { waitS: 2 })).received === 1 &&
      (await ping(net.host1.namespace, net.host2.v6, { waitS: 2 })).received === 1,
    90_000,
  );

/** All of them, one after another. @param phase is called when each begins */
export async function troubles(
  net: Topology,
  troubled: Troubled,
  phase: (name: string) => void,
  { long }: Long,
): Promise<FullRings> {
  const { gateway, peer } = troubled;
  phase('rotation');
  await gateway.rotate();
  await sleep(2 * roundMs);
  for (const child of children) {
    phase(`SIGKILL of ${child}`);
    const dead = gateway.kill(child);
    await until(`${child} is back`, () => ![undefined, dead].includes(gateway.pidOf(child)), 60_000);
  }
  await carries(net, 'they carry again');
  phase('nats-server is gone');
  await stopped(gateway.pid, async () => {
    gateway.kill('nats-server');
    await sleep(4 * roundMs);
  });
  for (const child of long ? children : (['nats-server'] as const)) {
    await until(`${child} runs`, () => gateway.pidOf(child) !== undefined, 60_000);
    phase(`${child} hangs`);
    await stopped(gateway.pidOf(child) as number, () => sleep(4 * roundMs));
  }
  if (long) {
    phase('peer down');
    await peer.stop();
    await gateway.rotate().catch(() => undefined);
    await sleep(4 * roundMs);
    await peer.start();
    await carries(net, 'they carry after the peer was down');
  }
  const full = await fullRings(net, troubled, phase);
  await carries(net, 'they carry after full rings');
  return full;
}
