// SPDX-License-Identifier: Apache-2.0
// Two gateways go through everything that may happen to them while their hosts send every kind of packet, and the wire
// between them is captured from before the first process until after the last. The kernels of both gateways are
// tempted: they may forward, and have a route and a neighbour for all that reaches them.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Capture } from './capture.js';
import type { Child, Gateway } from './gateway.js';
import { type Gatekeeper, type Judgement, judge } from './leak_wire.js';
import { type Namespace, signal, until } from './namespace.js';
import { type PacketKind, packetKinds } from './packet_kinds.js';
import { type End, filled, fragments4, frame, ipv4, udp } from './packet_octets.js';
import { macIn, type RunningFrames, sendFrames, startFrames } from './raw_frames.js';
import { hostInterface, Topology, type TopologyOptions } from './topology.js';
import { ping } from './traffic.js';

export interface LeakOptions {
  outer: 4 | 6;
  mode: 'tunnel' | 'transport';
  /** Of the hosts' links; that of the wire is 100 more. */
  mtu: number;
  /** How often each trouble comes. */
  rounds: number;
}

export interface LeakResult {
  /** By port of the wire. */
  wire: Record<'to-a' | 'to-b', Judgement>;
  /** Frames that the kernel kept from a capture. */
  lost: number;
  /** Frames that each host sent, and how many kinds. */
  sent: number[];
  kinds: number;
  /** Frames with a marker that reached a host from the other one. */
  arrived: number;
  /** When each trouble began, in milliseconds since the epoch. */
  phases: { name: string; from: number }[];
}

const marker = 'PSP-LEAK-MARKER!';
const controlMarker = 'PSP-LEAK-CONTROL';
export const controls = 2;
const roundMs = 150;
const ports = ['to-a', 'to-b'] as const;

/** Runs it all. @param begun is called with the topology as soon as there is something to take away. */
export async function runLeak(options: LeakOptions, begun: (net: Topology) => void): Promise<LeakResult> {
  const net = await Topology.create(topologyOf(options));
  begun(net);
  const phases: LeakResult['phases'] = [];
  const phase = (name: string) => phases.push({ name, from: Date.now() });
  widen(net, options.mtu);
  const [hostKinds, far] = [kindsOf(net, options, 'a'), kindsOf(net, options, 'b')];
  const captures = new Map<(typeof ports)[number], Capture>();
  for (const port of ports) captures.set(port, await net.capture(port, { at: [net.wire, port] }));
  const heard = await net.capture('host2', {
    at: [net.host2.namespace, hostInterface],
    filter: 'inbound and src net 10.1.0.0/24',
  });

  phase('before any process');
  const senders = [
    startFrames(net.host1.namespace, hostInterface, framesOf(hostKinds), `${net.folder}/kinds1`, roundMs),
    startFrames(net.host2.namespace, hostInterface, framesOf(far), `${net.folder}/kinds2`, roundMs),
  ];
  await sleep(2 * roundMs);
  await startOneAfterTheOther(net, phase);
  for (let round = 0; round < options.rounds; round++) {
    for (const gateway of round % 2 === 0 ? [net.a, net.b] : [net.b, net.a]) {
      await troubles(net, gateway, round, framesOf(hostKinds), phase);
      // A short run troubles one gateway only.
      if (options.rounds === 1) break;
    }
  }
  const sent = await end(net, senders, phase);
  const arrived = await markedIn(heard);
  phase('control');
  await control(net);
  const wire = {} as LeakResult['wire'];
  let lost = 0;
  for (const [port, capture] of captures) {
    await capture.stop();
    lost += capture.sight([]).lost;
    wire[port] = judge(capture.frames(), gatekeepers(net, options), [marker, controlMarker]);
  }
  return { wire, lost, sent, kinds: hostKinds.length, arrived, phases };
}

/** The faults, each with the trouble in which it came; without those of the control. */
export function leaksOf({ wire, phases }: LeakResult): string[] {
  const control = Buffer.from(controlMarker, 'latin1').toString('hex');
  return ports.flatMap((port) =>
    wire[port].faults
      .filter(({ octets }) => !octets.includes(control))
      .map(({ what, time, octets }) => {
        const during = phases.findLast(({ from }) => from <= time)?.name ?? 'start';
        return `${port} during "${during}": ${what} ${octets}`;
      }),
  );
}

/** How often the control was seen to be in the clear, at each port of the wire. */
export const controlsSeen = ({ wire }: LeakResult): number[] => {
  const control = Buffer.from(controlMarker, 'latin1').toString('hex');
  return ports.map(
    (port) =>
      wire[port].faults.filter(({ what, octets }) => what === 'marker' && octets.includes(control)).length,
  );
};

function topologyOf({ outer, mode, mtu }: LeakOptions): TopologyOptions {
  return {
    outer,
    wireMtu: mtu + 100,
    edit: (_, yaml) =>
      mode === 'tunnel' ? yaml : yaml.replace(/(vips: \[[^\]]*\]) \}/, `$1, mode: ${mode} }`),
  };
}

function widen(net: Topology, mtu: number): void {
  for (const [host, gateway] of [
    [net.host1, net.a],
    [net.host2, net.b],
  ] as const) {
    gateway.namespace.ip('link', 'set', 'veth-host', 'mtu', `${mtu}`);
    host.namespace.ip('link', 'set', hostInterface, 'mtu', `${mtu}`);
  }
}

const addressOf = (outer: 4 | 6, n: 1 | 2): string => (outer === 4 ? `192.0.2.${n}` : `fd00:99::${n}`);

const gatekeepers = (net: Topology, { outer }: LeakOptions): Gatekeeper[] => [
  { mac: macIn(net.a.namespace, 'veth-wire'), address: addressOf(outer, 1) },
  { mac: macIn(net.b.namespace, 'veth-wire'), address: addressOf(outer, 2) },
];

function kindsOf(net: Topology, { outer, mtu }: LeakOptions, side: 'a' | 'b'): PacketKind[] {
  const end = (n: 1 | 2): End => {
    const host = n === 1 ? net.host1 : net.host2;
    return { mac: macIn(host.namespace, hostInterface), v4: host.v4, v6: host.v6 };
  };
  const [own, other] = side === 'a' ? ([1, 2] as const) : ([2, 1] as const);
  const gateway = { mac: macIn(net[side].namespace, 'veth-host'), v4: `10.${own}.0.1`, v6: `fd00:${own}::1` };
  const outside = { from: addressOf(outer, own), to: addressOf(outer, other) };
  return packetKinds({ from: end(own), to: end(other), gateway, outer: outside, marker, mtu });
}

const framesOf = (kinds: PacketKind[]): Buffer[] => kinds.flatMap(({ frames }) => frames);

/** Lets the kernel of a gateway do what it would do as a router, if anything reached it and could leave. */
function tempt({ namespace }: Gateway): void {
  for (const setting of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding']) {
    namespace.run('sysctl', '-qw', `${setting}=1`);
  }
  namespace.run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.veth-host.rp_filter=0');
  const hop = '192.0.2.254';
  namespace.ip(
    'neighbour',
    'replace',
    hop,
    'lladdr',
    '02:00:00:00:00:fe',
    'dev',
    'veth-wire',
    'nud',
    'permanent',
  );
  namespace.ip('route', 'replace', 'default', 'via', hop, 'dev', 'veth-wire', 'onlink');
}

const carries = (net: Topology, what: string) =>
  until(
    what,
    async () =>
      (await ping(net.host1.namespace, net.host2.v4)).received === 1 &&
      (await ping(net.host1.namespace, net.host2.v6)).received === 1,
    60_000,
  );

async function startOneAfterTheOther(net: Topology, phase: (name: string) => void): Promise<void> {
  phase('boot of a, no key for anything, no peer');
  await net.a.start();
  tempt(net.a);
  await sleep(3 * roundMs);
  phase('boot of b');
  await net.b.start();
  tempt(net.b);
  await carries(net, 'both carry');
  phase('steady');
  await sleep(2 * roundMs);
}

const children: Child[] = ['keyexchange', 'nats-server', 'sampler', 'stats', 'dataplane'];

/** One gateway's processes die one after another, its bus hangs, its keys rotate, its rings are full. */
async function troubles(
  net: Topology,
  gateway: Gateway,
  round: number,
  frames: Buffer[],
  phase: (name: string) => void,
): Promise<void> {
  phase(`rotation ${round}`);
  await gateway.rotate();
  await sleep(2 * roundMs);
  for (const child of children) {
    phase(`SIGKILL of ${child} ${round}`);
    const dead = gateway.kill(child);
    await until(`${child} is back`, () => ![undefined, dead].includes(gateway.pidOf(child)), 60_000);
  }
  await carries(net, 'they carry again');
  phase(`nats-server hangs ${round}`);
  await stopped(gateway, 'nats-server', () => sleep(4 * roundMs));
  phase(`full rings ${round}`);
  // More than the port's ring takes waits for the engine when it goes on.
  const times = Math.ceil(3000 / frames.length);
  await stopped(gateway, 'dataplane', async () => {
    const many = Array.from({ length: times }, () => frames).flat();
    await sendFrames(net.host1.namespace, hostInterface, many, `${net.folder}/flood`, 1);
  });
  await carries(net, 'they carry after full rings');
}

async function stopped(gateway: Gateway, child: Child, work: () => Promise<void>): Promise<void> {
  const pid = gateway.pidOf(child);
  if (pid === undefined) throw new Error(`${child} does not run`);
  signal(pid, 'SIGSTOP');
  try {
    await work();
  } finally {
    signal(pid, 'SIGCONT');
  }
}

/** The peer goes down, keys rotate without it, then the other gateway stops too; hosts send all the while. */
async function end(
  net: Topology,
  senders: RunningFrames[],
  phase: (name: string) => void,
): Promise<number[]> {
  phase('shutdown of b');
  await net.b.stop();
  phase('peer down');
  await net.a.rotate();
  await sleep(3 * roundMs);
  phase('shutdown of a');
  await net.a.stop();
  phase('no process any more');
  await sleep(3 * roundMs);
  return Promise.all(senders.map((sender) => sender.stop()));
}

async function markedIn(capture: Capture): Promise<number> {
  await capture.stop();
  return capture.sight([marker]).marked;
}

const sentBy = (namespace: Namespace, port: string): number =>
  Number(namespace.run('cat', `/sys/class/net/${port}/statistics/tx_packets`));

/**
 * What a leak would look like: from the port of a gateway without its fence, one packet with the marker in the clear,
 * and one whose marker shows only once its two fragments are one packet again.
 */
async function control(net: Topology): Promise<void> {
  const removed = await net.a.psp('fence', 'remove');
  if (removed.code !== 0) throw new Error(removed.stderr);
  const packet = { from: net.host1.v4, to: net.host2.v4, protocol: 17 };
  const split = Buffer.concat([Buffer.alloc(8), Buffer.from(controlMarker), filled(controlMarker, 8)]);
  const packets = [
    ipv4({ ...packet, payload: udp(5001, Buffer.from(controlMarker)) }),
    ...fragments4({ ...packet, id: 9, payload: udp(5001, split.subarray(0, 24)) }, 24),
  ];
  const frames = packets.map((octets) =>
    frame(macIn(net.b.namespace, 'veth-wire'), macIn(net.a.namespace, 'veth-wire'), 0x0800, octets),
  );
  const before = sentBy(net.a.namespace, 'veth-wire');
  const once = startFrames(net.a.namespace, 'veth-wire', frames, `${net.folder}/control`, 3_000_000);
  await until('the control is out', () => sentBy(net.a.namespace, 'veth-wire') >= before + frames.length);
  await once.stop();
}
