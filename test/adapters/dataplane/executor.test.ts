// SPDX-License-Identifier: Apache-2.0
// How the actions of the arbiter reach the engine: in order, in one turn of the event loop, and never after a stop.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { AuditReport } from '../../../services/dataplane/adapters/audit_report.js';
import { Executor } from '../../../services/dataplane/adapters/executor.js';
import type { DataplaneConfig } from '../../../services/dataplane/config.js';
import { Arbiter } from '../../../services/dataplane/core/arbiter.js';
import { flowKeyOf } from '../../../services/shared/address.js';
import { FlowTraces } from '../../../services/shared/service/flow_traces.js';
import { FakeEngine } from './engine.js';
import { flow } from './rig.js';

const flows = [flowKeyOf(flow(1))];
const key = { epoch: 5n, number: 1n, spi: 0x100, version: 1, address: '' };

function started() {
  const config = {
    node: 'a',
    busSecret: { file: 'none', state: '', octets: randomBytes(32) },
    peers: ['b'],
    terms: [{ versions: [1] }],
    engine: { sampling: {}, peers: [{}] },
  } as unknown as DataplaneConfig;
  const arbiter = new Arbiter({
    epoch: 1n,
    holdMs: 3000,
    exchangeMs: 1000,
    drainMs: 100,
    rotateGraceMs: 10_000,
    rotateEveryMs: undefined,
    maxTunnels: new Map(),
    maxInbound: 100,
    configured: [],
    peers: [],
    random: Math.random,
  });
  const engine = new FakeEngine(config, { onFact: () => {}, onSamples: () => {}, onLink: () => {} });
  const audit = new AuditReport({ peers: ['b'] }, { record: () => {} }, { info: () => {}, warn: () => {} });
  const executor = new Executor(
    config,
    arbiter,
    engine.wrapped(),
    audit,
    { publish: () => true },
    new FlowTraces(),
  );
  return { engine, executor };
}

/** An accept, and how often its keys were released. */
function accept(offerInReturn: () => Promise<{ generation: number; spis: number[]; spisLeft: number }>) {
  const context = { released: 0, offerInReturn };
  const keys = { count: 1, release: () => void context.released++ };
  const fact = { type: 'acceptReceived', peer: 0, flows, keys: [key] } as const;
  return { fact, context: Object.assign(context, { keys }) };
}

describe('a request', () => {
  it('that waits for the engine fails when the executor stops, and its keys are released', async () => {
    const { executor, engine } = started();
    const { fact, context } = accept(() => new Promise(() => undefined));
    const answer = executor.request(fact, context);
    executor.stop();
    await expect(answer).rejects.toMatchObject({ code: 'ENGINE_BUSY' });
    expect([context.released, engine.calls]).toEqual([1, []]);
  });

  it('that waits for space in the ring gives the engine no command after a stop', async () => {
    const { executor, engine } = started();
    engine.busyFor = () => true;
    const { fact, context } = accept(async () => ({ generation: 1, spis: [7], spisLeft: 9 }));
    const answer = executor.request(fact, context);
    // Twice at least, so that a retry is pending when the executor stops.
    while (engine.called('install').length < 2) await delay(1);
    executor.stop();
    await expect(answer).rejects.toMatchObject({ code: 'ENGINE_BUSY' });
    const { length } = engine.calls;
    await delay(100);
    expect([context.released, engine.calls.length]).toEqual([1, length]);
  });

  it('that comes after a stop fails at once, and its keys are released', async () => {
    const { executor } = started();
    executor.stop();
    const { fact, context } = accept(async () => ({ generation: 1, spis: [7], spisLeft: 9 }));
    await expect(executor.request(fact, context)).rejects.toMatchObject({ code: 'ENGINE_BUSY' });
    expect(context.released).toBe(1);
  });

  it('ends with the error of the engine as it is, also with one that nobody expects', async () => {
    const { executor, engine } = started();
    const fault = new Error('a fault');
    const { fact, context } = accept(() => Promise.reject(fault));
    await expect(executor.request(fact, context)).rejects.toBe(fault);
    expect([context.released, engine.called('install')]).toEqual([1, []]);
  });
});

describe('the actions of one fact', () => {
  it('reach the engine in their order, before the next turn', async () => {
    const { executor, engine } = started();
    executor.on({ type: 'bus', connected: true });
    executor.on({ type: 'missed', misses: [{ flow: flows[0] as string, peer: 0 }] });
    while (engine.called('offer').length === 0) await delay(1);
    await delay(1);
    engine.calls.length = 0;
    executor.on({ type: 'refuseReceived', exchange: 1n, peer: 0, flows, code: 'PEER_REFUSED' });
    expect(engine.calls.map(({ name }) => name)).toEqual(['withdraw', 'refuse']);
  });
});

describe('a fact after a stop', () => {
  it('gives the engine no command', () => {
    const { executor, engine } = started();
    executor.on({ type: 'bus', connected: true });
    executor.stop();
    executor.on({ type: 'missed', misses: [{ flow: flows[0] as string, peer: 0 }] });
    expect(engine.calls).toEqual([]);
  });
});
