// SPDX-License-Identifier: Apache-2.0
// How tunnels recover when a gateway restarts: who is greeted and when, what a greeting means, and the schedules of lost
// and late messages that leave a gateway without a valid key unless greetings name unknown SPIs.
import { describe, expect, it } from 'vitest';
import { reversed } from '../../../services/dataplane/core/facts.js';
import { guessesAtOnce, spisPerGreeting } from '../../../services/dataplane/core/greetings.js';
import type { PeerNetworks } from '../../../services/dataplane/core/peer_addresses.js';
import { addressKeyOf, type FlowKey, parseAddress, parsePrefix } from '../../../services/shared/address.js';
import { Desk, flow, keyOf, peerAddress, theirs } from './desk.js';

const f = flow(1);
const underlay = [parsePrefix('192.0.2.0/24')];
const onLink: PeerNetworks = { underlay, hosts: [] };
const at = (address: string): string => addressKeyOf(parseAddress(address));

/** A gateway with this many peers in one underlay, which have answered its greeting unless `silent`. */
function gateway(peers: number, options: { silent?: boolean; random?: () => number } = {}): Desk {
  const { silent = false, random = () => 0 } = options;
  const desk = new Desk({ peers: Array.from({ length: peers }, () => onLink), random });
  if (silent) return desk;
  for (let peer = 0; peer < peers; peer++) {
    desk.on({ type: 'greetingAnswered', peer, epoch: theirs + BigInt(peer) });
  }
  desk.pass(1000);
  desk.greetings.length = 0;
  return desk;
}

/** Installs a key of the peer with this SPI. */
function key(desk: Desk, of: FlowKey, spi: number, { peer = 0, number = 1n, epoch = theirs } = {}): void {
  const keys = [{ ...keyOf(number, epoch), spi }];
  const request = desk.request({ type: 'acceptReceived', peer, flows: [of], keys });
  expect(desk.outcomesOf(request)).toEqual(['installed']);
}

const unknown = (desk: Desk, source: string, ...spis: number[]) =>
  desk.on({ type: 'unknownSpis', packets: spis.map((spi) => ({ source, spi })) });
const renewals = (desk: Desk) => desk.published.filter(({ reason }) => reason === 'renew');

describe('a gateway that starts', () => {
  it('greets every peer at once, and each second until the peer answers', () => {
    const desk = gateway(3, { silent: true });
    const start = desk.now;
    desk.on({ type: 'tick' });
    expect(desk.greetings.map(({ peer, spis }) => [peer, spis])).toEqual([0, 1, 2].map((peer) => [peer, []]));
    desk.on({ type: 'greetingAnswered', peer: 0, epoch: 5n });
    desk.pass(500);
    desk.on({ type: 'greetingAnswered', peer: 2, epoch: 6n });
    desk.pass(2500);
    const later = desk.greetings.slice(3).map(({ peer, atMs }) => [peer, atMs - start]);
    expect(later).toEqual([1, 2, 3].map((seconds) => [1, 1000 * seconds]));
    expect([0, 1, 2].map((peer) => desk.arbiter.greetingOf(peer))).toEqual([
      'answered',
      'unanswered',
      'answered',
    ]);
    expect([0, 1, 2].map((peer) => desk.arbiter.epochOf(peer))).toEqual([5n, undefined, 6n]);
  });

  it('waits for the bus, and greets the peers that have not answered as soon as it is connected', () => {
    const desk = gateway(2, { silent: true });
    desk.on({ type: 'tick' });
    desk.on({ type: 'greetingAnswered', peer: 0, epoch: 5n });
    desk.on({ type: 'bus', connected: false });
    desk.pass(60_000);
    expect(desk.greetings).toHaveLength(2);
    desk.on({ type: 'bus', connected: true });
    expect(desk.greetings.slice(2)).toEqual([{ peer: 1, spis: [], atMs: desk.now }]);
  });

  it('greets a peer no more whose application does not know greetings, until that peer uses an epoch', () => {
    const desk = gateway(1, { silent: true });
    desk.on({ type: 'tick' });
    desk.on({ type: 'greetingAnswered', peer: 0, epoch: undefined });
    key(desk, f, 7, { number: 1n });
    desk.greetings.length = 0;
    const reference = gateway(1, { silent: true });
    reference.on({ type: 'tick' });
    reference.on({ type: 'greetingAnswered', peer: 0, epoch: undefined });
    reference.outcomesOf(reference.acceptReceived([f], [keyOf(undefined)]));
    unknown(reference, peerAddress, 1, 2, 3);
    reference.pass(10_000);
    expect(reference.greetings).toHaveLength(1);
    expect(reference.arbiter.greetingOf(0)).toBe('unsupported');
    desk.pass(1000);
    expect(desk.greetings.map(({ peer }) => peer)).toEqual([0]);
  });
});

describe('packets under unknown SPIs', () => {
  it('cause one greeting a second of the peer whose address they have, with at most 64 of the SPIs', () => {
    const desk = gateway(3);
    key(desk, f, 7, { peer: 1 });
    const start = desk.now;
    for (let i = 0; i < 29; i++) {
      unknown(desk, peerAddress, ...Array.from({ length: 100 }, (_, j) => 1000 * i + j));
      desk.pass(100);
    }
    expect(desk.greetings.map(({ peer, spis, atMs }) => [peer, spis.length, atMs - start])).toEqual([
      [1, spisPerGreeting, 0],
      [1, spisPerGreeting, 1000],
      [1, spisPerGreeting, 2000],
    ]);
    expect(new Set(desk.greetings.flatMap(({ spis }) => spis)).size).toBe(3 * spisPerGreeting);
  });

  it('cause nothing else, however many there are', () => {
    const desk = gateway(2);
    key(desk, f, 7);
    const before = desk.arbiter.gauges();
    for (let i = 0; i < 99; i++) {
      unknown(desk, peerAddress, ...Array.from({ length: 64 }, (_, j) => 64 * i + j));
      unknown(desk, at(`203.0.113.${i}`), 7);
      desk.pass(100);
    }
    expect(desk.arbiter.gauges()).toEqual(before);
    expect([desk.published, desk.withdrawn, desk.refused]).toEqual([[], [], []]);
    expect(desk.greetings).toHaveLength(10);
    expect(desk.arbiter.counters).toMatchObject({ greetingsSent: 12, unknownSpisReported: 640 });
  });

  it('cause no greeting while the bus is away, and none afterwards for packets that arrived meanwhile', () => {
    const desk = gateway(1);
    key(desk, f, 7);
    desk.on({ type: 'bus', connected: false });
    unknown(desk, peerAddress, 9);
    desk.on({ type: 'bus', connected: true });
    desk.pass(5000);
    expect(desk.greetings).toEqual([]);
  });

  it('from an address in the underlay cause greetings of the peers whose own address is not known', () => {
    const desk = gateway(3);
    key(desk, f, 7, { peer: 1 });
    unknown(desk, at('192.0.2.9'), 5);
    expect(desk.greetings.map(({ peer, spis }) => [peer, spis])).toEqual([
      [0, [5]],
      [2, [5]],
    ]);
    unknown(desk, at('198.51.100.9'), 6);
    unknown(desk, at('2001:db8::9'), 6);
    desk.pass(2000);
    expect(desk.greetings).toHaveLength(2);
  });

  it('from such an address cause greetings of at most 16 peers a second, chosen at random', () => {
    let seed = 1;
    const random = () => {
      seed = (Math.imul(seed, 48_271) >>> 0) % 0x7fff_ffff;
      return seed / 0x7fff_ffff;
    };
    const desk = gateway(100, { random });
    const greeted = new Set<number>();
    for (let second = 0; second < 20; second++) {
      desk.greetings.length = 0;
      for (let i = 0; i < 10; i++) {
        unknown(desk, at(`192.0.2.${i}`), i);
        desk.pass(100);
      }
      expect(desk.greetings.length).toBeLessThanOrEqual(guessesAtOnce);
      for (const { peer } of desk.greetings) greeted.add(peer);
    }
    expect(greeted.size).toBeGreaterThan(80);
  });

  it('of a transport peer have the address of its host', () => {
    const hosts = [parsePrefix('10.2.0.0/16')];
    const desk = new Desk({ peers: [onLink, { underlay, hosts }] });
    for (const peer of [0, 1]) desk.on({ type: 'greetingAnswered', peer, epoch: 5n });
    desk.pass(1000);
    desk.greetings.length = 0;
    unknown(desk, at('10.2.3.4'), 8);
    desk.pass(1000);
    expect(desk.greetings).toMatchObject([{ peer: 1, spis: [8] }]);
  });

  it('of a peer that moved to another address are those from its new address', () => {
    const desk = gateway(2);
    key(desk, f, 7);
    const keys = [{ ...keyOf(2n), spi: 8, address: at('192.0.2.77') }];
    desk.acceptReceived([f], keys);
    unknown(desk, at('192.0.2.77'), 3);
    desk.pass(1000);
    expect(desk.greetings).toMatchObject([{ peer: 0, spis: [3] }]);
  });
});

describe('a new epoch of a peer', () => {
  /** A gateway with so many keyed flows of peer 0, and one of peer 1. */
  const keyed = (flows: number) => {
    const desk = gateway(2);
    for (let i = 0; i < flows; i++) key(desk, flow(i), 100 + i, { number: BigInt(i + 1) });
    key(desk, flow(5000), 7, { peer: 1, epoch: theirs + 1n });
    desk.audited.length = 0;
    return desk;
  };

  const arrivals: Record<string, (desk: Desk) => void> = {
    'its greeting': (desk) => desk.on({ type: 'greeted', peer: 0, epoch: 900n, spis: [] }),
    'its answer to a greeting': (desk) => desk.on({ type: 'greetingAnswered', peer: 0, epoch: 900n }),
    'its request': (desk) => key(desk, flow(900), 50, { epoch: 900n }),
    'its answer to an exchange': (desk) => {
      desk.miss(flow(900));
      desk.install(desk.last, 1n, 900n);
    },
  };

  it.each(Object.keys(arrivals))(
    'in %s renews all flows with it in batches, and keeps their keys in use',
    (name) => {
      const desk = keyed(200);
      arrivals[name]?.(desk);
      const asked = renewals(desk);
      expect(asked.every(({ peer }) => peer === 0)).toBe(true);
      expect(asked.length).toBeLessThan(5);
      expect(new Set(asked.flatMap(({ flows }) => flows))).toEqual(
        new Set(Array.from({ length: 200 }, (_, i) => flow(i))),
      );
      expect(desk.refused).toEqual([]);
      expect(desk.audited).toContainEqual({ type: 'peerRestarted', peer: 0, epoch: 900n, flows: 200 });
      expect(desk.arbiter.counters).toMatchObject({ peerRestarts: 1, renewed: 200 });
      for (const want of asked) desk.install(want, 1n, 900n);
      desk.pass(60_000);
      expect(desk.arbiter.gauges().wants).toBe(0);
      expect(renewals(desk)).toHaveLength(asked.length);
    },
  );

  it('that was seen before renews nothing', () => {
    const desk = keyed(3);
    for (let i = 0; i < 5; i++) {
      desk.on({ type: 'greeted', peer: 0, epoch: theirs, spis: [] });
      desk.pass(1000);
    }
    expect(desk.published).toEqual([]);
    expect(desk.audited).toEqual([]);
  });

  it('renews no flow that has a key of it already', () => {
    const desk = keyed(3);
    key(desk, flow(1), 50, { epoch: 900n });
    expect(renewals(desk).flatMap(({ flows }) => flows)).toEqual([flow(0), flow(2)]);
  });

  it('is not seen in an answer that is late, which may be of an earlier start', () => {
    const desk = keyed(1);
    desk.miss(flow(900));
    const late = desk.last;
    desk.pass(1000);
    expect(desk.install(late, 1n, 900n)).toEqual(['notInFlight']);
    expect(renewals(desk)).toEqual([]);
  });

  it('renews flows at once although earlier attempts to renew them had no answer and were backed off', () => {
    const desk = keyed(1);
    desk.on({ type: 'greeted', peer: 0, epoch: 900n, spis: [] });
    desk.pass(300_000);
    expect(desk.now - desk.last.atMs).toBeGreaterThan(1000);
    desk.on({ type: 'greeted', peer: 0, epoch: 901n, spis: [] });
    expect(desk.last).toMatchObject({ reason: 'renew', flows: [flow(0)], atMs: desk.now });
  });

  it('makes attempts anew at once that were in flight to its earlier start, whose answers come too late', () => {
    const desk = keyed(1);
    desk.miss(flow(900));
    const before = desk.last;
    desk.pass(300);
    desk.on({ type: 'greeted', peer: 0, epoch: 900n, spis: [] });
    const again = desk.published.filter(({ flows }) => flows.includes(flow(900))).at(-1);
    expect(again).toMatchObject({ reason: 'miss', atMs: desk.now });
    expect(desk.install(before, 1n, theirs)).toEqual(['notInFlight']);
    expect(desk.install(again ?? before, 1n, 900n)).toContain('installed');
  });

  it('lets as many flows be in flight as at first, although earlier attempts without an answer made them fewer', () => {
    const flows = Array.from({ length: 500 }, (_, i) => flow(i));
    const inFlight = (restarts: boolean) => {
      const desk = new Desk({ peers: [onLink], holdMs: 60_000 });
      desk.miss(...flows);
      desk.pass(8000);
      desk.published.length = 0;
      if (restarts) desk.on({ type: 'greeted', peer: 0, epoch: 900n, spis: [] });
      desk.pass(1000);
      return desk.published.reduce((sum, want) => sum + want.flows.length, 0);
    };
    expect(inFlight(false)).toBeLessThan(200);
    expect(inFlight(true)).toBeGreaterThan(250);
  });

  it('lets a configured flow begin an exchange at once that was backed off', () => {
    const desk = new Desk({ peers: [onLink], configured: [{ flow: f, peer: 0 }] });
    desk.pass(100_000);
    desk.pass(2000);
    desk.published.length = 0;
    desk.on({ type: 'greeted', peer: 0, epoch: 900n, spis: [] });
    expect(desk.published).toMatchObject([{ reason: 'configured', flows: [f] }]);
  });

  it('is renewed for at most once a second, and less often while epochs keep changing', () => {
    const desk = keyed(10);
    for (let i = 0; i < 600; i++) {
      desk.on({ type: 'greeted', peer: 0, epoch: 900n + BigInt(i % 2), spis: [] });
      for (const want of desk.published.splice(0)) desk.install(want, BigInt(i + 1), 900n + BigInt(i % 2));
      desk.pass(100);
    }
    expect(desk.arbiter.counters.peerRestarts).toBeGreaterThan(3);
    expect(desk.arbiter.counters.peerRestarts).toBeLessThan(10);
  });
});

describe('SPIs that a peer names in its greeting', () => {
  it('renew the flows whose current key towards that peer is among them, and no others', () => {
    const desk = gateway(2);
    for (let i = 0; i < 4; i++) key(desk, flow(i), 100 + i, { number: BigInt(i + 1) });
    key(desk, flow(9), 109, { peer: 1, epoch: theirs + 1n });
    key(desk, flow(0), 150, { number: 9n });
    // 100 was replaced, 109 is of another peer, 999 of nobody.
    desk.on({ type: 'greeted', peer: 0, epoch: theirs, spis: [999, 100, 109, 102, 150] });
    expect(renewals(desk).map(({ peer, flows }) => [peer, flows])).toEqual([[0, [flow(2), flow(0)]]]);
    expect(desk.arbiter.counters).toMatchObject({ unknownSpisRenewed: 2, peerRestarts: 0 });
  });

  it('are considered up to 64 in a greeting and twice a second at most', () => {
    const desk = gateway(1);
    for (let i = 0; i < 100; i++) key(desk, flow(i), 100 + i, { number: BigInt(i + 1) });
    const spis = Array.from({ length: 100 }, (_, i) => 100 + i);
    desk.on({ type: 'greeted', peer: 0, epoch: theirs, spis });
    expect(desk.arbiter.counters.unknownSpisRenewed).toBe(64);
    for (let i = 0; i < 10; i++) {
      desk.now += 10;
      desk.on({ type: 'greeted', peer: 0, epoch: theirs, spis: spis.slice(64) });
    }
    expect(desk.arbiter.counters.unknownSpisRenewed).toBe(64);
    desk.pass(500);
    desk.on({ type: 'greeted', peer: 0, epoch: theirs, spis: spis.slice(64) });
    expect(desk.arbiter.counters.unknownSpisRenewed).toBe(100);
  });
});

/** Passes messages between two gateways, each the peer 0 of the other, in the order that a test chooses. */
class Pair {
  readonly a = gateway(1);
  readonly b = gateway(1);
  #number = 0n;

  /** B receives what A published last. @returns B's answer, with the SPI that B offers. */
  answer(want = this.a.last): { spi: number; deliver: () => string | undefined } {
    const [of] = want.flows as [FlowKey];
    const number = ++this.#number;
    const keys = [{ ...keyOf(number, 1n), spi: want.spis[0] as number }];
    this.b.request({ type: 'acceptReceived', peer: 0, flows: [reversed(of)], keys });
    const spi = this.b.arbiter.offersOf(of).at(-1)?.spi as number;
    const offered = [{ ...keyOf(number, theirs), spi }];
    const { exchange, peer, flows } = want;
    const install = { type: 'installReceived', exchange, peer, flows, keys: offered } as const;
    return { spi, deliver: () => this.a.outcomesOf(this.a.request(install))[0] };
  }

  /** The SPIs of B that are valid for packets of A. */
  valid(): number[] {
    return this.b.arbiter.offersOf(f).map(({ spi }) => spi);
  }

  /** B offers so many SPIs in answers that A never receives that this one is not valid any more. */
  retires(spi: number): void {
    for (let i = 0; i < 8; i++) this.b.accept(reversed(f), 100n + BigInt(i), 1n);
    expect(this.valid()).not.toContain(spi);
  }

  /** Packets of A under this SPI reach B, which does not know it, and B's greeting reaches A. */
  sealsUnder(spi: number): void {
    unknown(this.b, peerAddress, spi);
    const { spis } = this.b.greetings.at(-1) as { spis: readonly number[] };
    this.a.on({ type: 'greeted', peer: 0, epoch: theirs, spis });
  }
}

describe('a gateway that seals under an SPI that its peer has retired', () => {
  // A late request of an earlier epoch, then a late answer whose offer the peer has retired: the epochs agree.
  it('has a new key after the next greeting, although it knows the current epoch of its peer', () => {
    const pair = new Pair();
    pair.a.miss(f);
    pair.answer().deliver();
    key(pair.a, f, 77, { epoch: 1n });
    pair.a.rotate();
    const late = pair.answer();
    pair.retires(late.spi);
    expect(late.deliver()).toBe('installed');
    expect(pair.a.arbiter.epochOf(0)).toBe(theirs);
    pair.a.pass(60_000);
    const before = pair.a.published.length;
    pair.sealsUnder(late.spi);
    expect(pair.a.published.slice(before)).toMatchObject([{ reason: 'renew', flows: [f] }]);
    expect(pair.answer().deliver()).toBe('installed');
    expect(pair.a.arbiter.gauges().wants).toBe(0);
  });

  // At most 8 SPIs of a flow are valid, so a ninth offer whose answer is lost ends the one in use.
  it('has a new key after the next greeting, when eight offers of its peer were lost', () => {
    const pair = new Pair();
    pair.a.miss(f);
    const used = pair.answer();
    used.deliver();
    pair.retires(used.spi);
    pair.a.pass(60_000);
    expect(pair.a.published).toHaveLength(1);
    pair.sealsUnder(used.spi);
    const renewal = pair.answer();
    expect(renewal.deliver()).toBe('installed');
    expect(pair.valid()).toContain(renewal.spi);
  });
});

// Epochs that were replaced are not remembered: a message of an earlier epoch, late or not, is answered.
it('a key of an epoch that was replaced before is accepted, and does not block a rotation', () => {
  const desk = gateway(1);
  key(desk, f, 7, { epoch: 1n });
  key(desk, f, 8, { epoch: 2n });
  key(desk, f, 9, { epoch: 1n });
  desk.pass(1000);
  for (const want of renewals(desk)) desk.install(want, 5n, 1n);
  expect(desk.rotate()).toBeUndefined();
  desk.install(desk.last, 6n, 1n);
  desk.pass(500);
  expect(desk.rotate()).toBeUndefined();
});
