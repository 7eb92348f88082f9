// SPDX-License-Identifier: Apache-2.0
// Links that change while two gateways run: another MTU, another MAC address, a link that goes down, an interface
// that is removed and created again. The gateway follows, reports it in log, health and audit, and nothing leaves in
// plaintext.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { echo, forgetPaths } from './host_tools.js';
import { until } from './namespace.js';
import { newDrops } from './numbers.js';
import { egressFlow, overheadOf } from './packet_pairs.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

const wireMtu = 1600;
const port = 'veth-wire';
let net: Topology;

beforeAll(async () => {
  net = await Topology.create({ wireMtu });
  await net.start();
  await pings();
});
afterAll(() => net?.close());

/** In both directions, without a loss. */
async function pings(): Promise<void> {
  for (const [from, to] of [
    [net.host1, net.host2],
    [net.host2, net.host1],
  ] as const) {
    expect(await ping(from.namespace, to.v4, { count: 2, intervalMs: 50 })).toMatchObject({ received: 2 });
    expect(await ping(from.namespace, to.v6, { count: 2, intervalMs: 50 })).toMatchObject({ received: 2 });
  }
}

const set = (...words: string[]) => net.a.namespace.ip('link', 'set', port, ...words);

interface Port {
  role: string;
  mac: string;
  mtu: number;
  up: boolean;
}

/** The secured port of a in `psp status`. */
async function status(): Promise<Port & { health: string[] }> {
  const told = JSON.parse((await net.a.ask('status', '--json')).stdout);
  const found = (told.dataplane?.ports as Port[] | undefined)?.find(({ role }) => role === 'secured');
  if (found === undefined) throw new Error('the dataplane does not answer');
  return { ...found, health: (told.health as { message: string }[]).map(({ message }) => message) };
}

/** Resolves to the status that matches. */
const shows = (expected: Partial<Port>) =>
  until(`status shows ${JSON.stringify(expected)}`, async () => {
    const now = await status();
    return Object.entries(expected).every(([key, value]) => now[key as keyof Port] === value) && now;
  });

interface Change {
  what: string;
  from: unknown;
  to: unknown;
}

/** Changes of the secured port in the audit, oldest first. */
async function audited(): Promise<Change[]> {
  const { stdout } = await net.a.ask('audit', '--json');
  return stdout
    .split('\n')
    .filter((line) => line.includes('psp.link.changed'))
    .map((line) => JSON.parse(line).data)
    .filter((data) => data.port === 'secured' && data.interface === port);
}

/** The same in the log. */
const logged = (): Change[] =>
  net.a
    .log()
    .split('\n')
    .filter((line) => line.includes('"link changed"'))
    .map((line) => JSON.parse(line))
    .filter((line) => line.port === 'secured' && line.interface === port);

/** Runs something; resolves once log and audit have exactly these additional changes. */
async function brings(work: () => unknown, ...changes: Change[]): Promise<void> {
  const [before, loggedBefore] = [(await audited()).length, logged().length];
  await work();
  await until('the audit has the changes', async () => (await audited()).length >= before + changes.length);
  const plain = ({ what, from, to }: Change) => ({ what, from, to });
  expect((await audited()).slice(before).map(plain)).toEqual(changes);
  expect(logged().slice(loggedBefore).map(plain)).toEqual(changes);
}

/** The MTU that host 1 receives for a packet of this size that must not be fragmented; undefined: it was answered. */
async function toldOf(size: number): Promise<number | undefined> {
  forgetPaths(net.host1.namespace);
  const { answered, told } = await echo(net.host1.namespace, net.host2.v4, {
    size: size - 28,
    discovery: 'do',
  });
  expect(answered).toBe(told === undefined);
  return told;
}

/** For the secured port: 1 if the kernel has IPv6 disabled there. */
const ipv6Settings = () =>
  net.a.namespace.run('sh', '-c', `cat /proc/sys/net/ipv6/conf/${port}/disable_ipv6 2>&1 || true`).trim();

describe('another MTU of the wire', () => {
  it('appears in status, path MTU and ICMP when it is lowered', async () => {
    expect(await toldOf(1500)).toBeUndefined();
    await brings(() => set('mtu', '1400'), { what: 'mtu', from: wireMtu, to: 1400 });
    expect(await shows({ mtu: 1400 })).toMatchObject({ up: true, health: [] });
    const before = await net.a.numbers();
    expect(await toldOf(1500)).toBe(1400 - overheadOf('tunnel', 4));
    expect((await egressFlow(net.a, net.host1.v4, net.host2.v4)).pathMtu).toBe(1400);
    expect(newDrops(before, await net.a.numbers())).toEqual({ 'egress/too_big': 1 });
  });

  it('is used again when it is raised to that of the start', async () => {
    await brings(() => set('mtu', `${wireMtu}`), { what: 'mtu', from: 1400, to: wireMtu });
    await shows({ mtu: wireMtu });
    expect(await toldOf(1500)).toBeUndefined();
  });

  it('above that of the start requires a restart, which health reports', async () => {
    await brings(() => set('mtu', '9000'), { what: 'mtu', from: wireMtu, to: 9000 });
    const needs = async () => (await status()).health.filter((line) => line.startsWith('MTU_NEEDS_RESTART'));
    expect(await needs()).toEqual([
      expect.stringMatching(/veth-wire now has MTU 9000, but the gateway still uses 1600/),
    ]);
    expect((await status()).mtu).toBe(wireMtu);
    await pings();
    await brings(() => set('mtu', `${wireMtu}`), { what: 'mtu', from: 9000, to: wireMtu });
    expect(await needs()).toEqual([]);
  });

  it('too small for the outer header is reported, and nothing longer is sent', async () => {
    // Below 1280 the kernel removes IPv6 from the interface, with its settings, and restores it above.
    const kernel = await net.capture('mtu', { filter: 'ip6' });
    await brings(() => set('mtu', '500'), { what: 'mtu', from: wireMtu, to: 500 });
    expect((await status()).health).toEqual([expect.stringMatching(/^MTU_TOO_SMALL: .*500.*576/)]);
    expect(await toldOf(1500)).toBe(500 - overheadOf('tunnel', 4));
    await brings(() => set('mtu', `${wireMtu}`), { what: 'mtu', from: 500, to: wireMtu });
    expect((await status()).health).toEqual([]);
    await pings();
    await until('IPv6 is back', () => ipv6Settings() === '0');
    await sleep(3000);
    await kernel.stop();
    expect(kernel.frames().map(({ octets }) => octets.toString('hex'))).toEqual([]);
  });
});

describe('another MAC address', () => {
  it('is used in frames and answers, and is announced to the peer', async () => {
    const { mac } = await status();
    const wire = await net.capture('mac', { filter: 'arp' });
    await brings(() => set('address', '02:00:00:00:07:07'), {
      what: 'mac',
      from: mac,
      to: '02:00:00:00:07:07',
    });
    await shows({ mac: '02:00:00:00:07:07' });
    // The peer sends no request: it has the address from the announcement.
    expect(await ping(net.host2.namespace, net.host1.v4, { count: 3, intervalMs: 50 })).toMatchObject({
      received: 3,
    });
    await wire.stop();
    const announced = wire
      .frames()
      .filter(({ octets }) => octets.subarray(6, 12).toString('hex') === '020000000707');
    expect(announced.length).toBeGreaterThan(0);
    await pings();
  });
});

describe('a link that goes down', () => {
  it('is reported; flows continue with their keys when it is up again', async () => {
    const { epoch } = await net.a.numbers();
    const { spi } = await egressFlow(net.a, net.host1.v4, net.host2.v4);
    await brings(() => set('down'), { what: 'state', from: 'up', to: 'down' });
    expect(await status()).toMatchObject({
      up: false,
      health: [expect.stringMatching(/^LINK_DOWN: the link of veth-wire is down/)],
    });
    const before = await net.a.numbers();
    expect(await ping(net.host1.namespace, net.host2.v4, { waitS: 1 })).toMatchObject({ received: 0 });
    expect(newDrops(before, await net.a.numbers())).toEqual({ 'egress/port_down': 1 });
    await brings(() => set('up'), { what: 'state', from: 'down', to: 'up' });
    expect(await status()).toMatchObject({ up: true, health: [] });
    await pings();
    expect((await net.a.numbers()).epoch).toBe(epoch);
    expect((await egressFlow(net.a, net.host1.v4, net.host2.v4)).spi).toBe(spi);
  });
});

describe('an interface that is removed and created again', () => {
  it('ends the dataplane with its reason; the new one is fenced before it comes up, and traffic continues', async () => {
    const { epoch } = await net.a.numbers();
    const wire = await net.capture('removal', { at: [net.wire, 'to-b'] });
    const marker = 'PSP-REMOVED-MARK';
    await brings(
      () => net.a.namespace.ip('link', 'delete', port),
      { what: 'state', from: 'up', to: 'down' },
      { what: 'state', from: 'down', to: 'removed' },
    );
    const line = await until('psp up logs that a service ended', () =>
      net.a
        .log()
        .split('\n')
        .find((each) => each.includes('"service ended by itself"')),
    );
    expect(JSON.parse(line)).toMatchObject({
      service: 'dataplane',
      code: 'INTERFACE_REMOVED',
      err: expect.stringMatching(/interface veth-wire was removed.*create it again.*secured\.port/),
    });
    await until('psp up tries again', () => net.a.log().includes('INTERFACE_MISSING'));
    expect(await ping(net.host1.namespace, net.host2.v4, { marker, waitS: 1 })).toMatchObject({
      received: 0,
    });

    const peer = ['type', 'veth', 'peer', 'name', port, 'mtu', `${wireMtu}`, 'netns', net.a.namespace.name];
    net.wire.ip('link', 'add', 'to-a', 'mtu', `${wireMtu}`, ...peer);
    net.wire.ip('link', 'set', 'to-a', 'master', 'wire', 'up');
    await until('the dataplane is back', async () => {
      const now = await net.a.numbers().catch(() => undefined);
      return now !== undefined && now.epoch !== epoch;
    });
    // Anything that the kernel sends on its own, it would have sent as the link came up.
    expect((await status()).health.filter((each) => /fence|IPv6/.test(each))).toEqual([]);
    const quiet = net.a.namespace.run('cat', `/proc/sys/net/ipv6/conf/${port}/disable_ipv6`);
    expect(quiet.trim()).toBe('1');
    const index = net.a.namespace.run('cat', `/sys/class/net/${port}/ifindex`).trim();
    expect(net.a.namespace.run('nft', 'list', 'ruleset')).toContain(`comment "interface ${index}"`);
    await until('its side reaches the other', async () => {
      return (await ping(net.host1.namespace, net.host2.v4, { marker, waitS: 2 })).received === 1;
    });
    await wire.stop();
    const summary = wire.summary([marker]);
    expect(summary).toMatchObject({ others: [], marked: 0, lost: 0 });
    expect(summary.psp).toBeGreaterThan(0);
  });
});
