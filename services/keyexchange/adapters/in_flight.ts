// SPDX-License-Identifier: Apache-2.0
// Bounds how much of one peer's work is in flight, so that no peer takes the room of another. Work beyond
// `atOnce` waits its turn, oldest first: a burst that is begun all at once on a busy machine ends all at once,
// after every deadline; in turns, what can be done in time is done. What counts is tunnels, because the work
// and the memory of a batch grow with them; beyond `maxTunnelsInFlight` work is refused.
import { PspError } from '../../shared/errors.js';
import { atOnce, maxTunnelsInFlight } from '../core/rules.js';

interface Lane {
  running: number;
  /** Of what runs and what waits. */
  tunnels: number;
  /** Each begins the work that waits. */
  waiting: (() => void)[];
}

export class InFlight {
  readonly #lanes = new Map<string, Lane>();

  /**
   * Runs work for a configured peer when its turn comes; work checks whether that is still in time.
   * @param tunnels how many the work is for. @throws PspError OVERLOADED without running it, or what work throws.
   */
  async run<T>(peer: string, tunnels: number, work: () => Promise<T>): Promise<T> {
    const lane = this.#lanes.get(peer) ?? { running: 0, tunnels: 0, waiting: [] };
    this.#lanes.set(peer, lane);
    // A request without tunnels is work too, until it is refused.
    const weight = Math.max(1, tunnels);
    if (lane.tunnels > 0 && lane.tunnels + weight > maxTunnelsInFlight) throw new PspError('OVERLOADED');
    lane.tunnels += weight;
    if (lane.running < atOnce) lane.running++;
    else await new Promise<void>((begin) => lane.waiting.push(begin));
    try {
      return await work();
    } finally {
      lane.tunnels -= weight;
      const next = lane.waiting.shift();
      if (next) next();
      else lane.running--;
    }
  }
}
