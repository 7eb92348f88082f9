// SPDX-License-Identifier: Apache-2.0
// What the demo tells, chapter by chapter: two gateways and the life of a tunnel between them, measured at both
// hosts, on the wire, out of band, and by the gateways' own counters.
import type { Capture } from '../test/e2e/capture.js';
import { until } from '../test/e2e/namespace.js';
import { grew, type Numbers, newDrops } from '../test/e2e/numbers.js';
import { hostInterface, Topology } from '../test/e2e/topology.js';
import { ping, type RunningTransfer, startTransfer, type Transfer } from '../test/e2e/traffic.js';
import { Story } from './story.js';
import { TapStory } from './tap_story.js';

const mebibyte = 1 << 20;
const transferBytes = 256 * mebibyte;
const sampledBytes = 64 * mebibyte;
/** What both gateways must have in their audit trails by then: events of each type. */
const happened = {
  a: { 'service.started': 4, 'config.loaded': 4, 'tunnel.up': 2, 'keys.rotated': 2, 'sampling.changed': 2 },
  b: { 'service.started': 4, 'config.loaded': 4, 'tunnel.up': 2, 'keys.rotated': 2 },
};
/** Octets per second of a transfer until both gateways have rotated under it; then it runs free. */
const pacedRate = 8 * mebibyte;
/** Sixteen octets: as much as ping repeats. */
const marker = 'PSP-DEMO-MARKER!';

const milliseconds = (seconds: number): string => `${(seconds * 1000).toFixed(1).padStart(7)} ms`;
const rateOf = ({ bytes, ms }: Transfer): string => `${((bytes * 8) / ms / 1e6).toFixed(2)} Gb/s`;
const nonZero = (drops: Record<string, number>): string => JSON.stringify(drops);

export class GatewayStory {
  readonly story = new Story((line) => process.stdout.write(`${line}\n`));
  topology: Topology | undefined;
  interrupted = false;
  #wire: Capture | undefined;
  #transfers: Transfer[] = [];
  #last: { a: Numbers; b: Numbers } | undefined;
  #sight: ReturnType<Capture['sight']> | undefined;

  get #net(): Topology {
    if (this.topology === undefined) throw new Error('nothing is built yet');
    return this.topology;
  }

  async numbers(): Promise<{ a: Numbers; b: Numbers }> {
    const [a, b] = await Promise.all([this.#net.a.numbers(), this.#net.b.numbers()]);
    this.#last = { a, b };
    return { a, b };
  }

  /** What runs now fails as its processes go, and so the story ends. */
  interrupt(): void {
    this.interrupted = true;
    void this.topology?.close();
  }

  async run(): Promise<void> {
    const { story } = this;
    await story.step('Two hosts, two gateways, a wire between them', () => this.#build());
    await story.step('Host 1 pings host 2: miss, held, keys both ways, resubmitted, answered', () =>
      this.#firstPacket(this.#net.host2.v4, 'ping', 'icmp'),
    );
    await story.step('Later packets take the fast path', () => this.#fastPath());
    await story.step('256 MiB over TCP', () => this.#transfer(this.#net.host2.v4));
    await story.step('Both gateways rotate their master keys under a transfer of 256 MiB', () =>
      this.#rotate(this.#net.host2.v4),
    );
    await story.step('IPv6 inside: the first packet again', () =>
      this.#firstPacket(this.#net.host2.v6, 'ping6', 'icmp6 and (ip6[40] == 128 or ip6[40] == 129)'),
    );
    await story.step('256 MiB over TCP and IPv6', () => this.#transfer(this.#net.host2.v6));
    await story.step('A rotation under it', () => this.#rotate(this.#net.host2.v6));
    const taps = new TapStory(story, this.#net);
    await story.step('Samples and metrics of a transfer of 64 MiB', () =>
      taps.sampledTransfer(async () => (await this.#carry(this.#net.host2.v4, { bytes: sampledBytes })).done),
    );
    await story.step('The audit trail of all this', () => taps.audit(happened));
    await story.step('What a stranger on the wire saw', () => this.#proof());
  }

  async #build(): Promise<void> {
    const { story } = this;
    this.topology = await Topology.create();
    if (this.interrupted) throw new Error('interrupted');
    const { a, b, wire } = this.#net;
    story.say(
      'host 1 (10.1.0.2, fd00:1::2) - gateway a = wire, MTU 1600 = gateway b - host 2 (10.2.0.2, fd00:2::2)',
    );
    story.say('hosts keep all their offloads');
    this.#wire = await this.#net.capture('wire', { snap: 320 });
    await this.#net.start();
    const before = await this.numbers();
    const keyed = before.a.values.keyed === 0 && before.b.values.keyed === 0;
    story.state(
      keyed,
      'both gateways are up and no tunnel exists',
      JSON.stringify([before.a.values, before.b.values]),
    );
    for (const [name, gateway] of Object.entries({ a, b })) {
      const fence = gateway.namespace.run('nft', 'list', 'ruleset');
      story.state(fence.includes('veth-wire'), `gateway ${name} has its fence in place on the wire`);
    }
    story.state(wire.processes().length <= 1, 'on the wire there is nobody but the capture');
  }

  /** The way of one ping through the empty gateways, timed by captures at both hosts, on the wire and out of band. */
  async #firstPacket(address: string, name: string, filter: string): Promise<void> {
    const { story } = this;
    const { host1, host2, a } = this.#net;
    const before = await this.numbers();
    const at = (where: string, options: object) => this.#net.capture(`${name}-${where}`, options);
    const captures = await Promise.all([
      at('host1', { filter, at: [host1.namespace, hostInterface] }),
      at('oob', { filter: 'tcp port 3000 and greater 100', at: [a.namespace, 'oob'] }),
      at('wire', { filter: 'udp port 1000 or (ip6 and udp)' }),
      at('host2', { filter, at: [host2.namespace, hostInterface] }),
    ]);
    const result = await ping(host1.namespace, address, { marker });
    await Promise.all(captures.map((capture) => capture.stop()));
    const [left, oob, wire, right] = captures.map((capture) => capture.frames().map((frame) => frame.time));
    const start = left?.[0];
    story.state(
      result.received === 1 && start !== undefined,
      `the first packet was not lost: the reply came after ${result.times.get(1)} ms`,
      `${result.received} of ${result.sent} replies`,
    );
    const tell = (what: string, time: number | undefined) =>
      story.state(
        time !== undefined,
        `${milliseconds((time ?? 0) - (start ?? 0))}  ${what}`,
        'it was not seen',
      );
    tell('host 1 sends; gateway a has no key and holds the packet', start);
    tell('gateway a asks gateway b out of band, with its own offer', oob?.[0]);
    tell('gateway b has answered with its offer', oob?.filter((time) => time < (wire?.[0] ?? 0)).at(-1));
    tell('the held packet leaves encrypted', wire?.[0]);
    tell('host 2 has the packet', right?.[0]);
    tell('the reply is on the wire, under the key that came with the question', wire?.[1]);
    tell('host 1 has the reply', left?.[1]);
    const after = await this.numbers();
    const misses = grew(before.a, after.a, 'missEvents');
    const resubmitted = grew(before.a, after.a, 'resubmitted');
    story.state(misses === 1, 'gateway a: one miss event', `${misses}`);
    story.state(resubmitted === 1, 'gateway a: one packet held and resubmitted', `${resubmitted}`);
    const exchanges = (after.a.peers.b?.answered ?? 0) - (before.a.peers.b?.answered ?? 0);
    const asked = (after.b.peers.a?.exchanges ?? 0) - (before.b.peers.a?.exchanges ?? 0);
    story.state(
      exchanges === 1 && asked === 0,
      'one exchange gave both directions their keys',
      `${exchanges}, ${asked}`,
    );
    story.state(
      after.b.values.missEvents === before.b.values.missEvents,
      'gateway b: no miss; the answer had its key before it came',
    );
  }

  async #fastPath(): Promise<void> {
    const before = await this.numbers();
    const result = await ping(this.#net.host1.namespace, this.#net.host2.v4, {
      count: 10,
      intervalMs: 50,
      marker,
    });
    const times = [...result.times.values()].sort((x, y) => x - y);
    this.story.state(
      result.received === 10,
      `10 of 10 replies, median ${times[5]} ms`,
      `${result.received} of 10`,
    );
    this.#slowPathRested(before, await this.numbers());
  }

  async #transfer(address: string): Promise<void> {
    const { story } = this;
    // The capture on the wire sees this too; the connection's own first packet finds the tunnel in place.
    const before = await this.numbers();
    const carried = await (await this.#carry(address)).done;
    const after = await this.numbers();
    story.state(
      carried.equal,
      `arrived with equal SHA-256 ${carried.sent.slice(0, 16)}..., ${rateOf(carried)}`,
    );
    const hits = (after.a.hit.egress_acl ?? 0) - (before.a.hit.egress_acl ?? 0);
    const least = Math.floor(transferBytes / 1500);
    story.state(
      hits > least,
      `${hits} packets took the fast path through gateway a`,
      `${hits}, at least ${least} expected`,
    );
    this.#slowPathRested(before, after);
  }

  async #carry(address: string, pace: { rate?: number; bytes?: number } = {}): Promise<RunningTransfer> {
    const { host1, host2 } = this.#net;
    const options = { bytes: transferBytes, marker, ...pace };
    const running = await startTransfer(host1.namespace, host2.namespace, address, options);
    running.done.then(
      (carried) => this.#transfers.push(carried),
      () => undefined,
    );
    return running;
  }

  #slowPathRested(before: { a: Numbers; b: Numbers }, after: { a: Numbers; b: Numbers }): void {
    const { story } = this;
    for (const name of ['a', 'b'] as const) {
      const misses = (after[name].miss.egress_acl ?? 0) - (before[name].miss.egress_acl ?? 0);
      const drops = newDrops(before[name], after[name]);
      story.state(misses === 0, `gateway ${name}: the slow path was not touched`, `${misses} misses`);
      story.state(Object.keys(drops).length === 0, `gateway ${name}: nothing was dropped`, nonZero(drops));
    }
  }

  async #rotate(address: string): Promise<void> {
    const { story } = this;
    const { a, b } = this.#net;
    story.say('the transfer is held to 8 MiB/s until both have rotated, then it runs free');
    const before = await this.numbers();
    const sent = () => this.numbers().then(({ a }) => a.ports.secured?.txPackets ?? 0);
    const running = await this.#carry(address, { rate: pacedRate });
    const first = await sent();
    await until('the transfer runs', async () => (await sent()) > first + 1000);
    const rotated = await Promise.all([a.rotate(), b.rotate()]);
    const packets = await sent();
    running.release();
    const carried = await running.done;
    const after = await this.numbers();
    story.state(
      rotated[0] === before.a.generation + 1 && rotated[1] === before.b.generation + 1,
      `generations went from ${before.a.generation} to ${rotated[0]} at a, from ${before.b.generation} to ${rotated[1]} at b`,
    );
    const later = (after.a.ports.secured?.txPackets ?? 0) - packets;
    story.state(
      later > 1000,
      `the transfer ran through both rotations: ${later} packets came after them`,
      `${later}`,
    );
    story.state(
      carried.equal,
      `it arrived with equal SHA-256 ${carried.sent.slice(0, 16)}..., ${rateOf(carried)}`,
    );
    await until('all inbound flows are answered under the new keys', async () => {
      const now = await this.numbers();
      return (
        now.a.unansweredFlows === 0 &&
        now.b.unansweredFlows === 0 &&
        now.a.drainLeftMs === 0 &&
        now.b.drainLeftMs === 0
      );
    });
    story.state(true, 'every inbound flow was offered anew and answered');
    this.#slowPathRested(before, await this.numbers());
  }

  async #proof(): Promise<void> {
    const { story } = this;
    await this.#wire?.stop();
    const sight = this.#wire?.sight([marker]);
    if (sight === undefined) throw new Error('there is no capture');
    this.#sight = sight;
    story.state(
      sight.lost === 0,
      `the capture is whole: ${sight.frames} frames, none missed`,
      `${sight.lost} missed`,
    );
    const strangers = sight.frames - sight.psp - sight.arp - sight.nd;
    story.state(
      strangers === 0 && sight.psp > 0,
      `every frame is UDP/1000 (${sight.psp}) but the gateways' own ARP (${sight.arp}) and ND (${sight.nd})`,
      `${strangers} others: ${sight.others.join(' ')}`,
    );
    story.state(
      sight.marked === 0,
      `"${marker}", sent every 64 octets, is in none of them`,
      `in ${sight.marked}`,
    );
  }

  /** For --json: steps with times, packets, bytes, exchanges, drops. */
  report(outcome: object): object {
    const numbers = this.#last;
    const perNode = (pick: (n: Numbers) => unknown) =>
      numbers === undefined ? {} : { a: pick(numbers.a), b: pick(numbers.b) };
    return {
      ...outcome,
      steps: this.story.steps,
      packets: perNode((n) => n.ports),
      bytes: this.#transfers.reduce((sum, { bytes }) => sum + bytes, 0),
      transfers: this.#transfers,
      exchanges: perNode((n) => n.peers),
      drops: perNode((n) => n.drops),
      wire: this.#sight ?? null,
    };
  }
}
