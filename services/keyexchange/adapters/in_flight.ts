// SPDX-License-Identifier: Apache-2.0
// Limits the work in progress of each peer, so that no peer takes the capacity of another. Work beyond `atOnce` waits,
// oldest first: if a burst were started all at once on a busy machine, all of it would end after its deadline; in turns,
// as much as possible ends in time. The limit counts tunnels, because the time and the memory of a batch grow with them;
// beyond `maxTunnelsInFlight` work is refused.
import { PspError } from '../../shared/errors.js';
import { atOnce, maxTunnelsInFlight } from '../core/rules.js';

/** The work of one peer. */
interface Queue {
  running: number;
  /** Of the work that runs and the work that waits. */
  tunnels: number;
  /** Each starts work that waits. */
  waiting: (() => void)[];
}

export class InFlight {
  readonly #queues = new Map<string, Queue>();

  /**
   * Runs work for a configured peer in its turn; the work itself checks whether that is still in time.
   * @param tunnels number of tunnels of the work. @throws PspError OVERLOADED without running it, or what work throws.
   */
  async run<T>(peer: string, tunnels: number, work: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(peer) ?? { running: 0, tunnels: 0, waiting: [] };
    this.#queues.set(peer, queue);
    // A request without tunnels counts as one until it is refused.
    const weight = Math.max(1, tunnels);
    if (queue.tunnels > 0 && queue.tunnels + weight > maxTunnelsInFlight) throw new PspError('OVERLOADED');
    queue.tunnels += weight;
    if (queue.running < atOnce) queue.running++;
    else await new Promise<void>((begin) => queue.waiting.push(begin));
    try {
      return await work();
    } finally {
      queue.tunnels -= weight;
      const next = queue.waiting.shift();
      if (next) next();
      else queue.running--;
    }
  }
}
