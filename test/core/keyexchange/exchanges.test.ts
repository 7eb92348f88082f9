// SPDX-License-Identifier: Apache-2.0
// The order of an exchange on either side: what is begun, what waits, and what follows from each result.
import { describe, expect, it } from 'vitest';
import { Answering, type AnsweringAction } from '../../../services/keyexchange/core/answering.js';
import { InFlight } from '../../../services/keyexchange/core/in_flight.js';
import { Requesting, type RequestingAction } from '../../../services/keyexchange/core/requesting.js';
import { PspError } from '../../../services/shared/errors.js';

const atMs = (ms: number): bigint => BigInt(ms) * 1_000_000n;

describe('tunnels in progress', () => {
  it('are limited to 4096 for each peer, running or waiting, and free their space when they end', () => {
    const inFlight = new InFlight();
    for (const tunnels of [1024, 1024, 1024, 1023]) {
      expect(inFlight.enter('b', tunnels, 1)).toBe('begins');
    }
    expect(inFlight.enter('b', 2, 1)).toBe('refused');
    expect(inFlight.enter('c', 1024, 1)).toBe('begins');
    expect(inFlight.enter('b', 1, 1)).toBe('begins');
    for (const tunnels of [1024, 1024, 1024, 1023, 1]) expect(inFlight.leave('b', tunnels)).toBeUndefined();
    expect(inFlight.enter('b', 4096, 1)).toBe('begins');
  });

  it('of one batch may be more than the limit when nothing else is in progress', () => {
    expect(new InFlight().enter('b', 5000, 1)).toBe('begins');
  });

  it('run 64 at once, and those that wait begin in their order; a request without tunnels counts as one', () => {
    const inFlight = new InFlight();
    const entered = Array.from({ length: 4096 }, (_, id) => inFlight.enter('b', 0, id));
    expect(entered.map((each) => each === 'begins').lastIndexOf(true)).toBe(63);
    expect(entered.slice(64).every((each) => each === 'waits')).toBe(true);
    expect(inFlight.enter('b', 0, 4096)).toBe('refused');
    const begun = Array.from({ length: 4096 }, () => inFlight.leave('b', 0));
    expect(begun).toEqual([...Array.from({ length: 4032 }, (_, i) => 64 + i), ...Array(64).fill(undefined)]);
    expect(inFlight.enter('b', 4096, 1)).toBe('begins');
  });
});

describe('the requesting side', () => {
  const rules = { exchangeMs: 1000, callMs: 700 };
  const wanted = (id: number, tunnels = 1, publishedMs = 0) => ({
    type: 'wanted' as const,
    id,
    peer: 'b',
    tunnels,
    timed: { publishedNs: atMs(publishedMs), timeoutMs: undefined },
  });

  it('requests the peer once and installs its keys', () => {
    const core = new Requesting(rules);
    expect(core.on(wanted(1), atMs(10))).toEqual([{ type: 'call', id: 1, timeoutMs: 700 }]);
    expect(core.on({ type: 'answered', id: 1 }, atMs(50))).toEqual([
      { type: 'install', id: 1, timeoutMs: 950 },
    ]);
    expect(core.on({ type: 'ended', id: 1 }, atMs(60))).toEqual([{ type: 'end', id: 1, why: 'done' }]);
    expect(() => core.on({ type: 'ended', id: 1 }, atMs(60))).toThrow();
  });

  it('reports a refusal to the dataplane, and an unknown outcome to nobody', () => {
    const core = new Requesting(rules);
    core.on(wanted(1), 0n);
    core.on(wanted(2), 0n);
    expect(core.on({ type: 'failed', id: 1, code: 'PEER_REFUSED' }, atMs(900))).toEqual([
      { type: 'refuse', id: 1, code: 'PEER_REFUSED', timeoutMs: 300 },
    ]);
    for (const code of ['PEER_TIMEOUT', 'PEER_DOWN', 'RESPONSE_INVALID', 'BREAKER_OPEN'] as const) {
      const other = new Requesting(rules);
      other.on(wanted(7), 0n);
      expect(other.on({ type: 'failed', id: 7, code }, 0n)).toEqual([{ type: 'end', id: 7, why: 'done' }]);
    }
  });

  it('drops wants whose turn comes too late, however many there are, and begins the next that is in time', () => {
    const core = new Requesting(rules);
    const actions: RequestingAction[] = [];
    for (let id = 0; id < 64; id++) actions.push(...core.on(wanted(id), 0n));
    expect(actions.map(({ type }) => type)).toEqual(Array(64).fill('call'));
    for (let id = 64; id < 4000; id++) expect(core.on(wanted(id), 0n)).toEqual([]);
    expect(core.on(wanted(4000, 1, 400), atMs(400))).toEqual([]);
    const ended = core.on({ type: 'ended', id: 5 }, atMs(501));
    expect(ended[0]).toEqual({ type: 'end', id: 5, why: 'done' });
    expect(ended.slice(1, -1)).toEqual(
      Array.from({ length: 3936 }, (_, i) => ({ type: 'end', id: 64 + i, why: 'expired' })),
    );
    expect(ended.at(-1)).toEqual({ type: 'call', id: 4000, timeoutMs: 700 });
  });

  it('refuses work beyond the limit without disturbing what is in progress', () => {
    const core = new Requesting(rules);
    core.on(wanted(1, 4096), 0n);
    expect(core.on(wanted(2), 0n)).toEqual([{ type: 'end', id: 2, why: 'overloaded' }]);
    expect(core.on({ type: 'answered', id: 1 }, 0n)).toMatchObject([{ type: 'install', id: 1 }]);
  });
});

describe('the answering side', () => {
  const requested = (id: number, endMs = 1000) =>
    ({ type: 'requested', id, peer: 'b', tunnels: 1, endMs }) as const;
  const accept = (id: number, epoch: bigint, timeoutMs: number, again = false) => [
    { type: 'accept', id, epoch, timeoutMs, again },
  ];
  const codeOf = (action: AnsweringAction | undefined) =>
    action?.type === 'fail' && action.error instanceof PspError ? action.error.code : undefined;

  it('sends an accept in the epoch that was received last', () => {
    const core = new Answering();
    expect(core.on(requested(1), 0)).toEqual(accept(1, 0n, 1000));
    core.on({ type: 'epoch', epoch: 9n }, 0);
    core.on({ type: 'epoch', epoch: 7n }, 0);
    expect(core.on(requested(2), 100)).toEqual(accept(2, 7n, 900));
    expect(core.on({ type: 'accepted', id: 1, epoch: 8n }, 100)).toEqual([{ type: 'answer', id: 1 }]);
    expect(core.on(requested(3, Number.POSITIVE_INFINITY), 100)).toEqual(accept(3, 8n, 10_000));
  });

  it('sends a stale accept once more, in the current epoch, and not a third time', () => {
    const core = new Answering();
    core.on(requested(1), 0);
    expect(core.on({ type: 'stale', id: 1, epoch: 5n }, 10)).toEqual(accept(1, 5n, 990, true));
    const [failed] = core.on({ type: 'stale', id: 1, epoch: 6n }, 20);
    expect(codeOf(failed)).toBe('STALE');
    expect(core.on(requested(2), 20)).toEqual(accept(2, 6n, 980));
  });

  it('never sends an accept again after any other failure', () => {
    const core = new Answering();
    core.on(requested(1), 0);
    const error = new PspError('SERVICE_TIMEOUT');
    expect(core.on({ type: 'failed', id: 1, error }, 300)).toEqual([{ type: 'fail', id: 1, error }]);
  });

  it('does not send a stale accept again once its caller has given up', () => {
    for (const [atMsOfStale, cancel] of [
      [1000, false],
      [10, true],
    ] as const) {
      const core = new Answering();
      core.on(requested(1), 0);
      if (cancel) core.on({ type: 'cancelled', id: 1 }, 5);
      const [failed] = core.on({ type: 'stale', id: 1, epoch: 5n }, atMsOfStale);
      expect(codeOf(failed)).toBe('OVERLOADED');
    }
  });

  it('skips all requests whose callers have given up, and answers the next', () => {
    const core = new Answering();
    for (let id = 0; id < 64; id++) core.on(requested(id), 0);
    for (let id = 64; id < 3000; id++) expect(core.on(requested(id, 500), 0)).toEqual([]);
    core.on(requested(3000), 0);
    core.on(requested(3001), 0);
    core.on({ type: 'cancelled', id: 3000 }, 1);
    const actions = core.on({ type: 'accepted', id: 3, epoch: 1n }, 500);
    expect(actions[0]).toEqual({ type: 'answer', id: 3 });
    expect(actions.slice(1, -1).map((action) => [action.id, codeOf(action)])).toEqual(
      Array.from({ length: 2937 }, (_, i) => [64 + i, 'OVERLOADED']),
    );
    expect(actions.at(-1)).toMatchObject({ type: 'accept', id: 3001 });
  });
});
