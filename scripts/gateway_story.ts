// SPDX-License-Identifier: Apache-2.0
// The steps of the demo: two gateways and the life of a tunnel between them. Checks use captures at both hosts, on the
// wire and on the out-of-band network, and the gateways' own counters.
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
/** The number of audit events of each type that both gateways must have at the end. */
const happened = {
  a: { 'service.started': 4, 'config.loaded': 4, 'tunnel.up': 2, 'keys.rotated': 2, 'sampling.changed': 2 },
  b: { 'service.started': 4, 'config.loaded': 4, 'tunnel.up': 2, 'keys.rotated': 2 },
};
/** Rate limit of a transfer, in octets per second, until both gateways have rotated. */
const pacedRate = 8 * mebibyte;
/** Sixteen octets, the most that ping repeats as a pattern. */
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
  #dissection: ReturnType<Capture['summary']> | undefined;

  get #net(): Topology {
    if (this.topology === undefined) throw new Error('the topology is not built yet');
    return this.topology;
  }

  async numbers(): Promise<{ a: Numbers; b: Numbers }> {
    const [a, b] = await Promise.all([this.#net.a.numbers(), this.#net.b.numbers()]);
    this.#last = { a, b };
    return { a, b };
  }

  /** Ends the processes of the running step. The step then fails, and the demo ends. */
  interrupt(): void {
    this.interrupted = true;
    void this.topology?.close();
  }

  async run(): Promise<void> {
    const { story } = this;
    await story.step('Two hosts and two gateways, connected by one wire', () => this.#build());
    await story.step('Host 1 pings host 2: the first packet waits for the key exchange', () =>
      this.#firstPacket(this.#net.host2.v4, 'ping', 'icmp'),
    );
    await story.step('Later packets take the fast path', () => this.#fastPath());
    await story.step('256 MiB over TCP', () => this.#transfer(this.#net.host2.v4));
    await story.step('Both gateways rotate their master keys during a transfer of 256 MiB', () =>
      this.#rotate(this.#net.host2.v4),
    );
    await story.step('The first packet of an IPv6 flow', () =>
      this.#firstPacket(this.#net.host2.v6, 'ping6', 'icmp6 and (ip6[40] == 128 or ip6[40] == 129)'),
    );
    await story.step('256 MiB over TCP on IPv6', () => this.#transfer(this.#net.host2.v6));
    await story.step('Both gateways rotate their master keys during a transfer over IPv6', () =>
      this.#rotate(this.#net.host2.v6),
    );
    const taps = new TapStory(story, this.#net);
    await story.step('Samples and metrics of a transfer of 64 MiB', () =>
      taps.sampledTransfer(async () => (await this.#carry(this.#net.host2.v4, { bytes: sampledBytes })).done),
    );
    await story.step('The audit trail of this demo', () => taps.audit(happened));
    await story.step('What an observer on the wire saw', () => this.#proof());
  }

  async #build(): Promise<void> {
    const { story } = this;
    this.topology = await Topology.create();
    if (this.interrupted) throw new Error('interrupted');
    const { a, b, wire } = this.#net;
    story.say(
      'host 1 (10.1.0.2, fd00:1::2) - gateway a = wire, MTU 1600 = gateway b - host 2 (10.2.0.2, fd00:2::2)',
    );
    story.say('all offloads of the hosts stay enabled');
    this.#wire = await this.#net.capture('wire', { snap: 320 });
    await this.#net.start();
    const before = await this.numbers();
    const keyed = before.a.values.keyed === 0 && before.b.values.keyed === 0;
    story.state(
      keyed,
      'both gateways are running and no tunnel exists',
      JSON.stringify([before.a.values, before.b.values]),
    );
    for (const [name, gateway] of Object.entries({ a, b })) {
      const fence = gateway.namespace.run('nft', 'list', 'ruleset');
      story.state(
        fence.includes('veth-wire'),
        `gateway ${name} has installed its fence on the wire interface`,
      );
    }
    story.state(wire.processes().length <= 1, 'no other process runs on the wire, only the capture');
  }

  /** One ping through gateways without a tunnel, timed by captures at both hosts, on the wire and out of band. */
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
      `the first packet was not lost: the reply arrived after ${result.times.get(1)} ms`,
      `${result.received} of ${result.sent} replies`,
    );
    const event = (what: string, time: number | undefined) =>
      story.state(
        time !== undefined,
        `${milliseconds((time ?? 0) - (start ?? 0))}  ${what}`,
        'no such packet was captured',
      );
    event('host 1 sends the packet; gateway a has no key and holds it', start);
    event('gateway a sends its request, with its own offer, to gateway b (out of band)', oob?.[0]);
    event('gateway b has answered with its offer', oob?.filter((time) => time < (wire?.[0] ?? 0)).at(-1));
    event('gateway a sends the held packet, encrypted', wire?.[0]);
    event('host 2 receives the packet', right?.[0]);
    event("gateway b sends the reply, encrypted under the key of gateway a's offer", wire?.[1]);
    event('host 1 receives the reply', left?.[1]);
    const after = await this.numbers();
    const misses = grew(before.a, after.a, 'missEvents');
    const resubmitted = grew(before.a, after.a, 'resubmitted');
    story.state(misses === 1, 'gateway a: one miss was reported', `${misses}`);
    story.state(
      resubmitted === 1,
      'gateway a: one packet was held and sent after the key was installed',
      `${resubmitted}`,
    );
    const exchanges = (after.a.peers.b?.answered ?? 0) - (before.a.peers.b?.answered ?? 0);
    const asked = (after.b.peers.a?.exchanges ?? 0) - (before.b.peers.a?.exchanges ?? 0);
    story.state(
      exchanges === 1 && asked === 0,
      'one exchange keyed both directions',
      `${exchanges}, ${asked}`,
    );
    story.state(
      after.b.values.missEvents === before.b.values.missEvents,
      'gateway b: no miss; the key was installed before the reply arrived',
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
    this.#slowPathUnused(before, await this.numbers());
  }

  async #transfer(address: string): Promise<void> {
    const { story } = this;
    // The wire capture records this transfer too. The tunnel exists already, so no packet of it is held.
    const before = await this.numbers();
    const carried = await (await this.#carry(address)).done;
    const after = await this.numbers();
    story.state(
      carried.equal,
      `received with equal SHA-256 ${carried.sent.slice(0, 16)}..., ${rateOf(carried)}`,
    );
    const hits = (after.a.hit.egress_acl ?? 0) - (before.a.hit.egress_acl ?? 0);
    const least = Math.floor(transferBytes / 1500);
    story.state(
      hits > least,
      `${hits} packets took the fast path through gateway a`,
      `${hits}, at least ${least} expected`,
    );
    this.#slowPathUnused(before, after);
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

  #slowPathUnused(before: { a: Numbers; b: Numbers }, after: { a: Numbers; b: Numbers }): void {
    const { story } = this;
    for (const name of ['a', 'b'] as const) {
      const misses = (after[name].miss.egress_acl ?? 0) - (before[name].miss.egress_acl ?? 0);
      const drops = newDrops(before[name], after[name]);
      story.state(misses === 0, `gateway ${name}: no packet took the slow path`, `${misses} misses`);
      story.state(Object.keys(drops).length === 0, `gateway ${name}: no packet was dropped`, nonZero(drops));
    }
  }

  async #rotate(address: string): Promise<void> {
    const { story } = this;
    const { a, b } = this.#net;
    story.say('the transfer is limited to 8 MiB/s until both gateways have rotated');
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
      `master key generation: ${before.a.generation} to ${rotated[0]} at a, ${before.b.generation} to ${rotated[1]} at b`,
    );
    const later = (after.a.ports.secured?.txPackets ?? 0) - packets;
    story.state(
      later > 1000,
      `the transfer continued through both rotations: ${later} packets were sent after them`,
      `${later}`,
    );
    story.state(
      carried.equal,
      `received with equal SHA-256 ${carried.sent.slice(0, 16)}..., ${rateOf(carried)}`,
    );
    await until('the peers answer the new offers for all inbound flows', async () => {
      const now = await this.numbers();
      return (
        now.a.unansweredFlows === 0 &&
        now.b.unansweredFlows === 0 &&
        now.a.drainLeftMs === 0 &&
        now.b.drainLeftMs === 0
      );
    });
    story.state(true, 'every inbound flow has a new offer, and its peer accepted it');
    this.#slowPathUnused(before, await this.numbers());
  }

  async #proof(): Promise<void> {
    const { story } = this;
    await this.#wire?.stop();
    const seen = this.#wire?.summary([marker]);
    if (seen === undefined) throw new Error('there is no capture');
    this.#dissection = seen;
    story.state(
      seen.lost === 0,
      `the capture is complete: ${seen.frames} frames, none lost`,
      `${seen.lost} lost`,
    );
    const others = seen.frames - seen.psp - seen.arp - seen.nd;
    story.state(
      others === 0 && seen.psp > 0,
      `every frame is UDP/1000 (${seen.psp}), or the gateways' own ARP (${seen.arp}) or ND (${seen.nd})`,
      `${others} others: ${seen.others.join(' ')}`,
    );
    story.state(
      seen.marked === 0,
      `none of them contains "${marker}", which the hosts sent every 64 octets`,
      `${seen.marked} contain it`,
    );
  }

  /** The report for --json: steps with durations, packets, bytes, exchanges and drops. */
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
      wire: this.#dissection ?? null,
    };
  }
}
