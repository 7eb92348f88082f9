// SPDX-License-Identifier: Apache-2.0
// The limits of what each identity may do: token buckets for requests and tunnels, pauses of a client whose peer limits it,
// and connections of which the oldest yields.
import { describe, expect, it } from 'vitest';
import { OldestYields } from '../../../services/keyexchange/core/oldest_yields.js';
import { errorOf, isOrderly, isRefusal, retryMsOf } from '../../../services/keyexchange/core/outcome.js';
import { longestPauseMs, Pauses } from '../../../services/keyexchange/core/pauses.js';
import { burstSeconds, RequestLimits } from '../../../services/keyexchange/core/request_limits.js';
import { Requesting } from '../../../services/keyexchange/core/requesting.js';
import { PspError } from '../../../services/shared/errors.js';
import { maxTunnelsPerRequest } from '../../../services/shared/limits.js';
import { TokenBucket } from '../../../services/shared/rate/token_bucket.js';
import { defaultLimits } from './default_limits.js';

/** Milliseconds after which a refused request would be admitted; undefined for one that is. */
function refusedFor(limits: RequestLimits, peer: string | undefined, tunnels: number, nowMs: number) {
  try {
    limits.admit(peer, tunnels, nowMs);
    return undefined;
  } catch (error) {
    if (error instanceof PspError && error.code === 'RATE_LIMITED') return Number(error.data.ms);
    throw error;
  }
}

describe('a token bucket', () => {
  it('gives as many tokens as it holds, then at its rate, and says how long to wait', () => {
    const bucket = new TokenBucket(0, { size: 10, refillMs: 100 });
    expect(bucket.take(0, 10)).toBe(true);
    expect(bucket.take(0)).toBe(false);
    expect(bucket.waitMs(0, 3)).toBe(300);
    expect(bucket.take(299, 3)).toBe(false);
    expect(bucket.take(300, 3)).toBe(true);
    expect(bucket.waitMs(1_000_000, 10)).toBe(0);
    expect(bucket.take(1_000_000, 11)).toBe(true);
    expect(bucket.waitMs(1_000_000, 11)).toBe(1000);
  });

  it('is full at most, also when the clock it is given steps back', () => {
    const bucket = new TokenBucket(1000, { size: 2, refillMs: 10 });
    expect([bucket.take(500), bucket.take(500), bucket.take(500)]).toEqual([true, true, false]);
    expect(bucket.take(510)).toBe(true);
  });

  it('keeps its word for rates whose time for a token is no binary fraction', () => {
    for (const perSecond of [3, 7, 2000, 20_000, 30_011]) {
      const bucket = new TokenBucket(0, { size: perSecond * 10, refillMs: 1000 / perSecond });
      let nowMs = 0;
      for (let i = 0; i < 1000; i++) {
        const count = 1 + ((i * 7919) % (perSecond * 10));
        nowMs += bucket.waitMs(nowMs, count);
        expect(bucket.take(nowMs, count)).toBe(true);
      }
    }
  });
});

describe('the limits of a peer', () => {
  it('admit 100 000 tunnels at once in batches of 1024, as a peer requests them after a restart', () => {
    const limits = new RequestLimits(defaultLimits);
    for (let left = 100_000; left > 0; left -= maxTunnelsPerRequest) {
      expect(refusedFor(limits, 'b', Math.min(left, maxTunnelsPerRequest), 5)).toBeUndefined();
    }
  });

  it('admit 4096 open wants, each requested alone and again in every second, for five seconds', () => {
    // The window of a dataplane has at most 3072 flows in flight, and those that wait join one request.
    const limits = new RequestLimits(defaultLimits);
    for (let second = 0; second < 5; second++) {
      for (let i = 0; i < 4096; i++)
        expect(refusedFor(limits, 'b', 1, second * 1000 + i * 0.2)).toBeUndefined();
    }
  });

  it('admit a rotation of 10 000 tunnels once a second for five minutes', () => {
    const limits = new RequestLimits(defaultLimits);
    for (let second = 0; second < 300; second++) {
      for (let i = 0; i < 10; i++) expect(refusedFor(limits, 'b', 1000, second * 1000 + i)).toBeUndefined();
    }
  });

  it('refuse what exceeds a rate for longer than its bucket lasts, and say when it would be admitted', () => {
    const limits = new RequestLimits({ ...defaultLimits, requestsPerSecond: 10, tunnelsPerSecond: 200 });
    for (let i = 0; i < 10 * burstSeconds; i++) expect(refusedFor(limits, 'b', 1, 0)).toBeUndefined();
    expect(refusedFor(limits, 'b', 1, 0)).toBe(100);
    expect(refusedFor(limits, 'b', 1, 99)).toBe(1);
    expect(refusedFor(limits, 'b', 1, 100)).toBeUndefined();
    expect(refusedFor(limits, 'c', 2000, 100)).toBeUndefined();
    expect(refusedFor(limits, 'c', 1000, 100)).toBe(5000);
    expect(refusedFor(limits, 'c', 1, 100)).toBe(5);
  });

  it('take nothing for a refused request, and count each peer separately', () => {
    const limits = new RequestLimits({ ...defaultLimits, requestsPerSecond: 1, tunnelsPerSecond: 200 });
    expect(refusedFor(limits, 'b', 2000, 0)).toBeUndefined();
    for (let i = 0; i < 100; i++) expect(refusedFor(limits, 'b', 100, 0)).toBe(500);
    expect(refusedFor(limits, 'b', 100, 500)).toBeUndefined();
    expect(refusedFor(limits, 'c', 2000, 0)).toBeUndefined();
  });

  it('are shared by all clients that are no peer', () => {
    const limits = new RequestLimits({ ...defaultLimits, requestsPerSecond: 1 });
    for (let i = 0; i < burstSeconds; i++) expect(refusedFor(limits, undefined, 0, 0)).toBeUndefined();
    expect(refusedFor(limits, undefined, 0, 0)).toBe(1000);
  });

  it('let a peer of 262 144 tunnels in one message pay for a full bucket', () => {
    const limits = new RequestLimits({ ...defaultLimits, tunnelsPerSecond: 200 });
    expect(refusedFor(limits, 'b', 262_144, 0)).toBeUndefined();
    expect(refusedFor(limits, 'b', 1, 0)).toBe(5);
  });
});

describe('a peer that limits the rate of our requests', () => {
  it('is one that answers RESOURCE_EXHAUSTED with a time, which is neither a refusal nor an unknown outcome', () => {
    const { code, data } = errorOf('RESOURCE_EXHAUSTED', 'x', 'b', 700, retryMsOf('250'));
    expect({ code, ms: data.ms }).toEqual({ code: 'PEER_LIMITS_RATE', ms: 250 });
    expect([isRefusal('PEER_LIMITS_RATE'), isOrderly('PEER_LIMITS_RATE')]).toEqual([false, true]);
    expect(errorOf('RESOURCE_EXHAUSTED', 'x', 'b', 700, retryMsOf(undefined)).code).toBe('PEER_REFUSED');
    expect(errorOf('PERMISSION_DENIED', 'x', 'b', 700, retryMsOf('250')).code).toBe('PEER_REFUSED');
    expect(errorOf('UNAVAILABLE', 'x', 'b', 700, retryMsOf('250')).code).toBe('PEER_DOWN');
  });

  it.each(['', '-1', '1.5', '99999999999', 'soon', '0x10', ' 5'])(
    'says no time with the trailer "%s"',
    (text) => {
      expect(retryMsOf(text)).toBeUndefined();
    },
  );

  it('pauses us for a bounded time, whatever it says, and no other peer', () => {
    const pauses = new Pauses();
    pauses.pause('b', 999_999_999, 1000);
    expect(pauses.isPaused('b', 1000 + longestPauseMs - 1)).toBe(true);
    expect(pauses.isPaused('b', 1000 + longestPauseMs)).toBe(false);
    expect(pauses.isPaused('c', 1000)).toBe(false);
  });

  it('receives no want until then: they are dropped without a word to the dataplane, also those that wait', () => {
    const core = new Requesting({ exchangeMs: 1000, callMs: 700 });
    const atMs = (ms: number): bigint => BigInt(ms) * 1_000_000n;
    const want = (id: number, ms: number, peer = 'b') =>
      core.on(
        { type: 'wanted', id, peer, tunnels: 1, timed: { publishedNs: atMs(ms), timeoutMs: undefined } },
        atMs(ms),
      );
    for (let id = 0; id < 64; id++) expect(want(id, 0)).toMatchObject([{ type: 'call', id }]);
    expect(want(64, 0)).toEqual([]);
    const limited = core.on({ type: 'failed', id: 0, code: 'PEER_LIMITS_RATE', retryMs: 300 }, atMs(10));
    expect(limited).toEqual([
      { type: 'end', id: 0, why: 'deferred' },
      { type: 'end', id: 64, why: 'deferred' },
    ]);
    expect(want(65, 309)).toEqual([{ type: 'end', id: 65, why: 'deferred' }]);
    expect(want(66, 309, 'c')).toMatchObject([{ type: 'call' }]);
    expect(want(67, 310)).toMatchObject([{ type: 'call', id: 67 }]);
  });
});

describe('connections', () => {
  it('beyond the limit of their owner replace its oldest one', () => {
    const owned = new OldestYields<string>(2);
    expect([owned.add('b', '1', 'one'), owned.add('b', '2', 'two'), owned.add('c', '1', 'other')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(owned.add('b', '3', 'three')).toBe('one');
    owned.remove('b', '1');
    owned.remove('b', '2');
    expect([owned.count('b'), owned.count('c'), owned.get('b', '3')]).toEqual([1, 1, 'three']);
    expect(owned.add('b', '4', 'four')).toBeUndefined();
    for (const id of ['3', '4']) owned.remove('b', id);
    expect(owned.count('b')).toBe(0);
  });
});
