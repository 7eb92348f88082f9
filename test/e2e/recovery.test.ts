// SPDX-License-Identifier: Apache-2.0
// Gateways that lose all their keys: a dataplane, a whole node, or both nodes at once are killed while hosts send.
// Tunnels form again by themselves, also where only hosts behind the other gateway send, who notice nothing.
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import type { Gateway } from './gateway.js';
import { signal, until } from './namespace.js';
import { dropped, grew } from './numbers.js';
import { pspFrames } from './psp_frames.js';
import { sendFrames } from './raw_frames.js';
import { type Host, Topology } from './topology.js';
import { type Datagram, Listener, ping } from './traffic.js';

const tunnels = 20;
const port = 7000;
const pairs = Array.from({ length: tunnels }, (_, i) => [`10.1.0.${100 + i}`, `10.2.0.${100 + i}`] as const);

let net: Topology;
beforeAll(async () => {
  net = await Topology.create();
  net.addAddresses(tunnels);
  await net.start();
});
afterAll(() => net?.close());

/** Datagrams of every tunnel from one host to the other, 20 a second, until it is stopped. */
class Sender {
  private constructor(
    private readonly child: ChildProcess,
    readonly listener: Listener,
  ) {}

  static async start(way: 'to host 1' | 'to host 2'): Promise<Sender> {
    const [from, to] = way === 'to host 2' ? [net.host1, net.host2] : [net.host2, net.host1];
    const listener = await Listener.start((to as Host).namespace, port);
    const plan = pairs.map(([one, other]) => {
      const [source, destination] = way === 'to host 2' ? [one, other] : [other, one];
      return { source, destination, port, count: 1_000_000 };
    });
    const args = [fromPackageRoot('dist/test/e2e/agents/udp_send.js'), JSON.stringify(plan), '50'];
    return new Sender(from.namespace.spawn(process.execPath, args, 'ignore'), listener);
  }

  /** Resolves once a datagram of every tunnel arrived that was sent from now on. */
  async allCarry(what: string): Promise<void> {
    const known = this.listener.received.length;
    const late = (): Datagram[] => this.listener.received.slice(known);
    await until(what, () => new Set(late().map(({ from }) => from)).size === tunnels, 60_000);
  }

  async stop(): Promise<void> {
    signal(this.child.pid as number, 'SIGKILL');
    await this.listener.stop();
  }
}

/** Kills the dataplane. @returns once another one has reported its epoch. */
async function killDataplane(gateway: Gateway): Promise<void> {
  const { epoch } = await gateway.numbers();
  gateway.kill('dataplane');
  await until('the dataplane is back', async () => {
    const now = await gateway.numbers().catch(() => undefined);
    return now !== undefined && now.epoch !== epoch;
  });
}

/** Kills every process of the node at once, and starts it again. */
async function killNode(gateway: Gateway): Promise<void> {
  for (const pid of gateway.namespace.processes()) signal(pid, 'SIGKILL');
  await until('all of the node is gone', () => gateway.namespace.processes().length === 0);
  await gateway.stop();
  await gateway.start();
}

describe('while only hosts behind gateway b send', () => {
  let sender: Sender;
  beforeAll(async () => {
    sender = await Sender.start('to host 1');
    await sender.allCarry('every tunnel carries');
  });
  afterAll(() => sender?.stop());

  const cases: [string, () => Promise<unknown>][] = [
    ['the dataplane of gateway a', () => killDataplane(net.a)],
    ['the whole node a', () => killNode(net.a)],
    ['both nodes at once', () => Promise.all([killNode(net.a), killNode(net.b)])],
  ];
  it.each(cases)('SIGKILL of %s: every tunnel carries again', async (_, kill) => {
    await kill();
    await sender.allCarry('every tunnel carries again');
  });

  it('the peer that did not restart renewed its flows and recorded that in its audit and its log', async () => {
    const before = await net.b.numbers();
    await killDataplane(net.a);
    await until('it renewed them', async () => grew(before, await net.b.numbers(), 'peerRestarts') > 0);
    expect(net.b.log()).toContain('peer restarted, its keys are renewed');
    const { stdout } = await net.b.ask('audit', '--json');
    expect(stdout).toContain('psp.peer.restarted');
  });
});

describe('while hosts on both sides send', () => {
  let senders: Sender[];
  beforeAll(async () => {
    senders = [await Sender.start('to host 1'), await Sender.start('to host 2')];
    for (const sender of senders) await sender.allCarry('every tunnel carries');
  });
  afterAll(() => Promise.all((senders ?? []).map((sender) => sender.stop())));

  const cases: [string, () => Promise<unknown>][] = [
    ['the dataplane of gateway b', () => killDataplane(net.b)],
    ['the whole node b', () => killNode(net.b)],
  ];
  it.each(cases)('SIGKILL of %s: every tunnel carries again', async (_, kill) => {
    await kill();
    for (const sender of senders) await sender.allCarry('every tunnel carries again');
  });
});

describe('packets that anybody can forge', () => {
  /** PSP packets of host 2 as they arrive at gateway a. */
  let frames: Buffer[];
  beforeAll(async () => {
    const capture = await net.capture('forged');
    for (let i = 0; i < 3; i++) await ping(net.host2.namespace, net.host1.v4, { count: 2 });
    await capture.stop();
    const towards = capture
      .frames()
      .filter(({ octets }) => pspFrames([{ octets } as never])[0]?.destination === 'c0000201');
    frames = towards.map(({ octets }) => octets);
    expect(frames.length).toBeGreaterThan(3);
  });

  const spiAt = 14 + 20 + 8 + 4;
  const changed = (change: (octets: Buffer, i: number) => void): Buffer[] =>
    Array.from({ length: 2000 }, (_, i) => {
      const octets = Buffer.from(frames[i % frames.length] as Buffer);
      change(octets, i);
      return octets;
    });

  const floods: Record<string, { octets: () => Buffer[]; reason?: string }> = {
    'with a wrong ICV': {
      octets: () =>
        changed((octets) => octets.writeUInt8(octets.readUInt8(octets.length - 1) ^ 1, octets.length - 1)),
      reason: 'ingress/icv_failure',
    },
    'that are replayed': { octets: () => changed(() => undefined) },
    'under random SPIs': {
      octets: () => changed((octets, i) => octets.writeUInt32BE(0x4000_0000 + 7919 * i, spiAt)),
      reason: 'ingress/unknown_spi',
    },
  };

  it.each(Object.keys(floods))('%s cause at most one greeting a second, and no exchange', async (name) => {
    const { octets, reason } = floods[name] as (typeof floods)[string];
    const flows = async () => (await net.b.flows()).filter(({ direction }) => direction === 'egress');
    const spis = (await flows()).map(({ spi }) => spi);
    await sleep(1500);
    const [a, b] = [await net.a.numbers(), await net.b.numbers()];
    const seconds = 3;
    const began = performance.now();
    const { stdout, stderr } = await sendFrames(net.wire, 'to-a', octets(), `${net.folder}/flood`, seconds);
    expect(Number(stdout), stderr).toBeGreaterThan(10_000);
    await sleep(1500);
    const [afterA, afterB] = [await net.a.numbers(), await net.b.numbers()];
    const passed = (performance.now() - began) / 1000;
    if (reason !== undefined) expect(dropped(a, afterA, reason)).toBeGreaterThan(10_000);
    const greetings = grew(a, afterA, 'greetingsSent');
    expect(greetings).toBeLessThanOrEqual(passed + 1);
    if (reason === 'ingress/unknown_spi') expect(greetings).toBeGreaterThan(0);
    else expect(greetings).toBe(0);
    for (const [before, after] of [
      [a, afterA],
      [b, afterB],
    ] as const) {
      for (const counter of ['exchanges', 'renewed', 'peerRestarts', 'unknownSpisRenewed']) {
        expect([counter, grew(before, after, counter)]).toEqual([counter, 0]);
      }
      expect(after.health).toEqual([]);
    }
    expect((await flows()).map(({ spi }) => spi)).toEqual(spis);
    expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
  });
});
