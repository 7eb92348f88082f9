// SPDX-License-Identifier: Apache-2.0
// Two gateways go through all kinds of faults while their hosts send every kind of packet. The wire between them is
// captured from before the first process until after the last. The kernels of both gateways could leak: they may
// forward, and have a route and a neighbour for everything that reaches them.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Capture } from './capture.js';
import type { Gateway } from './gateway.js';
import { type FullRings, roundMs } from './leak_full.js';
import { carries, troubles } from './leak_troubles.js';
import { type Gatekeeper, type Judgement, judge } from './leak_wire.js';
import { until } from './namespace.js';
import { type PacketKind, packetKinds } from './packet_kinds.js';
import { type End, filled, fragments4, frame, ipv4, udp } from './packet_octets.js';
import { macIn, type RunningFrames, sentBy, startFrames } from './raw_frames.js';
import { type Host, hostInterface, Topology, type TopologyOptions } from './topology.js';

export interface LeakOptions {
  outer: 4 | 6;
  mode: 'tunnel' | 'transport';
  /** Of the hosts' links; that of the wire is 100 more. */
  mtu: number;
  /** The gateways that have faults, one after the other. */
  troubled: readonly ('a' | 'b')[];
  /** Includes the faults that take long. */
  long: boolean;
}

export interface LeakResult {
  /** By port of the wire. */
  wire: Record<'to-a' | 'to-b', Judgement>;
  /** Frames that the kernel did not deliver to a capture. */
  lost: number;
  /** Frames that each host sent, and the number of kinds. */
  sent: number[];
  kinds: number;
  /** Frames with a marker that a host received from the other one. */
  arrived: number;
  /** For each gateway that had faults. */
  full: FullRings[];
  /** When each fault began, in milliseconds since the epoch. */
  phases: { name: string; from: number }[];
}

const marker = 'PSP-LEAK-MARKER!';
const controlMarker = 'PSP-LEAK-CONTROL';
export const controls = 2;
const ports = ['to-a', 'to-b'] as const;

/** Runs everything. @param begun is called with the topology as soon as there is something to clean up. */
export async function runLeak(options: LeakOptions, begun: (net: Topology) => void): Promise<LeakResult> {
  const net = await Topology.create(topologyOf(options));
  begun(net);
  const phases: LeakResult['phases'] = [];
  const phase = (name: string) => phases.push({ name, from: Date.now() });
  widen(net, options.mtu);
  const [hostKinds, far] = [kindsOf(net, options, 'a'), kindsOf(net, options, 'b')];
  const captures = new Map<(typeof ports)[number], Capture>();
  for (const port of ports) {
    const bufferMib = options.long ? 256 : 64;
    captures.set(port, await net.capture(port, { at: [net.wire, port], bufferMib }));
  }
  const received = await net.capture('host2', {
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
  const full: FullRings[] = [];
  for (const node of options.troubled) {
    const [gateway, host, kinds, peer] =
      node === 'a' ? [net.a, net.host1, hostKinds, net.b] : [net.b, net.host2, far, net.a];
    const newFlows = options.long ? floodOf(host, gateway) : [];
    const small = framesOf(kinds.filter(({ name }) => name === 'udp'));
    const troubled = { gateway, host, peer, frames: framesOf(kinds), small, newFlows };
    full.push(await troubles(net, troubled, (name) => phase(`${name}, at ${node}`), options));
  }
  const sent = await end(net, senders, phase);
  const arrived = await markedIn(received);
  phase('control');
  await control(net);
  const wire = {} as LeakResult['wire'];
  let lost = 0;
  await Promise.all([...captures.values()].map((capture) => capture.stop()));
  for (const [port, capture] of captures) {
    lost += capture.summary([]).lost;
    wire[port] = judge(capture.frames(), gatekeepers(net, options), [marker, controlMarker]);
  }
  return { wire, lost, sent, kinds: hostKinds.length, arrived, full, phases };
}

/**
 * The violations, each with the fault during which it occurred. Without those of the control run, which removes a
 * fence: then the kernel may send in plaintext.
 */
export function leaksOf({ wire, phases }: LeakResult): string[] {
  const control = phases.findLast(({ name }) => name === 'control')?.from ?? Number.POSITIVE_INFINITY;
  return ports.flatMap((port) =>
    wire[port].faults
      .filter(({ time }) => time < control)
      .map(({ what, time, octets }) => {
        const during = phases.findLast(({ from }) => from <= time)?.name ?? 'start';
        return `${port} during "${during}": ${what} ${octets}`;
      }),
  );
}

/** How often the control packets were seen in plaintext, at each port of the wire. */
export const controlsSeen = ({ wire }: LeakResult): number[] => {
  const control = Buffer.from(controlMarker, 'latin1').toString('hex');
  return ports.map(
    (port) =>
      wire[port].faults.filter(({ what, octets }) => what === 'marker' && octets.includes(control)).length,
  );
};

/** Peers that do not exist, with so many addresses that their wants fill an event ring. */
const absent = ['c', 'd', 'e'];
const absentPrefix = (i: number) => `10.${100 + i}`;

/** Each gateway prefers a different version, so both are on the wire. */
function topologyOf({ outer, mode, mtu, long }: LeakOptions): TopologyOptions {
  const absents = absent.map(
    (name, i) => `  ${name}: { endpoint: "198.51.100.9:3000", vips: [${absentPrefix(i)}.0.0/16] }\n`,
  );
  return {
    outer,
    wireMtu: mtu + 100,
    edit: (node, yaml) => {
      const peer = /(vips: \[[^\]]*\]) \}\n/;
      const terms = yaml.replace(peer, `$1, mode: ${mode} }\n${long ? absents.join('') : ''}`);
      return `${terms}versions: ${node === 'a' ? '[0, 1]' : '[1, 0]'}\n`;
    },
  };
}

/** One packet to each of 4096 addresses of every absent peer, as many as there may be open wants. */
function floodOf({ namespace, v4 }: Host, gateway: Gateway): Buffer[] {
  const [to, from] = [macIn(gateway.namespace, 'veth-host'), macIn(namespace, hostInterface)];
  return absent.flatMap((_, i) =>
    Array.from({ length: 4096 }, (_, n) => {
      const address = `${absentPrefix(i)}.${n >> 8}.${n & 255}`;
      return frame(
        to,
        from,
        0x0800,
        ipv4({ from: v4, to: address, protocol: 17, payload: udp(5001, filled(marker, 64)) }),
      );
    }),
  );
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

/** Lets the kernel of a gateway act as a router, if any packet reached it and could leave. */
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

/** The peer goes down, keys rotate without it, then the other gateway stops too, while hosts keep sending. */
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
  return capture.summary([marker]).marked;
}

/**
 * Simulates a leak from the port of a gateway without its fence: one packet with the marker in plaintext, and one
 * whose marker appears only after its two fragments are reassembled.
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
