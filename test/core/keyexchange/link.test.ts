// SPDX-License-Identifier: Apache-2.0
// How the state of a channel is converted to the reported state of a link, and how durations are counted.
import { describe, expect, it } from 'vitest';
import { Durations, upperBounds } from '../../../services/keyexchange/core/histogram.js';
import {
  type ChannelState,
  connectTimeoutMs,
  linkAfter,
  newLink,
} from '../../../services/keyexchange/core/link.js';

const at = (ms: number) => ({ monotonicMs: 7 + ms, unixMs: 1_700_000_000_000 + ms });
const linkOf = (...steps: [ChannelState, number][]) => {
  const { state, since } = steps.reduce(
    (link, [channel, ms]) => linkAfter(link, channel, at(ms)),
    newLink(at(0)),
  );
  return [state, since.monotonicMs - 7];
};

describe('a link', () => {
  it('is connecting before its first outcome, for a limited time', () => {
    expect(linkOf(['idle', 1], ['connecting', 2])).toEqual(['connecting', 0]);
    expect(linkOf(['connecting', connectTimeoutMs])).toEqual(['connecting', 0]);
    expect(linkOf(['connecting', connectTimeoutMs + 1])).toEqual(['failed', connectTimeoutMs + 1]);
  });

  it('is connected as soon as the channel is ready, with the time of that', () => {
    expect(linkOf(['connecting', 1], ['ready', 5], ['ready', 900])).toEqual(['connected', 5]);
    expect(linkOf(['failed', 1], ['connecting', 2], ['ready', 5])).toEqual(['connected', 5]);
  });

  it('stays failed since the first failure, however many attempts follow', () => {
    expect(linkOf(['failed', 3], ['connecting', 5], ['failed', 7], ['idle', 9])).toEqual(['failed', 3]);
  });

  it('has failed as soon as a connection is lost', () => {
    expect(linkOf(['ready', 1], ['idle', 4])).toEqual(['failed', 4]);
    expect(linkOf(['ready', 1], ['connecting', 4], ['failed', 6])).toEqual(['failed', 4]);
  });

  it('is the same object while nothing changes', () => {
    const link = newLink(at(0));
    expect(linkAfter(link, 'connecting', at(1))).toBe(link);
  });
});

describe('durations', () => {
  it('are counted by the lowest bound that they do not exceed, cumulatively', () => {
    const durations = new Durations('exchange');
    for (const seconds of [0.0001, 0.001, 0.0011, 4, 100]) durations.took(seconds);
    const { name, counts, sum, upperBounds: bounds } = durations.read();
    const upTo = (bound: number) => counts[bounds.indexOf(bound)];
    expect(name).toBe('exchange');
    expect([upTo(0.0005), upTo(0.001), upTo(0.002), upTo(2), upTo(5)]).toEqual([1n, 2n, 3n, 3n, 4n]);
    expect(counts.at(-1)).toBe(5n);
    expect(counts).toHaveLength(upperBounds.length + 1);
    expect(sum).toBeCloseTo(104.0022);
  });
});
