// SPDX-License-Identifier: Apache-2.0
// Faults that follow from the dataplane's counters: temporary trouble is reported for a while.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Engine, EngineInfo } from '../../../services/dataplane/adapters/engine.js';
import { Report } from '../../../services/dataplane/adapters/report.js';
import { SamplerClient } from '../../../services/dataplane/adapters/sampler_client.js';
import { Arbiter } from '../../../services/dataplane/core/arbiter.js';
import { type Fact, reversed } from '../../../services/dataplane/core/facts.js';
import { monotonicMs } from '../../../services/shared/process/clock.js';
import { FaultList } from '../../../services/shared/service/fault_list.js';
import { flow } from '../../core/dataplane/desk.js';

const none = { peers: [], random: Math.random };
const times = {
  holdMs: 3000,
  exchangeMs: 1000,
  drainMs: 500,
  rotateGraceMs: 3_600_000,
  rotateEveryMs: undefined,
};

type Config = ConstructorParameters<typeof Report>[0];

function reportOf(peers: string[] = [], maxTunnels = new Map<number, number>()) {
  const warned: unknown[] = [];
  const values = { eventsLost: 0n, missesWaiting: 0n };
  const counters = () => ({ pipes: [], drops: [], ports: [], peers: [], bypass: [], lcores: [], values });
  const samplingLog2 = () => undefined;
  const arbiter = new Arbiter({
    epoch: 1n,
    configured: [],
    maxInbound: 10,
    maxTunnels,
    ...times,
    ...none,
  });
  const lists = { peers, terms: peers.map(() => ({})), bypass: [], warnings: [] };
  const config = { node: 'a', engine: { ingressAcl: true }, ...lists } as unknown as Config;
  const sources = {
    arbiter,
    engine: { counters, samplingLog2 } as unknown as Engine,
    info: { crypto: 'test' } as EngineInfo,
    sampler: new SamplerClient({ request: () => expect.unreachable() }, { peers: [] }),
    links: { of: () => undefined },
    startedMs: 1,
  };
  const report = new Report(config, sources, new FaultList(), {
    warn: (fields: unknown) => void warned.push(fields),
  });
  const health = () => report.read().health.map(({ part, message }) => `${part}: ${message.split(';')[0]}`);
  return { values, report, health, arbiter, warned };
}

describe('a loss of events', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'Date', 'hrtime'] }));
  afterEach(() => void vi.useRealTimers());

  it('is reported until a minute has passed without another', () => {
    const { values, report, health } = reportOf();
    expect(health()).toEqual([]);
    values.eventsLost = 3n;
    report.read();
    vi.advanceTimersByTime(59_000);
    expect(health()).toEqual(['events: 3 receive SPIs ended before their first packet could be reported']);
    values.eventsLost = 4n;
    expect(health()).toEqual(['events: 4 receive SPIs ended before their first packet could be reported']);
    vi.advanceTimersByTime(59_000);
    expect(health()).toEqual(['events: 4 receive SPIs ended before their first packet could be reported']);
    vi.advanceTimersByTime(1000);
    expect(health()).toEqual([]);
  });
});

describe('a peer that does not answer a rotation', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'Date', 'hrtime'] }));
  afterEach(() => void vi.useRealTimers());

  it('is a fault after ten seconds, with its flows, until it has answered', () => {
    const { arbiter, health } = reportOf(['b', 'c']);
    const inbound = reversed(flow(1));
    const on = (fact: Fact) => arbiter.on(fact, monotonicMs());
    const accept = { type: 'acceptReceived', peer: 1, flows: [flow(1)], keys: [], request: 1 } as const;
    on(accept);
    on({ type: 'offeredInReturn', request: 1, generation: 1, spis: [1], spisLeft: 9 });
    on({ type: 'rotateReceived', request: 2, cause: { why: 'command' } });
    on({ type: 'rotated', request: 2, generation: 2 });
    on({ ...accept, request: 3 });
    on({ type: 'offeredInReturn', request: 3, generation: 2, spis: [2], spisLeft: 8 });
    vi.advanceTimersByTime(9000);
    expect(health()).toEqual([]);
    vi.advanceTimersByTime(1000);
    expect(health()).toEqual([
      'rotation: these peers have not answered the last rotation and may still use the older master key: c (1 flow)',
    ]);
    on({ type: 'seen', inbound, spi: 2 });
    expect(health()).toEqual([]);
  });
});

describe('a peer whose tunnels are limited', () => {
  it('is a fault, and is logged once, when few are left and when none is left', () => {
    const { arbiter, health, warned } = reportOf(['b', 'c'], new Map([[1, 2]]));
    expect([health(), warned]).toEqual([[], []]);
    const accept = (i: number) => {
      const request = { type: 'acceptReceived', peer: 1, flows: [flow(i)], keys: [], request: i } as const;
      arbiter.on(request, monotonicMs());
      const offered = { type: 'offeredInReturn', request: i, generation: 1, spis: [i], spisLeft: 9 } as const;
      arbiter.on(offered, monotonicMs());
    };
    accept(1);
    expect(health()).toEqual(['tunnels c: 1 of 2 tunnels of peer c are left (peers.c.maxTunnels): plan it']);
    accept(2);
    expect(health()).toEqual([
      'tunnels c: 0 of 2 tunnels of peer c are left (peers.c.maxTunnels): it gets no more keys, and rotations that would cut its flows wait',
    ]);
    expect(warned).toEqual([{ peer: 'c', left: 1, most: 2 }]);
  });
});

describe('misses that the engine cannot report yet', () => {
  it('are reported as long as they wait', () => {
    const { values, health } = reportOf();
    values.missesWaiting = 2n;
    expect(health()).toEqual([
      'misses: 2 flows wait for a key exchange: new flows arrive faster than they are processed',
    ]);
    values.missesWaiting = 0n;
    expect(health()).toEqual([]);
  });
});
