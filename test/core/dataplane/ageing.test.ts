// SPDX-License-Identifier: Apache-2.0
// After how long without a packet keys and SPIs end, and what is forgotten and audited when they do.
import { describe, expect, it } from 'vitest';
import { reversed } from '../../../services/dataplane/core/facts.js';
import { keptForEver, keptMsOf } from '../../../services/shared/limits.js';
import { type ActionOf, Desk, flow, keyOf } from './desk.js';

const [f, g] = [flow(1), flow(2)];
const idleMs = 60_000;

/** How the keys age that a peer offers with this promise. */
function ageingOf(keptMs: number | undefined, options = {}, flows = [f]) {
  const desk = new Desk({ idleMs, ...options });
  desk.hold = ['install'];
  const keys = flows.map((_, row) => keyOf(1n, undefined, row));
  desk.request({ type: 'acceptReceived', peer: 0, flows, keys, keptMs });
  return (desk.taken('install') as ActionOf<'install'>).ageing;
}

/** A tunnel whose peer makes this promise; a packet of it was received. */
function tunnel(kept: number | 'unsaid' = 2 * idleMs, options = {}) {
  const keptMs = kept === 'unsaid' ? undefined : kept;
  const desk = new Desk({ idleMs, ...options });
  if (desk.published.length === 0) desk.miss(f);
  const { exchange, flows, peer, spis } = desk.last;
  const keys = flows.map((_, row) => keyOf(1n, undefined, row));
  desk.request({ type: 'installReceived', exchange, peer, flows, keys, keptMs });
  desk.seen(f, spis[0] as number);
  desk.audited.length = 0;
  return { desk, spi: 0x100, ours: spis[0] as number };
}

const agedEgress = (desk: Desk, spi: number) =>
  desk.on({ type: 'aged', flow: f, spi, peer: 0, egress: true });
const agedIngress = (desk: Desk, spi: number) =>
  desk.on({ type: 'aged', flow: reversed(f), spi, peer: 0, egress: false });

describe('an egress key', () => {
  it.each([
    ['after our own idle timeout', 600_000, {}, idleMs],
    ['after half of what its peer promised, if that is less', 40_000, {}, 20_000],
    ['after a second at least', 10, {}, 1000],
    ['after our own idle timeout, if its peer keeps SPIs for ever', keptForEver, {}, idleMs],
    ['after our own idle timeout, if its peer promises nothing', undefined, {}, idleMs],
    [
      'after half of what its peer promised, if we have no idle timeout',
      40_000,
      { idleMs: undefined },
      20_000,
    ],
    ['never, if neither of us has an idle timeout', keptForEver, { idleMs: undefined }, 0],
    ['never, if each new one costs the peer a tunnel', undefined, { maxTunnels: new Map([[0, 9]]) }, 0],
  ])('ends %s', (_, keptMs, options, expected) => {
    expect(ageingOf(keptMs, options).idleMs).toEqual([expected]);
  });

  it('of a flow of the node file never ends, while others of the same message do', () => {
    const configured = [{ flow: g, peer: 0 }];
    expect(ageingOf(2 * idleMs, { configured }, [f, g]).idleMs).toEqual([idleMs, 0]);
  });
});

describe('a receive SPI', () => {
  it('ends only if its peer makes promises, too, because only such a peer stops using it in time', () => {
    expect([ageingOf(keptForEver).keepsTime, ageingOf(600_000).keepsTime]).toEqual([true, true]);
    expect(ageingOf(undefined).keepsTime).toBe(false);
  });

  it('is kept for twice the idle timeout', () => {
    expect([keptMsOf(600_000), keptMsOf('off')]).toEqual([1_200_000, keptForEver]);
  });
});

describe('an egress flow that ended', () => {
  it('is audited and forgotten, and its next packet requests a new tunnel', () => {
    const { desk, spi } = tunnel();
    agedEgress(desk, spi);
    expect(desk.audited).toEqual([{ type: 'tunnelDown', flow: f, peer: 0, why: 'idle' }]);
    expect(desk.arbiter.gauges()).toMatchObject({ keyedFlows: 0, inboundFlows: 1 });
    desk.miss(f);
    expect(desk.published).toHaveLength(2);
    expect(desk.install(desk.last, 2n)).toEqual(['installed']);
    expect(desk.audited.at(-1)).toMatchObject({ type: 'tunnelUp' });
  });

  it('keeps a newer key that was decided on meanwhile, because the engine installs it afterwards', () => {
    const { desk, spi } = tunnel();
    desk.hold = ['install'];
    const keys = [{ ...keyOf(2n), spi: 0x200 }];
    const request = desk.request({ type: 'acceptReceived', peer: 0, flows: [f], keys, keptMs: 2 * idleMs });
    desk.taken('install');
    agedEgress(desk, spi);
    expect(desk.audited.map(({ type }) => type)).toEqual(['tunnelDown']);
    desk.on({ type: 'installed', request, results: [desk.installResult] });
    expect(desk.audited.map(({ type }) => type)).toEqual(['tunnelDown', 'tunnelUp']);
    expect(desk.arbiter.gauges().keyedFlows).toBe(1);
  });

  it('is not renewed any more', () => {
    const { desk, spi } = tunnel();
    desk.on({ type: 'worn', flow: f, peer: 0, stopped: false });
    agedEgress(desk, spi);
    const { length } = desk.published;
    desk.pass(60_000);
    expect(desk.published).toHaveLength(length);
    expect(desk.arbiter.gauges().wants).toBe(0);
  });

  it('that was removed before changes nothing', () => {
    const { desk, spi } = tunnel();
    desk.remove({});
    desk.audited.length = 0;
    agedEgress(desk, spi);
    expect(desk.audited).toEqual([]);
  });
});

describe('a receive SPI that ended', () => {
  it('is forgotten with its flow, for which no rotation waits any more', () => {
    const { desk, ours } = tunnel();
    desk.rotate();
    desk.pass(1000);
    expect(desk.rotate()).toEqual({ unanswered: 1, drainLeftMs: 0 });
    const [, offered] = desk.arbiter.offersOf(reversed(f));
    agedIngress(desk, ours);
    expect(desk.arbiter.gauges().inboundFlows).toBe(1);
    agedIngress(desk, offered?.spi as number);
    for (const { spi } of desk.arbiter.offersOf(reversed(f))) agedIngress(desk, spi);
    expect(desk.arbiter.gauges()).toMatchObject({ inboundFlows: 0, unansweredFlows: 0 });
    expect(desk.rotate()).toBeUndefined();
    expect(desk.audited.filter(({ type }) => type === 'tunnelDown')).toEqual([]);
  });

  it('is the last one of its flow also if older ones retired before', () => {
    const { desk } = tunnel();
    desk.accept(f, 2n);
    const [, newest] = desk.arbiter.offersOf(reversed(f));
    desk.seen(f, newest?.spi as number);
    agedIngress(desk, newest?.spi as number);
    expect(desk.arbiter.gauges().inboundFlows).toBe(0);
  });
});

describe('a flow of the node file', () => {
  const configured = [{ flow: f, peer: 0 }];

  it('gets a new key before its peer may end the SPI of the old one, for ever', () => {
    const { desk } = tunnel(40_000, { configured });
    for (let i = 0n; i < 3n; i++) {
      const { length } = desk.published;
      const installedMs = desk.now;
      desk.pass(19_000);
      expect(desk.published).toHaveLength(length);
      while (desk.published.length === length && desk.now < 2_000_000) desk.pass(100);
      expect(desk.now - installedMs).toBeLessThan(21_500);
      expect(desk.last.reason).toBe('renew');
      const { exchange, flows, peer } = desk.last;
      const keys = [keyOf(2n + i)];
      desk.request({ type: 'installReceived', exchange, peer, flows, keys, keptMs: 40_000 });
    }
    expect(desk.audited).toEqual([]);
  });

  it('keeps its key if its peer promises nothing, or for ever', () => {
    for (const keptMs of ['unsaid', keptForEver] as const) {
      const { desk } = tunnel(keptMs, { configured });
      desk.pass(1_000_000);
      expect(desk.published).toHaveLength(1);
    }
  });
});
