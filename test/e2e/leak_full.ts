// SPDX-License-Identifier: Apache-2.0
// Fills every ring and queue of a gateway at least once while its host sends: those of samples and events, the port's
// own, that of commands, and the transmit queue of a blocked wire. The gateway's own counters show that each was
// full.
import { setTimeout as sleep } from 'node:timers/promises';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { pollingThreadOf, withThreadHeld } from './frozen_thread.js';
import type { Gateway } from './gateway.js';
import { type Namespace, stopped, until } from './namespace.js';
import { dropped, grew, type Numbers } from './numbers.js';
import { sentBy, startFrames } from './raw_frames.js';
import { type Host, hostInterface, type Topology } from './topology.js';

/** How long hosts take to send every kind of packet once. */
export const roundMs = 150;

/** How often each ring of a gateway was seen full while its host sent. */
export interface FullRings {
  /** Samples that did not fit. */
  samples: number;
  /** Attempts to report a flow to the control side; undefined if this was not tried. */
  events: number | undefined;
  /** Frames of the host that did not fit into the port's ring. */
  receiving: number;
  /** Commands that did not fit, and the results of an operator's commands, by code. */
  commands: number;
  answers: Record<string, number>;
  /** Sealed packets that did not fit into the wire's transmit queue. */
  sending: number;
}

export interface Troubled {
  gateway: Gateway;
  /** The host behind it. */
  host: Host;
  peer: Gateway;
  /** Everything that its host sends, and the part of it that is cheapest to seal. */
  frames: Buffer[];
  small: Buffer[];
  /** More flows than its event ring holds; none in a short run. */
  newFlows: Buffer[];
}

/** Capacity of the sample and event rings, and of the command ring: native/engine/software/control_rings.h. */
const ringSize = 8192;
const commandRing = 1024;
/**
 * More frames than a port's socket buffers, with 8 MiB and more than 512 for each:
 * native/engine/ports/kernel_port.cc.
 */
const beyondSocket = 16_384;

/** One after the other. @param phase is called when each begins */
export async function fullRings(
  net: Topology,
  troubled: Troubled,
  phase: (name: string) => void,
): Promise<FullRings> {
  const pid = await until('the dataplane runs', () => troubled.gateway.pidOf('dataplane'));
  phase('full rings of samples, events and the port');
  const untaken = await fullOfUntaken(net, pid, troubled);
  phase('full ring of commands');
  const refused = await fullOfCommands(pid, troubled);
  phase('full queue of the wire');
  return { ...untaken, ...refused, sending: await fullOfSealed(net, troubled) };
}

/**
 * First the polling thread runs while no thread reads its rings, with every packet sampled. Then the whole process is
 * stopped, and more frames wait when it continues than its ports buffer.
 */
async function fullOfUntaken(
  net: Topology,
  pid: number,
  { gateway, host, frames, small, newFlows }: Troubled,
): Promise<Pick<FullRings, 'samples' | 'events' | 'receiving'>> {
  await until('sampling is on', async () => (await gateway.ask('sampling', '0')).code === 0);
  const before = await gateway.numbers();
  const file = `${net.folder}/flood`;
  // Some packets of each flow pass its port's ring, repeatedly; the number of sent packets shows how many.
  const mixed = newFlows.length > 0 ? newFlows.flatMap((one) => [one, ...small]) : repeated(small, 256);
  const leaving = newFlows.length > 0 ? 6 * ringSize : 2 * ringSize;
  await withThreadHeld(pid, async () => {
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
  await stopped(pid, async () => {
    const sent = sentBy(host.namespace, hostInterface);
    const flood = startFrames(host.namespace, hostInterface, repeated(frames, 3000), file, 1);
    await until(
      `${beyondSocket} packets were sent`,
      () => sentBy(host.namespace, hostInterface) >= sent + beyondSocket,
    );
    await flood.stop();
  });
  await settled(gateway);
  const missed = async () => grew(held, await gateway.numbers(), 'framesMissed');
  const receiving = await until('it has looked at its ports', async () => (await missed()) || undefined);
  await gateway.ask('sampling', 'off');
  return {
    samples: grew(before, held, 'samplesLost'),
    events: newFlows.length > 0 ? grew(before, held, 'eventsDelayed') : undefined,
    receiving,
  };
}

/**
 * The polling thread is stopped, an operator sends one command after another, and the peer's new keys need commands,
 * too. Each one is carried out later or refused.
 */
async function fullOfCommands(
  pid: number,
  { gateway, peer }: Troubled,
): Promise<Pick<FullRings, 'commands' | 'answers'>> {
  const before = await gateway.numbers();
  const refused = async () => grew(before, await gateway.numbers(), 'commandsRefused');
  const agent = fromPackageRoot('dist/test/e2e/agents/insistent_operator.js');
  const asked = await withThreadHeld(pollingThreadOf(pid), async () => {
    const args = [agent, `${gateway.files}/node.yaml`, `${2 * commandRing}`];
    const answers = gateway.namespace.try(process.execPath, args, 120_000);
    await until('the ring of commands is full', async () => (await refused()) > 0);
    // Refused while its last one is not complete.
    await peer.rotate().catch(() => undefined);
    await sleep(2 * roundMs);
    return { answers };
  });
  const { code, stdout, stderr } = await asked.answers;
  if (code !== 0) throw new Error(`the operator: ${stderr}`);
  return { commands: await refused(), answers: JSON.parse(stdout) as Record<string, number> };
}

/**
 * The wire accepts almost nothing, so packets wait in the kernel and, once that is full, in the port's queue. In the
 * end all of them leave.
 */
async function fullOfSealed(net: Topology, { gateway, host, frames, small }: Troubled): Promise<number> {
  const before = await gateway.numbers();
  const refused = async () => dropped(before, await gateway.numbers(), 'egress/tx_full');
  const wire = (verb: string, ...rate: string[]) =>
    gateway.namespace.run('tc', 'qdisc', verb, 'dev', 'veth-wire', 'root', ...rate);
  const limits = ['tbf', 'burst', '32kb', 'limit', '256mb', 'rate'];
  wire('add', ...limits, '1mbit');
  const mixed = [...frames, ...repeated(small, 256)];
  const flood = startFrames(host.namespace, hostInterface, mixed, `${net.folder}/flood`, 1);
  await until("the wire's queue is full", async () => (await refused()) > 0, 120_000);
  await sleep(2 * roundMs);
  await flood.stop();
  wire('change', ...limits, '10gbit');
  await until('what waited has left', () => waitingAt(gateway.namespace, 'veth-wire') === 0);
  wire('delete');
  return refused();
}

/** Packets in the kernel's queue of an interface. */
function waitingAt(namespace: Namespace, port: string): number {
  const [queue] = JSON.parse(namespace.run('tc', '-json', '-statistics', 'qdisc', 'show', 'dev', port));
  return queue.qlen;
}

/** Repeats the frames until there are at least this many. */
const repeated = (frames: Buffer[], count: number): Buffer[] =>
  Array.from({ length: Math.ceil(count / frames.length) }, () => frames).flat();

/** Once its main thread has processed the backlog. */
const settled = (gateway: Gateway): Promise<Numbers> =>
  until('it reports its counters again', () => gateway.numbers().catch(() => undefined), 90_000);
