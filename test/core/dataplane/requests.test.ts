// SPDX-License-Identifier: Apache-2.0
// Requests from the bus: in which order an accept, an install and a rotation are carried out, when each is answered, and
// what is undone when a step fails.
import { describe, expect, it } from 'vitest';
import { InstallResult } from '../../../proto/gen/bus.js';
import { type Fact, reversed } from '../../../services/dataplane/core/facts.js';
import { PspError } from '../../../services/shared/errors.js';
import { busy, Desk, flow, keyOf } from './desk.js';

const cause = { why: 'command' } as const;

const { INSTALL_RESULT_INSTALLED, INSTALL_RESULT_TABLE_FULL } = InstallResult;
const [f, g] = [flow(1), flow(2)];
const fault = new PspError('ENGINE_FAILED', { detail: 'test' });

/** The types of the actions that a fact leads to; the actions are not carried out. */
const typesOf = (desk: Desk, fact: Fact) => desk.arbiter.on(fact, desk.now).map(({ type }) => type);

/** An accept of flow f whose offer was made, and whose key the engine has not installed yet. */
const installing = (number = 1n) => {
  const desk = new Desk();
  desk.hold = ['offerInReturn', 'install', 'retryLater'];
  const request = desk.acceptReceived([f], [keyOf(number)]);
  const [spi] = desk.makeInReturn(desk.taken('offerInReturn')) as [number];
  desk.taken('install');
  return { desk, request, spi };
};

describe('an accept', () => {
  it('has its offers made before its keys are installed, and is answered after both', () => {
    const desk = new Desk();
    const request = 1;
    const accept = { type: 'acceptReceived', peer: 0, flows: [f], keys: [keyOf(1n)] } as const;
    expect(typesOf(desk, { ...accept, request })).toEqual(['offerInReturn']);
    const offered = { type: 'offeredInReturn', request, generation: 1, spis: [7], spisLeft: 100 } as const;
    expect(typesOf(desk, offered)).toEqual(['install']);
    const installed = { type: 'installed', request, results: [INSTALL_RESULT_INSTALLED] } as const;
    expect(typesOf(desk, installed)).toEqual(['audit', 'reply']);
  });

  it('without keys is answered as soon as its offers are made', () => {
    const desk = new Desk();
    desk.hold = ['offerInReturn'];
    const request = desk.acceptReceived([f], []);
    expect(desk.replies.has(request)).toBe(false);
    desk.makeInReturn(desk.taken('offerInReturn'));
    expect(desk.replies.get(request)).toEqual({ results: [] });
    expect(desk.arbiter.offersOf(reversed(f))).toHaveLength(1);
  });

  it('installs no key and fails with the error of the engine when its offers cannot be made', () => {
    const desk = new Desk();
    const exhausted = new PspError('SPI_EXHAUSTED');
    const request = 1;
    desk.arbiter.on({ type: 'acceptReceived', request, peer: 0, flows: [f], keys: [keyOf(1n)] }, desk.now);
    const failed = { type: 'offerInReturnFailed', request, error: exhausted } as const;
    expect(desk.arbiter.on(failed, desk.now)).toEqual([
      { type: 'fail', request, error: exhausted },
      { type: 'rotate', request: undefined },
    ]);
    const { keyedFlows, inboundFlows } = desk.arbiter.gauges();
    expect([keyedFlows, inboundFlows, desk.arbiter.exhausted]).toEqual([0, 0, true]);
    expect(desk.arbiter.counters.offersFailed).toBe(1);
  });

  it('ends the exchange of its flow only once its offers are made', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.hold = ['offerInReturn'];
    desk.acceptReceived([f], [keyOf(1n)]);
    expect(desk.install(desk.last, 2n)).toEqual(['installed']);
  });

  it('tries its keys again for 500 ms while the engine is busy, then withdraws its offers, then fails', () => {
    const { desk, request, spi } = installing();
    const failed = { type: 'installFailed', request, error: busy } as const;
    const start = desk.now;
    for (let retries = 0; retries < 25; retries++) {
      desk.on(failed);
      const { afterMs } = desk.taken('retryLater');
      desk.now += afterMs;
      desk.on({ type: 'retryDue', request });
      expect(desk.taken('install')).toMatchObject({ request, peer: 0, rows: [0] });
    }
    expect([desk.now - start, desk.replies.size]).toEqual([500, 0]);
    expect(desk.arbiter.on(failed, desk.now)).toEqual([
      { type: 'refuse', flows: [f], holdDownMs: 1000 },
      { type: 'withdraw', offers: [{ inbound: reversed(f), spi }] },
      { type: 'fail', request, error: busy },
    ]);
    expect(desk.arbiter.gauges()).toMatchObject({ keyedFlows: 0, inboundFlows: 0 });
  });

  it('fails at once when the engine fails for another reason than being busy', () => {
    const { desk, request, spi } = installing();
    desk.on({ type: 'installFailed', request, error: fault });
    expect(desk.held).toEqual([]);
    expect(desk.withdrawn).toEqual([{ inbound: reversed(f), spi }]);
    expect(desk.replies.get(request)).toBe('ENGINE_FAILED');
  });

  it('that failed may be sent again with the same key', () => {
    const { desk, request } = installing();
    desk.on({ type: 'installFailed', request, error: fault });
    desk.hold = [];
    expect(desk.accept(f, 1n).outcome).toBe('installed');
  });

  it('that fails withdraws its own offers and no other of the flow', () => {
    const desk = new Desk();
    const { spi: kept } = desk.accept(f, 1n);
    desk.hold = ['install'];
    const request = desk.acceptReceived([f], [keyOf(2n)]);
    desk.on({ type: 'installFailed', request, error: fault });
    expect(desk.withdrawn).toHaveLength(1);
    expect(desk.arbiter.offersOf(reversed(f)).map(({ spi }) => spi)).toEqual([kept]);
    expect(desk.arbiter.gauges().keyedFlows).toBe(1);
  });

  it('does not fail when the table is full, and its offers stay valid', () => {
    const { desk, request, spi } = installing();
    desk.on({ type: 'installed', request, results: [INSTALL_RESULT_TABLE_FULL] });
    expect(desk.outcomesOf(request)).toEqual(['tableFull']);
    expect(desk.withdrawn).toEqual([]);
    expect(desk.arbiter.offersOf(reversed(f)).map((offer) => offer.spi)).toEqual([spi]);
    expect(desk.refused).toMatchObject([{ flow: f, holdDownMs: 1000 }]);
  });
});

describe('a newer key that was decided on while an older one was being installed', () => {
  it('is not lost when the engine has no space for the older one', () => {
    const { desk, request } = installing(1n);
    desk.hold = ['install'];
    const newer = desk.acceptReceived([f], [keyOf(2n)]);
    desk.on({ type: 'installed', request, results: [INSTALL_RESULT_TABLE_FULL] });
    expect(desk.refused).toEqual([]);
    expect(desk.arbiter.gauges().keyedFlows).toBe(1);
    desk.on({ type: 'installed', request: newer, results: [INSTALL_RESULT_INSTALLED] });
    expect(desk.outcomesOf(newer)).toEqual(['installed']);
  });

  it('is not lost when the older one fails, and the older accept is undone', () => {
    const { desk, request, spi } = installing(1n);
    desk.hold = ['install'];
    desk.acceptReceived([f], [keyOf(2n)]);
    desk.on({ type: 'installFailed', request, error: fault });
    expect(desk.refused).toEqual([]);
    expect(desk.arbiter.gauges().keyedFlows).toBe(1);
    expect(desk.withdrawn.map((offer) => offer.spi)).toEqual([spi]);
    desk.hold = [];
    expect(desk.accept(f, 2n).outcome).toBe('superseded');
  });

  it('removes only its own flow from the retry of a batch', () => {
    const desk = new Desk();
    desk.hold = ['install', 'retryLater'];
    const request = desk.acceptReceived([f, g], [keyOf(1n, undefined, 0), keyOf(2n, undefined, 1)]);
    expect(desk.taken('install').rows).toEqual([0, 1]);
    const newer = desk.acceptReceived([f], [keyOf(3n)]);
    desk.taken('install');
    desk.on({ type: 'installed', request: newer, results: [INSTALL_RESULT_INSTALLED] });
    desk.on({ type: 'installFailed', request, error: busy });
    desk.on({ type: 'retryDue', request });
    expect(desk.taken('install').rows).toEqual([1]);
    desk.on({ type: 'installed', request, results: [INSTALL_RESULT_INSTALLED] });
    expect(desk.outcomesOf(request)).toEqual(['superseded', 'installed']);
  });
});

describe('an install', () => {
  it('sends the engine only the rows that are in flight, and is answered with one result for each row', () => {
    const desk = new Desk();
    desk.miss(f, g);
    const { last } = desk;
    desk.accept(f, 1n);
    desk.hold = ['install'];
    const keys = [keyOf(2n, undefined, 0), keyOf(3n, undefined, 1)];
    const request = desk.request({ ...last, type: 'installReceived', keys });
    expect(desk.taken('install')).toEqual({ type: 'install', request, peer: 0, rows: [1] });
    expect(desk.replies.has(request)).toBe(false);
    desk.on({ type: 'installed', request, results: [INSTALL_RESULT_INSTALLED] });
    expect(desk.outcomesOf(request)).toEqual(['notInFlight', 'installed']);
    expect(desk.audited.at(-1)).toMatchObject({ type: 'tunnelUp', flow: g, asked: 'us', spi: 0x101 });
  });

  it('that fails withdraws no offer, because the peer has those of the exchange', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.hold = ['install'];
    const request = desk.request({ ...desk.last, type: 'installReceived', keys: [keyOf(1n)] });
    desk.on({ type: 'installFailed', request, error: fault });
    expect(desk.withdrawn).toEqual([]);
    expect(desk.replies.get(request)).toBe('ENGINE_FAILED');
    expect(desk.refused).toMatchObject([{ flow: f, holdDownMs: 1000 }]);
  });

  it('that fails leaves a configured flow wanted', () => {
    const desk = new Desk({ configured: [{ flow: f, peer: 0 }] });
    desk.hold = ['install'];
    const request = desk.request({ ...desk.last, type: 'installReceived', keys: [keyOf(1n)] });
    desk.on({ type: 'installFailed', request, error: fault });
    desk.pass(900);
    expect(desk.published).toHaveLength(1);
    desk.pass(100);
    expect(desk.last).toMatchObject({ reason: 'configured', flows: [f], exchange: 2n });
  });
});

describe('a refusal', () => {
  it('withdraws the offer first, then drops the held packets of a flow that has no key', () => {
    const desk = new Desk();
    desk.miss(f);
    const { exchange, spis } = desk.last;
    const refusal = { type: 'refuseReceived', exchange, peer: 0, flows: [f], code: 'VIP_NOT_OURS' } as const;
    expect(desk.arbiter.on(refusal, desk.now)).toEqual([
      { type: 'withdraw', offers: [{ inbound: reversed(f), spi: spis[0] }] },
      { type: 'audit', event: { type: 'tunnelRefused', flow: f, peer: 0, code: 'VIP_NOT_OURS' } },
      { type: 'refuse', flows: [f], holdDownMs: 1000 },
    ]);
  });
});

describe('a request for a rotation', () => {
  it('is answered once the engine has rotated, after the new offers were begun', () => {
    const desk = new Desk();
    desk.accept(f, 1n);
    expect(typesOf(desk, { type: 'rotateReceived', cause, request: 10 })).toEqual(['rotate']);
    const actions = desk.arbiter.on({ type: 'rotated', request: 10, generation: 2 }, desk.now);
    expect(actions.map(({ type }) => type)).toEqual(['audit', 'offer', 'reply']);
    const reply = { generation: 2, wait: undefined, cut: 0, unanswered: 0, reoffered: 1 };
    expect(actions.at(-1)).toEqual({ type: 'reply', request: 10, reply });
  });

  it('gives the engine no command and is answered at once while it has to wait', () => {
    const desk = new Desk();
    desk.accept(f, 1n);
    desk.rotate();
    const wait = { unanswered: 1, drainLeftMs: 0 };
    const reply = { generation: 2, wait, cut: 0, unanswered: 0, reoffered: 0 };
    expect(desk.arbiter.on({ type: 'rotateReceived', cause, request: 10 }, desk.now)).toEqual([
      { type: 'reply', request: 10, reply },
    ]);
    expect(desk.arbiter.generation).toBe(2);
  });

  it('reports how many flows had not answered when it went ahead after the grace', () => {
    const desk = new Desk({ rotateGraceMs: 1000 });
    desk.accept(f, 1n);
    desk.accept(g, 2n);
    desk.rotate();
    desk.install({ ...desk.last, flows: [f] }, 3n);
    desk.now += 1000;
    const request = desk.request({ type: 'rotateReceived', cause });
    const reply = { generation: 3, wait: undefined, cut: 0, unanswered: 1, reoffered: 2 };
    expect(desk.replies.get(request)).toEqual(reply);
  });

  it('that fails changes no key generation, makes no offer, and does not keep the next one from beginning', () => {
    const desk = new Desk();
    desk.accept(f, 1n);
    desk.hold = ['rotate'];
    const request = desk.request({ type: 'rotateReceived', cause });
    desk.on({ type: 'rotateFailed', request, error: fault });
    expect(desk.replies.get(request)).toBe('ENGINE_FAILED');
    expect([desk.arbiter.generation, desk.arbiter.rotatedMs, desk.published]).toEqual([1, undefined, []]);
    desk.hold = [];
    expect(desk.rotate()).toBeUndefined();
  });
});

describe('every request', () => {
  it('is answered once, however the steps of requests interleave', () => {
    let seed = 1;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const desk = new Desk();
    desk.hold = ['offer', 'offerInReturn', 'install', 'retryLater', 'rotate'];
    let requests = 0;
    let number = 0n;
    const resultOf = (action: (typeof desk.held)[number]): Fact | undefined => {
      const error = random(2) === 0 ? busy : fault;
      const fails = random(4) === 0;
      switch (action.type) {
        case 'offerInReturn':
          if (fails) return { type: 'offerInReturnFailed', request: action.request, error };
          desk.makeInReturn(action);
          return undefined;
        case 'install': {
          const { request, rows } = action;
          if (fails) return { type: 'installFailed', request, error };
          const results = rows.map(() =>
            random(5) === 0 ? INSTALL_RESULT_TABLE_FULL : INSTALL_RESULT_INSTALLED,
          );
          return { type: 'installed', request, results };
        }
        case 'retryLater':
          desk.now += action.afterMs;
          return { type: 'retryDue', request: action.request };
        case 'rotate':
          if (fails) return { type: 'rotateFailed', request: action.request, error };
          return { type: 'rotated', request: action.request, generation: ++desk.generation };
        case 'offer':
          desk.make(action);
          return undefined;
        default:
          throw new Error(`${action.type} is not held`);
      }
    };
    const step = () => {
      const [action] = desk.held.splice(random(desk.held.length), 1);
      const fact = action && resultOf(action);
      if (fact !== undefined) desk.on(fact);
    };
    for (let i = 0; i < 20_000; i++) {
      if (random(3) > 0) {
        if (desk.held.length > 0) step();
        continue;
      }
      const flows = Array.from({ length: 1 + random(3) }, () => flow(random(20)));
      const keys = flows.map((_, row) => keyOf(number + BigInt(row), undefined, row));
      number += BigInt(random(3));
      const kind = random(4);
      if (kind === 0) desk.miss(...flows);
      else if (kind === 1) desk.acceptReceived(flows, keys);
      else if (kind === 2) desk.request({ type: 'rotateReceived', cause });
      else if (desk.published.length > 0) {
        const { exchange, flows } = desk.last;
        const keys = flows.map((_, row) => keyOf(++number, undefined, row));
        desk.request({ type: 'installReceived', exchange, peer: 0, flows, keys });
      } else continue;
      if (kind > 0) requests++;
    }
    while (desk.held.length > 0) step();
    expect(requests).toBeGreaterThan(3000);
    expect(desk.replies.size).toBe(requests);
    const results = new Set(
      [...desk.replies.values()].map((reply) => (typeof reply === 'string' ? reply : '')),
    );
    expect(results).toEqual(new Set(['', 'ENGINE_BUSY', 'ENGINE_FAILED']));
  });

  it('is known: a result for a request that is not under way is a fault', () => {
    const { desk, request } = installing();
    const installed = { type: 'installed', request, results: [INSTALL_RESULT_INSTALLED] } as const;
    desk.on(installed);
    expect(() => desk.on(installed)).toThrow('no keys that are being installed');
    const offered = { type: 'offeredInReturn', request, generation: 1, spis: [9], spisLeft: 100 } as const;
    expect(() => desk.on(offered)).toThrow('waits for no offers');
  });
});
