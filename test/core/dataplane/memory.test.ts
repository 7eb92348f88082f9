// SPDX-License-Identifier: Apache-2.0
// A scan by a host leaves nothing in the memory of the dataplane, once every flow that missed was given up, refused or
// answered with an error. The heap is measured after a full garbage collection.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { Arbiter } from '../../../services/dataplane/core/arbiter.js';
import type { Action, Fact } from '../../../services/dataplane/core/facts.js';
import { longestHoldDownMs } from '../../../services/dataplane/core/hold_down.js';
import { flow } from './desk.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const heap = (): number => {
  collect();
  return process.memoryUsage().heapUsed;
};

type End = 'refused' | 'offerFailed';

class Scanned {
  readonly #arbiter = new Arbiter({
    epoch: 77n,
    holdMs: 3000,
    exchangeMs: 1000,
    drainMs: 500,
    rotateGraceMs: 3_600_000,
    rotateEveryMs: undefined,
    maxTunnels: new Map(),
    maxInbound: 100_000,
    configured: [],
    peers: [],
    random: Math.random,
  });
  #now = 1_000_000;
  #spi = 0;
  offered = 0;

  constructor(private readonly end: End) {
    this.#on({ type: 'bus', connected: true });
  }

  /** So many flows miss, 256 at a time; each ends, and time passes until its hold-down may be forgotten. */
  scan(first: number, count: number): void {
    for (let at = first; at < first + count; at += 256) {
      const misses = Array.from({ length: 256 }, (_, i) => ({ flow: flow(at + i), peer: 0 }));
      this.#on({ type: 'missed', misses });
      this.#pass(100);
    }
    this.#pass(2 * longestHoldDownMs);
  }

  #pass(ms: number): void {
    for (const end = this.#now + ms; this.#now < end; this.#now += 100) this.#on({ type: 'tick' });
  }

  #on(fact: Fact): void {
    this.#perform(this.#arbiter.on(fact, this.#now));
  }

  #perform(actions: readonly Action[]): void {
    for (const action of actions) {
      if (action.type !== 'offer') continue;
      const { exchange, peer, flows } = action;
      this.offered += flows.length;
      if (this.end === 'offerFailed') {
        this.#on({ type: 'offerFailed', exchange, code: 'ENGINE_BUSY' });
        continue;
      }
      const spis = flows.map(() => ++this.#spi);
      this.#on({ type: 'offered', exchange, generation: 1, spis, spisLeft: 1 });
      this.#on({ type: 'refuseReceived', exchange, peer, flows, code: 'PEER_REFUSED' });
    }
  }
}

const addresses = 32_768;

it.each<{ end: End }>([{ end: 'refused' }, { end: 'offerFailed' }])(
  'keeps nothing in memory of 32 768 flows that missed, once the end of each was: $end',
  ({ end }) => {
    const dataplane = new Scanned(end);
    dataplane.scan(0, addresses);
    const before = heap();
    dataplane.scan(addresses, addresses);
    expect(dataplane.offered).toBeGreaterThanOrEqual(2 * addresses);
    // Less than 16 octets for each flow; one entry of a Map takes more.
    expect(heap() - before).toBeLessThan(16 * addresses);
  },
);
