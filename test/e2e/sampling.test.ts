// SPDX-License-Identifier: Apache-2.0
// Samples from end to end: a sampled packet is marked on the wire, is opened at the other gateway and sampled there,
// too. The rate changes while packets flow. Whatever happens to the sampler, traffic and misses continue, and samples
// that it does not accept are counted and reported.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Frame } from './capture.js';
import type { Gateway } from './gateway.js';
import { signal, until } from './namespace.js';
import { grew, type Numbers, newDrops } from './numbers.js';
import { Topology } from './topology.js';
import { Listener, ping, send, startTransfer } from './traffic.js';

interface SampleLine {
  point: 'egress_sealed' | 'ingress_opened';
  peer: string;
  source: string;
  destination: string;
  protocol: number;
  destinationPort: number | null;
  spi: string;
  rateLog2: number | null;
}

let net: Topology;

beforeAll(async () => {
  net = await Topology.create();
  net.addAddresses(8);
  await net.start();
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
});
afterAll(() => net?.close());

/** The output of a gateway's sampler for datagrams to a port. */
const linesOf = (gateway: Gateway, port: number): SampleLine[] =>
  gateway
    .printed()
    .split('\n')
    .filter((line) => line.includes('"point":') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as SampleLine)
    .filter(({ protocol, destinationPort }) => protocol === 17 && destinationPort === port);

async function sampling(rate: string): Promise<string> {
  const { code, stdout, stderr } = await net.a.psp('sampling', rate);
  expect(code, stderr).toBe(0);
  return stdout;
}

/** Sends datagrams from host 1 to host 2 and waits until all have arrived. */
async function deliver(count: number, port: number): Promise<void> {
  const listener = await Listener.start(net.host2.namespace, port);
  // In parts, so that no socket on the path overflows.
  const part = 500;
  for (let from = 0; from < count; from += part) {
    const now = Math.min(part, count - from);
    await send(net.host1.namespace, [{ destination: net.host2.v4, port, count: now, from }]);
    await until('all have arrived', () => listener.received.length >= from + now);
  }
  const numbers = listener.received.map(({ text }) => Number(text.split(' ')[2]));
  expect(numbers).toEqual(Array.from({ length: count }, (_, i) => i));
  await listener.stop();
}

/** Octet 3 of the PSP header, after Ethernet, IPv4 and UDP; its top bit is S. */
const marked = ({ kind, octets }: Frame): boolean => kind === 'psp' && ((octets[45] as number) & 0x80) !== 0;

describe('a sampled packet', () => {
  it('is marked on the wire, is opened at the other gateway and sampled at both', async () => {
    expect(await sampling('0')).toBe('every packet that leaves is sampled\n');
    const wire = await net.capture('all', { filter: 'udp dst port 1000 and src host 192.0.2.1' });
    await deliver(200, 7100);
    await wire.stop();
    const [sealed, opened] = await until('both samplers have written all samples', () => {
      const lines = [linesOf(net.a, 7100), linesOf(net.b, 7100)];
      return lines.every(({ length }) => length >= 200) && lines;
    });
    const frames = wire.frames();
    expect(frames.filter(marked).length).toBe(frames.length);
    expect(frames.length).toBeGreaterThanOrEqual(200);
    expect([sealed?.length, opened?.length]).toEqual([200, 200]);
    const flow = { source: net.host1.v4, destination: net.host2.v4 };
    expect(sealed?.[0]).toMatchObject({ ...flow, point: 'egress_sealed', peer: 'b', rateLog2: 0 });
    expect(opened?.[0]).toMatchObject({ ...flow, point: 'ingress_opened', peer: 'a', rateLog2: null });
    expect(new Set([...(sealed ?? []), ...(opened ?? [])].map(({ spi }) => spi)).size).toBe(1);
  });

  it('is one of 16 after `psp sampling 4`: the same number on the wire and at both gateways, and all arrive in order', async () => {
    const wire = await net.capture('some', { filter: 'udp dst port 1000 and src host 192.0.2.1' });
    expect(await sampling('4')).toBe('one of 16 packets that leave is sampled\n');
    const before = await Promise.all([net.a.numbers(), net.b.numbers()]);
    await deliver(4000, 7104);
    await wire.stop();
    const after = await Promise.all([net.a.numbers(), net.b.numbers()]);
    const onWire = wire.frames().filter(marked).length;
    // Six standard deviations around 250.
    expect(onWire).toBeGreaterThan(157);
    expect(onWire).toBeLessThan(343);
    for (const i of [0, 1]) {
      const [was, is] = [before[i], after[i]];
      if (was === undefined || is === undefined) throw new Error('a gateway reported no counters');
      expect(grew(was, is, 'samplesTaken')).toBe(onWire);
      expect(grew(was, is, 'samplesLost')).toBe(0);
      expect(newDrops(was, is)).toEqual({});
    }
    const told = await until('both samplers have written all samples', () => {
      const lines = [linesOf(net.a, 7104).length, linesOf(net.b, 7104).length];
      return lines[0] === lines[1] && lines;
    });
    expect(Math.abs((told[0] ?? 0) - onWire)).toBeLessThan(5);
  });

  it('is none after `psp sampling off`', async () => {
    expect(await sampling('off')).toBe('sampling is off\n');
    const before = await net.a.numbers();
    await deliver(1000, 7109);
    const after = await net.a.numbers();
    expect(grew(before, after, 'samplesTaken')).toBe(0);
    expect([linesOf(net.a, 7109), linesOf(net.b, 7109)]).toEqual([[], []]);
  });
});

/** Samples that no sampler accepted, as far as the counters show. */
const untakenSince = (before: Numbers, after: Numbers): number =>
  grew(before, after, 'samplesDropped') + grew(before, after, 'samplesUnanswered');

describe.each([
  { fault: 'stopped', pair: 0 },
  { fault: 'slow (SIGSTOP)', pair: 2 },
  { fault: 'killed (SIGKILL)', pair: 4 },
])('a sampler that is $fault', ({ fault, pair }) => {
  /** Stops the sampler of gateway a. @returns a function that restarts it. */
  async function strike(): Promise<() => Promise<void>> {
    const pid = net.a.pidOf('sampler') as number;
    const back = () =>
      until('the sampler is back', () => {
        const now = net.a.pidOf('sampler');
        return now !== undefined && now !== pid;
      });
    if (fault.startsWith('slow')) {
      signal(pid, 'SIGSTOP');
      return async () => signal(pid, 'SIGCONT');
    }
    if (fault.startsWith('killed')) {
      net.a.kill('sampler');
      return async () => void (await back());
    }
    // So that `psp up` does not start another one.
    const up = net.a.pid;
    signal(up, 'SIGSTOP');
    signal(pid, 'SIGTERM');
    return async () => {
      signal(up, 'SIGCONT');
      await back();
    };
  }

  it('delays neither a running transfer nor new tunnels; samples are dropped, counted, reported, and resume', async () => {
    await sampling('0');
    const before = await Promise.all([net.a.numbers(), net.b.numbers()]);
    const running = await startTransfer(net.host1.namespace, net.host2.namespace, net.host2.v4, {
      bytes: 24 << 20,
      rate: 3 << 20,
    });
    const heal = await strike();
    try {
      for (const i of [pair, pair + 1]) {
        const source = `10.1.0.${100 + i}`;
        expect((await ping(net.host1.namespace, `10.2.0.${100 + i}`, { source })).received).toBe(1);
      }
      await until('missing samples are counted and reported', async () => {
        const now = await net.a.numbers();
        const told = now.health.some((line) => /^samples: no sampler accepted [1-9]\d* samples/.test(line));
        return told && untakenSince(before[0], now) > 0;
      });
      running.release();
      expect((await running.done).equal).toBe(true);
      const during = await Promise.all([net.a.numbers(), net.b.numbers()]);
      const [wasA, wasB, isA, isB] = [...before, ...during] as const;
      expect(newDrops(wasA, isA)).toEqual({});
      expect(newDrops(wasB, isB)).toEqual({});
      expect(grew(wasA, isA, 'samplesTaken')).toBeGreaterThanOrEqual(untakenSince(wasA, isA));
      expect(grew(wasA, isA, 'missEvents')).toBe(2);
    } finally {
      await heal();
    }
    const healed = await net.a.numbers();
    await until('samples arrive again', async () => {
      await ping(net.host1.namespace, net.host2.v4, { waitS: 1 });
      const now = await net.a.numbers();
      return grew(healed, now, 'samplesDelivered') > 0;
    });
  });
});

it('accounts for every sample', async () => {
  await sampling('off');
  const { values } = await until('nothing is under way', async () => {
    const now = await net.a.numbers();
    const { samplesTaken, samplesDelivered = 0, samplesDropped = 0, samplesUnanswered = 0 } = now.values;
    return samplesTaken === samplesDelivered + samplesDropped + samplesUnanswered && now;
  });
  // Every packet of the transfers was sampled; a busy machine may accept them more slowly than they arrive.
  expect(Number(values.samplesTaken) + Number(values.samplesLost)).toBeGreaterThan(20_000);
  expect(values.samplesDelivered).toBeGreaterThan(0);
});
