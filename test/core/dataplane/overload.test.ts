// SPDX-License-Identifier: Apache-2.0
// Overload: exchanges make progress although the machine or the peer is too slow for all of them. The test simulates
// our keyexchange and the peer on a clock of its own. Each processes one message after another. Reading a message costs
// time even when it is too late; a message that is too late is then dropped, by the rules of the real keyexchange.
import { describe, expect, it } from 'vitest';
import type { FlowWanted } from '../../../proto/gen/bus.js';
import { TimerQueue } from '../../../services/dataplane/core/timer_queue.js';
import { callTimeoutMs, isFresh } from '../../../services/keyexchange/core/peer_request.js';
import type { Rules } from '../../../services/keyexchange/core/rules.js';
import type { FlowKey } from '../../../services/shared/address.js';
import { Desk, flow, type Published, theirs } from './desk.js';

const rules = { exchangeMs: 1000, callMs: 700 } as Rules;

/** Milliseconds that one message costs its receiver. */
interface Costs {
  read: (flows: number) => number;
  work: (flows: number) => number;
  /** The network's delay, both ways together. */
  wayMs: number;
}

class Simulation {
  readonly desk = new Desk();
  /** What happens next, by time. */
  readonly #due = new TimerQueue<() => void>();
  readonly #free = { keyExchange: 0, peer: 0 };
  #number = 1n;
  costs: Costs;

  constructor(costs: Costs) {
    this.costs = costs;
    this.#tick();
  }

  run(forMs: number): void {
    const { desk } = this;
    const end = desk.now + forMs;
    for (;;) {
      this.#send();
      const next = this.#due.next(end);
      if (next === undefined) break;
      desk.now = Math.max(desk.now, next.atMs);
      next.key();
    }
    desk.now = end;
  }

  #tick(): void {
    this.desk.on({ type: 'tick' });
    this.#due.add(() => this.#tick(), this.desk.now + 100);
  }

  /** Runs `then` once this receiver has processed all that arrived before, and this message for costMs. */
  #process(at: 'keyExchange' | 'peer', costMs: number, then: () => void): void {
    this.#free[at] = Math.max(this.#free[at], this.desk.now) + Math.ceil(costMs);
    this.#due.add(then, this.#free[at]);
  }

  #send(): void {
    for (const published of this.desk.published.splice(0)) this.#exchange(published);
  }

  #exchange(published: Published): void {
    const { flows, timeoutMs } = published;
    const want = { publishedNs: BigInt(this.desk.now) * 1_000_000n, timeoutMs } as FlowWanted;
    const nowNs = () => BigInt(this.desk.now) * 1_000_000n;
    const { read, work, wayMs } = this.costs;
    this.#process('keyExchange', read(flows.length), () => {
      if (!isFresh(want, rules, nowNs())) return;
      this.#process('keyExchange', work(flows.length), () => {
        if (!isFresh(want, rules, nowNs())) return;
        const deadlineMs = this.desk.now + callTimeoutMs(want, rules, nowNs());
        this.#process('peer', read(flows.length), () => {
          if (this.desk.now > deadlineMs) return;
          this.#process('peer', work(flows.length), () => {
            this.#due.add(() => {
              if (this.desk.now > deadlineMs) return;
              this.#process('keyExchange', work(flows.length), () => this.#install(published));
            }, this.desk.now + wayMs);
          });
        });
      });
    });
  }

  #install(published: Published): void {
    this.desk.install(published, ++this.#number, theirs);
  }
}

const count = 20_000;
const keyed = (desk: Desk, flows: Iterable<FlowKey>) => {
  for (const each of flows) desk.accept(each, 1n);
};
const all = Array.from({ length: count }, (_, i) => flow(i));

describe('20 000 re-offers on a machine that needs 40 s for them', () => {
  const slow: Costs = { read: (n) => 2 + n / 10, work: (n) => 8 + n / 2, wayMs: 20 };

  it('are answered within 120 s, with few repeated', () => {
    const simulation = new Simulation(slow);
    const { desk } = simulation;
    keyed(desk, all);
    desk.rotate();
    let tookMs = 0;
    for (; tookMs < 120_000 && desk.arbiter.gauges().unansweredFlows > 0; tookMs += 1000)
      simulation.run(1000);
    expect(desk.arbiter.gauges().unansweredFlows).toBe(0);
    expect(desk.arbiter.counters.reoffered).toBeLessThan(1.2 * count);
  });

  it('make progress in every 5 s', () => {
    const simulation = new Simulation(slow);
    const { desk } = simulation;
    keyed(desk, all);
    desk.rotate();
    for (let left = count; left > 0; ) {
      simulation.run(5000);
      const { unansweredFlows } = desk.arbiter.gauges();
      expect(unansweredFlows).toBeLessThan(left);
      left = unansweredFlows;
    }
  });

  it('let a flow that misses meanwhile have its key before it is given up', () => {
    const simulation = new Simulation(slow);
    const { desk } = simulation;
    keyed(desk, all);
    desk.rotate();
    simulation.run(10_000);
    expect(desk.arbiter.gauges().unansweredFlows).toBeGreaterThan(count / 3);
    desk.miss(flow(count + 1));
    simulation.run(2900);
    expect(desk.arbiter.gauges().keyedFlows).toBe(count + 1);
  });
});

describe('4096 flows that miss one after another', () => {
  it('share exchanges while they wait, and all get keys', () => {
    const simulation = new Simulation({ read: (n) => 2 + n / 50, work: (n) => 10 + n / 50, wayMs: 5 });
    const { desk } = simulation;
    for (let i = 0; i < 4096; i++) {
      desk.miss(flow(i));
      if (i % 10 === 0) simulation.run(1);
    }
    simulation.run(3000);
    expect(desk.arbiter.gauges().keyedFlows).toBe(4096);
    expect(desk.arbiter.counters.unanswered).toBe(0);
  });
});

describe('a peer that suddenly becomes slow', () => {
  const quick: Costs = { read: () => 0, work: () => 0, wayMs: 10 };

  it.each([900, 1500, 2000])('so that an answer takes %i ms, answers all flows nevertheless', (wayMs) => {
    const simulation = new Simulation(quick);
    const { desk } = simulation;
    const flows = all.slice(0, 500);
    desk.miss(...flows);
    simulation.run(1000);
    expect(desk.arbiter.gauges().keyedFlows).toBe(500);
    simulation.costs = { ...quick, wayMs };
    desk.rotate();
    simulation.run(60_000);
    expect(desk.arbiter.gauges().unansweredFlows).toBe(0);
  });

  it('receives exchanges at the previous pace once it is fast again', () => {
    const simulation = new Simulation({ ...quick, wayMs: 1500 });
    const { desk } = simulation;
    keyed(desk, all);
    desk.rotate();
    simulation.run(5000);
    simulation.costs = quick;
    simulation.run(20_000);
    expect(desk.arbiter.gauges().unansweredFlows).toBe(0);
  });
});

describe('an unreachable peer', () => {
  it('receives exchanges each second, for few flows at a time, and for all flows once it is back', () => {
    const desk = new Desk({ configured: all.slice(0, 2000).map((flow) => ({ flow, peer: 0 })) });
    desk.published.length = 0;
    desk.pass(30_000);
    for (let second = 0; second < 10; second++) {
      desk.published.length = 0;
      desk.pass(1000);
      const flows = desk.published.reduce((sum, { flows }) => sum + flows.length, 0);
      expect(flows).toBeGreaterThan(0);
      expect(flows).toBeLessThanOrEqual(128);
    }
    for (const start = desk.now; desk.arbiter.gauges().keyedFlows < 2000; ) {
      expect(desk.now - start).toBeLessThan(32_000);
      for (const want of desk.published.splice(0)) desk.install(want, 1n);
      desk.pass(100);
    }
  });

  it('takes no space from the window of another', () => {
    const desk = new Desk();
    desk.on({ type: 'missed', misses: all.slice(0, 4000).map((flow) => ({ flow, peer: 0 })) });
    desk.pass(500);
    desk.published.length = 0;
    desk.on({ type: 'missed', misses: [{ flow: flow(5000), peer: 1 }] });
    expect(desk.published.map(({ peer, flows }) => [peer, flows])).toEqual([[1, [flow(5000)]]]);
  });
});

describe('timers', () => {
  it('fire by time with the next fact, although it is no tick', () => {
    const desk = new Desk();
    desk.miss(flow(1));
    desk.now += 3000;
    desk.miss(flow(2));
    expect(desk.arbiter.counters.unanswered).toBe(1);
    expect(desk.arbiter.gauges().wants).toBe(1);
  });

  it('give up a miss and let its exchange continue, whose answer serves the next packet', () => {
    const desk = new Desk();
    // An exchange takes 400 ms, and its timeout is 1200 ms.
    desk.miss(flow(2));
    desk.now += 400;
    desk.install(desk.last, 1n);
    const start = desk.now;
    desk.published.length = 0;
    desk.miss(flow(1));
    desk.pass(3100);
    expect(desk.published.map(({ atMs }) => atMs - start)).toEqual([0, 1200, 2400]);
    expect(desk.arbiter.counters.unanswered).toBe(1);
    expect(desk.arbiter.gauges().wants).toBe(1);
    expect(desk.install(desk.last, 1n)).toEqual(['installed']);
    expect(desk.arbiter.gauges().wants).toBe(0);
    desk.miss(flow(3));
    desk.pass(5000);
    expect(desk.arbiter.gauges().wants).toBe(0);
  });

  it('begin no exchange for a packet that will be given up before the answer can arrive', () => {
    const desk = new Desk();
    desk.miss(flow(1));
    desk.now += 1000;
    desk.install(desk.last, 1n);
    // These flows fill the window.
    desk.miss(...all.slice(1000, 1320));
    const first = desk.published.slice(1);
    desk.pass(300);
    desk.miss(flow(2), flow(3));
    desk.pass(2300);
    expect(desk.published).toHaveLength(1 + first.length);
    for (const want of first) desk.install(want, 1n);
    expect(desk.published).toHaveLength(1 + first.length);
    desk.pass(1000);
    expect(desk.arbiter.counters.unanswered).toBe(2);
    expect(desk.arbiter.gauges().wants).toBe(0);
  });
});
