// SPDX-License-Identifier: Apache-2.0
// What may happen to a gateway: its keys rotate, each of its processes dies or hangs, its bus is away, its peer is down,
// its rings are full. Each trouble is over when both gateways carry again. That a ring was full is read from the
// gateway's own counters.
import { setTimeout as sleep } from 'node:timers/promises';
import { withMainThreadHeld } from './frozen_thread.js';
import type { Child, Gateway } from './gateway.js';
import { type Namespace, signal, until } from './namespace.js';
import { grew, type Numbers } from './numbers.js';
import { sendFrames, startFrames } from './raw_frames.js';
import { type Host, hostInterface, type Topology } from './topology.js';
import { ping } from './traffic.js';

/** How long hosts take to send every kind of packet once. */
export const roundMs = 150;

/** How often each ring of a gateway was seen to be full while its host sent. */
export interface FullRings {
  /** Samples that found no room. */
  samples: number;
  /** Attempts to tell the control side of a flow; undefined where it was not tried. */
  events: number | undefined;
  /** Frames of the host that the port's ring had no room for. */
  receiving: number;
}

export interface Troubled {
  gateway: Gateway;
  /** Behind it. */
  host: Host;
  peer: Gateway;
  /** All that its host sends, and what of it is sealed with the least effort. */
  frames: Buffer[];
  small: Buffer[];
  /** More flows than its ring of events takes; none in a short run. */
  newFlows: Buffer[];
}

/** More troubles that take long. */
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

/** All of them, one after another. @param phase is told when each begins */
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
  phase('full rings');
  const full = await fullRings(net, troubled);
  await carries(net, 'they carry after full rings');
  return full;
}

async function stopped(pid: number, work: () => Promise<void>): Promise<void> {
  signal(pid, 'SIGSTOP');
  try {
    await work();
  } finally {
    signal(pid, 'SIGCONT');
  }
}

/** Of samples, and of events: native/engine/software/software_engine.cc. */
const ringSize = 8192;

/** Frames that an interface has sent. */
export const sentBy = (namespace: Namespace, port: string): number =>
  Number(namespace.run('cat', `/sys/class/net/${port}/statistics/tx_packets`));

/**
 * The polling thread goes on without anybody who takes what it has to tell, with every packet sampled; then the whole
 * process stops, and what waits for it when it goes on is more than its ports take.
 */
async function fullRings(
  net: Topology,
  { gateway, host, frames, small, newFlows }: Troubled,
): Promise<FullRings> {
  const pid = await until('the dataplane runs', () => gateway.pidOf('dataplane'));
  await until('sampling is on', async () => (await gateway.ask('sampling', '0')).code === 0);
  const before = await gateway.numbers();
  const file = `${net.folder}/flood`;
  // Some of each flow get through its port's ring, again and again; what leaves tells how many.
  const mixed = newFlows.length > 0 ? newFlows.flatMap((one) => [one, ...small]) : repeated(small, 256);
  const leaving = newFlows.length > 0 ? 6 * ringSize : 2 * ringSize;
  await withMainThreadHeld(pid, async () => {
    const sent = sentBy(gateway.namespace, 'veth-wire');
    const flood = startFrames(host.namespace, hostInterface, mixed, file, 1);
    await until(
      `${leaving} packets have left`,
      () => sentBy(gateway.namespace, 'veth-wire') >= sent + leaving,
      120_000,
    );
    await flood.stop();
  });
  const held = await settled(gateway);
  let sent = 0;
  await stopped(pid, async () => {
    const flood = await sendFrames(host.namespace, hostInterface, repeated(frames, 3000), file, 1);
    sent = Number(flood.stdout);
  });
  const after = await settled(gateway);
  await gateway.ask('sampling', 'off');
  const received = (numbers: Numbers) => numbers.ports.unsecured?.rxPackets ?? 0;
  return {
    samples: grew(before, held, 'samplesLost'),
    events: newFlows.length > 0 ? grew(before, held, 'eventsDelayed') : undefined,
    receiving: sent - (received(after) - received(held)),
  };
}

/** The frames over and over, at least so many in all. */
const repeated = (frames: Buffer[], count: number): Buffer[] =>
  Array.from({ length: Math.ceil(count / frames.length) }, () => frames).flat();

/** Once its main thread has caught up with what waited. */
const settled = (gateway: Gateway): Promise<Numbers> =>
  until('it tells numbers again', () => gateway.numbers().catch(() => undefined), 90_000);
