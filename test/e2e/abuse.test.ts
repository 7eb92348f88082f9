// SPDX-License-Identifier: Apache-2.0
// A gateway under abuse: garbage on both ports, and scans of whole prefixes, unknown and known. It continues to run,
// counts everything, stays within its limits, and serves the next flow.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { type Namespace, signal, until } from './namespace.js';
import { dropped, grew, type Numbers, unaccounted } from './numbers.js';
import { frame, octetsOf4, u8, u16 } from './packet_octets.js';
import { garbage, macIn, sendFrames } from './raw_frames.js';
import { hostInterface, Topology } from './topology.js';
import { ping } from './traffic.js';

type Place = [at: Namespace, port: string];

const etherArp = 0x0806;

interface Base {
  numbers: Numbers;
  memory: number;
}

let net: Topology;
/** Before the first scan. */
let base: Base;

beforeAll(async () => {
  // Table space for three scans inside the peer's prefixes.
  net = await Topology.create({
    edit: (_, yaml) => yaml.replace('10.2.0.0/24', '10.2.0.0/15, 10.4.0.0/16'),
    environment: () => ['NODE_OPTIONS=--max-semi-space-size=1'],
  });
  net.addAddresses(1);
  await net.start();
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
  expect((await ping(net.host1.namespace, net.host2.v6)).received).toBe(1);
});
afterAll(() => net?.close());

const scan = async (prefix: string) => {
  const args = [fromPackageRoot('dist/test/e2e/agents/udp_scan.js'), prefix];
  return Number((await net.host1.namespace.try(process.execPath, args)).stdout);
};

/** Resident memory of gateway a's dataplane in MiB. */
const memory = (): number => {
  const status = readFileSync(`/proc/${net.a.pidOf('dataplane')}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
};

/** Undefined if a busy service did not answer in time. */
const reading = () => net.a.numbers().catch(() => undefined);

/** The counters once they no longer change. */
const atRest = () =>
  until(
    'nothing is held any more',
    async () => {
      const first = await reading();
      const second = await reading();
      if (first === undefined || second === undefined) return false;
      const still = first.ports.unsecured?.rxPackets === second.ports.unsecured?.rxPackets;
      const idle = ['held', 'wanted', 'wants'].every((name) => second.values[name] === 0);
      return still && idle && second;
    },
    120_000,
    300,
  );

it('survives 10 seconds of garbage on both ports, counts each frame, and continues to work', async () => {
  const pid = net.a.pidOf('dataplane');
  const [inside, outside] = [
    await net.capture('good-inside', { at: [net.host1.namespace, hostInterface] }),
    await net.capture('good-outside'),
  ];
  for (const to of [net.host2.v4, net.host2.v6]) await ping(net.host1.namespace, to, { count: 2 });
  await Promise.all([inside.stop(), outside.stop()]);
  // The frames towards the gateway are the raw material, without ARP: a damaged ARP reply does not show that its MAC
  // address is wrong, so the gateway would accept it, and the pings below would be lost. See the next test.
  const towards = (address: Buffer, frames: { octets: Buffer }[]) =>
    frames
      .map(({ octets }) => octets)
      .filter((octets) => octets.subarray(0, 6).equals(address) && octets.readUInt16BE(12) !== etherArp);
  const plain = towards(macIn(net.a.namespace, 'veth-host'), inside.frames());
  const psp = towards(macIn(net.a.namespace, 'veth-wire'), outside.frames());
  expect(plain.length).toBeGreaterThan(2);
  expect(psp.length).toBeGreaterThan(2);

  const before = await atRest();
  const seconds = 10;
  const sent = await Promise.all([
    sendFrames(
      net.host1.namespace,
      hostInterface,
      garbage(plain, 700, 1),
      join(net.folder, 'inside'),
      seconds,
    ),
    sendFrames(net.wire, 'to-a', garbage(psp, 700, 2), join(net.folder, 'outside'), seconds),
  ]);
  for (const { stdout, stderr } of sent) expect(Number(stdout), stderr).toBeGreaterThan(10_000);
  const after = await atRest();
  expect(unaccounted(before, after)).toBe(0);
  const reasons = Object.keys(after.drops).filter(
    (reason) => (after.drops[reason] ?? 0) > (before.drops[reason] ?? 0),
  );
  for (const reason of [
    'egress/vlan',
    'ingress/vlan',
    'egress/truncated',
    'ingress/truncated',
    'ingress/icv_failure',
  ]) {
    expect(reasons).toContain(reason);
  }
  expect(net.a.pidOf('dataplane')).toBe(pid);
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
  expect((await ping(net.host1.namespace, net.host2.v6)).received).toBe(1);
});

/** An ARP reply (RFC 826) to gateway a from the owner of the address. */
function arpReply([at, port]: Place, address: string, gatewayPort: string, gatewayAddress: string): Buffer {
  const [sender, target] = [macIn(at, port), macIn(net.a.namespace, gatewayPort)];
  const fixed = Buffer.concat([u16(1, 0x0800), u8(6, 4), u16(2)]);
  const claim = [sender, octetsOf4(address), target, octetsOf4(gatewayAddress)];
  return frame(target, sender, etherArp, Buffer.concat([fixed, ...claim]));
}

it('counts each frame of 3 seconds of damaged ARP replies on both ports, and resolves its neighbours again', async () => {
  const { host1, wire, a, b, folder } = net;
  const before = await atRest();
  const inside = arpReply([host1.namespace, hostInterface], host1.v4, 'veth-host', '10.1.0.1');
  const outside = arpReply([b.namespace, 'veth-wire'], '192.0.2.2', 'veth-wire', '192.0.2.1');
  const send = (framesInside: Buffer[], framesOutside: Buffer[], seconds: number) =>
    Promise.all([
      sendFrames(host1.namespace, hostInterface, framesInside, join(folder, 'arp-inside'), seconds),
      sendFrames(wire, 'to-a', framesOutside, join(folder, 'arp-outside'), seconds),
    ]);
  const sent = await send(garbage([inside], 700, 3), garbage([outside], 700, 4), 3);
  for (const { stdout, stderr } of sent) expect(Number(stdout), stderr).toBeGreaterThanOrEqual(700);
  // Then replies that are valid except for the MAC address, so that both neighbour entries are certainly wrong.
  const astray = (reply: Buffer) => {
    const claim = Buffer.from(reply);
    const at = 14 + 13; // the last octet of the sender's MAC address
    claim.writeUInt8(claim.readUInt8(at) ^ 0x55, at);
    return claim;
  };
  await send([astray(inside)], [astray(outside)], 1);
  const after = await atRest();
  expect(unaccounted(before, after)).toBe(0);
  expect(grew(before, after, 'consumed')).toBeGreaterThan(0);
  // A neighbour that does not answer at its known MAC address is probed there three times, then resolved by
  // broadcast.
  await until('both neighbours are found again', async () => {
    const { received } = await ping(host1.namespace, net.host2.v4, { waitS: 2 });
    return received === 1;
  });
  expect(grew(after, await a.numbers(), 'solicitations')).toBeGreaterThan(3);
});

it('creates no key, no event and no state for a scan of 65 536 unknown addresses', async () => {
  base = { numbers: await atRest(), memory: memory() };
  const before = base.numbers;
  let after = before;
  // Frames that arrive faster than the port is read are lost before any counter sees them: repeat until enough
  // arrived.
  while (dropped(before, after, 'egress/no_peer') < 65_536) {
    expect(await scan('10.9')).toBe(65_536);
    after = await atRest();
  }
  for (const name of ['missEvents', 'keyed', 'receiveSpis', 'wanted'])
    expect(grew(before, after, name)).toBe(0);
  expect(after.peers.b?.exchanges).toBe(before.peers.b?.exchanges);
  expect(memory() - base.memory).toBeLessThan(8);
});

/**
 * The memory that the dataplane may use, in MiB, however many addresses were scanned since `base`. What a packet or an
 * event leaves behind counts once and not per scan. State is limited by maxFlows: the engine keeps about 1 KiB per
 * receive SPI (including those that a peer may have received without answering) and 1 KiB per keyed flow, JavaScript
 * keeps 1 KiB per SPI. V8 collects its old generation only when that has grown to a multiple of its live objects, so
 * JavaScript's part counts three times.
 */
const garbageMiB = 48;
function bound({ memory, numbers }: Base, now: Numbers): number {
  const keptKiB = grew(numbers, now, 'receiveSpis') * 4 + grew(numbers, now, 'keyed') * 2;
  return memory + garbageMiB + keptKiB / 1024;
}

/** Scans a /16 of the peer and checks gateway a's limits meanwhile, however fast the gateway is. */
async function scanPeer(prefix: string): Promise<{ before: Numbers; after: Numbers }> {
  const before = await atRest();
  let most = memory();
  let running = true;
  const scanned = scan(prefix).finally(() => {
    running = false;
  });
  const watched = (async () => {
    for (; running; await sleep(100)) most = Math.max(most, memory());
  })();
  const bounded = (numbers: Numbers): Numbers => {
    expect(numbers.values.held).toBeLessThanOrEqual(8192);
    expect(numbers.values.wanted).toBeLessThanOrEqual(4096);
    return numbers;
  };
  while (running) {
    const numbers = await reading();
    if (numbers) bounded(numbers);
  }
  expect(await scanned).toBe(65_536);
  await watched;
  const after = bounded(await atRest());
  most = Math.max(most, memory());
  expect(unaccounted(before, after)).toBe(0);
  expect(after.values).toMatchObject({ wants: 0, eventsLost: before.values.eventsLost });
  expect(dropped(before, after, 'egress/want_limit')).toBeGreaterThan(0);
  expect(most).toBeLessThan(bound(base, after));
  return { before, after };
}

it('stays within its limits when 65 536 addresses of a peer are scanned, and serves the next flow', async () => {
  const { before, after } = await scanPeer('10.2');
  expect(grew(before, after, 'keyed')).toBeGreaterThan(0);
  expect((await ping(net.host2.namespace, net.host1.v4)).received).toBe(1);
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
});

it('uses memory for a second scan, of other addresses, only for its flows', async () => {
  const { before, after } = await scanPeer('10.3');
  expect(grew(before, after, 'keyed')).toBeGreaterThan(0);
});

it('rotates after scans: each of their flows is answered, and traffic continues', async () => {
  const { keyed = 0 } = (await net.a.numbers()).values;
  const pinged = ping(net.host1.namespace, net.host2.v4, { count: 20 });
  await net.a.rotate();
  await until(
    'every flow is answered',
    async () => {
      const now = await reading();
      return now?.unansweredFlows === 0 && now.drainLeftMs === 0;
    },
    240_000,
  );
  expect((await pinged).received).toBe(20);
  const after = await atRest();
  // Flows that were never answered have a key now, too.
  expect(after.values.keyed).toBeGreaterThanOrEqual(keyed);
  expect(after.values.wants).toBe(0);
  expect((await ping(net.host2.namespace, net.host1.v4)).received).toBe(1);
  expect((await ping(net.host1.namespace, net.host2.v6)).received).toBe(1);
});

it('frees the state of a scan towards a dead peer, and serves the next flow once the peer is back', async () => {
  const stopped = net.b.namespace.processes();
  for (const pid of stopped) signal(pid, 'SIGSTOP');
  const { before, after } = await scanPeer('10.4').finally(() => {
    for (const pid of stopped) signal(pid, 'SIGCONT');
  });
  expect(grew(before, after, 'unanswered')).toBeGreaterThan(0);
  expect(grew(before, after, 'keyed')).toBe(0);
  expect(after.values).toMatchObject({ held: 0, wanted: 0, wants: 0 });
  expect(dropped(before, after, 'egress/no_answer')).toBeGreaterThan(0);
  expect(after.peers.b?.lastCode).toMatch(/^PEER_(DOWN|TIMEOUT)$/);
  await until('the next flow works', async () => {
    const next = await ping(net.host1.namespace, '10.2.0.100', { source: '10.1.0.100', waitS: 2 });
    return next.received === 1;
  });
});
