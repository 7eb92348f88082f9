// SPDX-License-Identifier: Apache-2.0
// One seeded schedule: two nodes, a few flows with traffic, and what happens to them. What must hold depends on its kind:
//
//   calm     nothing fails, although messages and packets may be slow: no packet may be lost
//   restart  one dataplane is away for a moment: soon after its return no packet may be lost
//   faulty   messages are lost, late and duplicated, and processes restart: once that has ended, no flow may be
//            black-holed for longer than 2 s
//   slow     the same, with messages so late that the timeouts of exchanges grow (core/pace.ts): the same, a little later
//   plain    the same, with a peer as NVIDIA's application is: nothing orders its offers, so packets may be lost, but what
//            must hold always holds
//   one-way  the same, but that peer only answers, and no dataplane restarts: only the rule that late answers change
//            nothing orders its offers, and so no flow may be black-holed, as above
import { reversed } from '../../services/dataplane/core/facts.js';
import { type FlowKey, flowKeyOf } from '../../services/shared/address.js';
import { Channel, type Faults, noFaults } from './channel.js';
import { type Packet, Violation } from './engine.js';
import { times } from './messages.js';
import { Node } from './node.js';
import { startMs, World } from './world.js';

/** Faults happen in the first part of a schedule. */
const faultsMs = 5000;
const quietMs = 6000;
const endMs = startMs + faultsMs + quietMs;
const blackHoleMs = 2000;
/** A dataplane that is back has agreed its tunnels anew after this time at most. */
const recoveryMs = 1500;

/** By their frequency. */
const kinds = ['calm', 'calm', 'restart', 'faulty', 'faulty', 'faulty', 'slow', 'plain', 'one-way'] as const;

interface Stream {
  from: Node;
  flow: FlowKey;
  packets: Packet[];
}

export interface Result {
  violation: string | undefined;
  packets: number;
  /** The longest black hole after the end of faults. */
  longestMs: number;
}

const flowBetween = (a: number, b: number): FlowKey =>
  flowKeyOf({ source: Uint8Array.of(10, 1, 0, a), destination: Uint8Array.of(10, 2, 0, b) });

/** Of VIPs that neither gateway has. */
const foreign: FlowKey = flowKeyOf({
  source: Uint8Array.of(10, 3, 0, 1),
  destination: Uint8Array.of(10, 1, 0, 1),
});

/** @param print receives what happens, for a person. */
export function runSchedule(seed: number, print?: (line: string) => void): Result {
  const world = new World(seed, print);
  const kind = world.oneOf(kinds);
  // Core NATS delivers at most once. Where messages are duplicated all the same, the same key may be installed before and
  // after a restart, so only a clock that does not go back, and an engine that follows it, keep IVs apart.
  const duplicates = world.chance(0.3);
  const [a, b] = nodesOf(world, duplicates);
  const streams: Stream[] = [];
  for (let i = 0; i < 1 + world.below(3); i++) {
    const flow = flowBetween(i + 1, i + 1);
    streams.push(...streamsOf(world, a, b, flow, kind === 'one-way' ? ['there'] : ways));
    if (world.chance(0.2)) a.configured.push({ flow, peer: 0 });
  }
  for (const node of [a, b]) {
    if (kind !== 'one-way' && world.chance(0.2)) node.rotateEveryMs = world.between(500, 3000);
    node.start();
    if (kind !== 'one-way') rotate(world, node);
    if (world.chance(0.1))
      at(world, world.between(0, faultsMs), `${node.name} asks for foreign VIPs`, () => node.ask(foreign));
  }
  let settledMs = startMs;
  if (kind === 'restart') settledMs = restart(world, world.oneOf([a, b])) + recoveryMs;
  if (kind === 'plain' || kind === 'one-way') b.plain = true;
  if (kind !== 'calm' && kind !== 'restart') {
    const lateMs = kind === 'faulty' ? 100 : 1500;
    for (const node of [a, b]) disturb(world, node, lateMs, duplicates, kind !== 'one-way');
    settledMs += faultsMs + (kind === 'faulty' ? 0 : times.holdMs);
  }
  world.trace(() => kind);
  const result: Result = { violation: undefined, packets: 0, longestMs: 0 };
  try {
    world.run(endMs + 1500);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    return { ...result, violation: error.message };
  }
  for (const { flow, from, packets } of streams) {
    result.packets += packets.length;
    if (kind === 'plain') continue;
    const settled = packets.filter(({ sentMs }) => sentMs >= settledMs);
    const hole = longestHole(settled);
    result.longestMs = Math.max(result.longestMs, hole.ms);
    const lost = settled.find(({ deliveredMs }) => deliveredMs === undefined);
    const name = `from ${from.name}, ${Buffer.from(flow, 'hex').subarray(12, 16).join('.')},`;
    if (lost !== undefined && (kind === 'calm' || kind === 'restart')) {
      result.violation ??= `${kind}: the packet ${name} sent at ${at0(lost.sentMs)} was lost: ${lost.dropped ?? 'held'}`;
    }
    if (hole.ms > blackHoleMs) {
      result.violation ??= `${kind}: flow ${name} was black-holed for ${Math.round(hole.ms)} ms at ${at0(hole.fromMs)}: ${hole.why}`;
    }
  }
  return result;
}

const at0 = (ms: number): string => (ms - startMs).toFixed(1);

function nodesOf(world: World, duplicates: boolean): [Node, Node] {
  const grpcMs = world.oneOf([5, 15, 150]);
  const channel = (mostMs: number) => new Channel(world, mostMs);
  const a = new Node(
    world,
    'a',
    !duplicates && world.chance(0.5),
    Buffer.of(192, 0, 2, 1),
    '10.1.0.0/24',
    channel(grpcMs),
    channel(50),
  );
  const b = new Node(
    world,
    'b',
    !duplicates && world.chance(0.5),
    Buffer.of(192, 0, 2, 2),
    '10.2.0.0/24',
    channel(grpcMs),
    channel(50),
  );
  a.connect(b);
  b.connect(a);
  return [a, b];
}

const ways = ['there', 'back', 'both', 'both at once', 'answers'] as const;
type Way = (typeof ways)[number];

/** The traffic between two hosts: one way, both ways at once, or one host answers the other. */
function streamsOf(world: World, a: Node, b: Node, flow: FlowKey, among: readonly Way[]): Stream[] {
  const there: Stream = { from: a, flow, packets: [] };
  const back: Stream = { from: b, flow: reversed(flow), packets: [] };
  const kind = world.oneOf(among);
  const firstMs = startMs + (world.chance(0.3) ? world.between(2000, 9000) : world.between(0, 500));
  if (kind === 'back') {
    sendTraffic(world, back, firstMs);
    return [back];
  }
  sendTraffic(world, there, firstMs, kind === 'answers' ? back : undefined);
  if (kind === 'both') sendTraffic(world, back, firstMs + world.between(0, 2000));
  if (kind === 'both at once') sendTraffic(world, back, firstMs + world.between(0, 20));
  return kind === 'there' ? [there] : [there, back];
}

/** A host sends, all the time or in bursts. @param answers the stream in which the far host answers each packet. */
function sendTraffic(world: World, stream: Stream, firstMs: number, answers?: Stream): void {
  const everyMs = world.between(30, 150);
  const bursts = world.chance(0.4);
  const send = ({ from, flow, packets }: Stream, onDelivery?: () => void) => {
    const packet = { flow, sentMs: world.nowMs, deliveredMs: undefined, dropped: undefined, onDelivery };
    packets.push(packet);
    from.send(packet);
  };
  const answer = answers && (() => world.after(world.random(), () => send(answers)));
  for (let next = firstMs; next < endMs; ) {
    world.after(next - world.nowMs, () => send(stream, answer));
    next += bursts && world.chance(0.1) ? world.between(500, 4000) : everyMs;
  }
}

function at(world: World, ms: number, what: string, work: () => void): void {
  world.after(startMs + ms - world.nowMs, () => {
    world.trace(() => what);
    work();
  });
}

/** A few rotations, or as many as the rules allow. */
function rotate(world: World, node: Node): void {
  const rotations = world.chance(0.1) ? 40 : world.below(4);
  for (let i = 0; i < rotations; i++) {
    at(world, world.between(0, faultsMs + quietMs), `${node.name} rotates`, () => node.dataplane?.rotate());
  }
}

/** @returns when the dataplane is back. */
function restart(world: World, node: Node): number {
  const [downMs, awayMs] = [world.between(500, faultsMs), world.between(0, 500)];
  at(world, downMs, `${node.name} is killed`, () => node.stopDataplane());
  at(world, downMs + awayMs, `${node.name} is back`, () => node.startDataplane());
  return startMs + downMs + awayMs;
}

/** @param lateMs of the latest messages. @param restarts dataplanes may restart. */
function disturb(world: World, node: Node, lateMs: number, duplicates: boolean, restarts: boolean): void {
  const channels = { bus: node.bus, gRPC: node.grpc, wire: node.wire };
  for (const [name, channel] of Object.entries(channels)) {
    const faults: Faults = {
      loss: world.oneOf([0, 0, 0.1, 0.4]),
      duplicates: duplicates && name !== 'gRPC' ? 0.2 : 0,
      late: world.oneOf([0, 0.3]),
      lateMs,
    };
    at(world, world.between(0, 2000), `${node.name} ${name} ${JSON.stringify(faults)}`, () => {
      channel.faults = faults;
    });
    at(world, faultsMs - 1, `${node.name} ${name} heals`, () => {
      channel.faults = noFaults;
    });
  }
  for (let events = world.below(4); events > 0; events--) {
    const ms = world.between(100, faultsMs - 1500);
    const some = restarts ? misfortunes : misfortunes.slice(dataplaneRestarts);
    const [what, begin, end] = world.oneOf(duplicates ? some : [...some, clockJumps]);
    at(world, ms, `${node.name} ${what}`, () => begin(node, world));
    if (end) at(world, ms + world.between(10, 1400), `${node.name} ${what} ends`, () => end(node));
  }
}

type Misfortune = [what: string, begin: (node: Node, world: World) => void, end?: (node: Node) => void];
/** The first so many of the misfortunes. */
const dataplaneRestarts = 2;
const misfortunes: Misfortune[] = [
  ['dataplane restarts', (node) => node.startDataplane()],
  ['dataplane is killed', (node) => node.stopDataplane(), (node) => node.startDataplane()],
  ['keyexchange restarts', (node, world) => node.restartReplica(world.below(2))],
  ['bus is lost', (node) => node.busConnected(false), (node) => node.busConnected(true)],
  [
    'channel to the peer is lost',
    (node) => {
      node.grpc.down = true;
    },
    (node) => {
      node.grpc.down = false;
    },
  ],
];

const clockJumps: Misfortune = [
  'clock jumps',
  (node, world) => {
    node.clockErrorMs += world.oneOf([-86_400_000, 86_400_000]);
  },
];

/** The longest time from a packet that was not delivered to the next one that was. */
function longestHole(packets: readonly Packet[]): { ms: number; fromMs: number; why: string | undefined } {
  let longest = { ms: 0, fromMs: 0, why: undefined as string | undefined };
  let from: Packet | undefined;
  for (const packet of packets) {
    if (packet.deliveredMs !== undefined) {
      from = undefined;
      continue;
    }
    from ??= packet;
    const ms = packet.sentMs - from.sentMs;
    if (ms > longest.ms) longest = { ms, fromMs: from.sentMs, why: packet.dropped };
  }
  return longest;
}
