// SPDX-License-Identifier: Apache-2.0
// IdentityLimits the work in progress of each peer, so that no peer takes the capacity of another. Work beyond `atOnce` waits,
// oldest first: if a burst were started all at once on a busy machine, all of it would end after its deadline; in turns,
// as much as possible ends in time. The limit counts tunnels, because the time and the memory of a batch grow with them;
// beyond `maxTunnelsInFlight` work is refused.
import { atOnce, maxTunnelsInFlight } from './rules.js';

/** The work of one peer. */
interface Queue {
  running: number;
  /** Of the work that runs and the work that waits. */
  tunnels: number;
  /** Work that waits, oldest first. */
  waiting: number[];
}

export class InFlight {
  readonly #queues = new Map<string, Queue>();

  /**
   * Work of a configured peer wants to begin.
   * @param work identifies it. @param tunnels number of its tunnels.
   * @returns whether it begins now, waits for `leave`, or is refused because too much is in progress.
   */
  enter(peer: string, tunnels: number, work: number): 'begins' | 'waits' | 'refused' {
    const queue = this.#queues.get(peer) ?? { running: 0, tunnels: 0, waiting: [] };
    this.#queues.set(peer, queue);
    const weight = weightOf(tunnels);
    if (queue.tunnels > 0 && queue.tunnels + weight > maxTunnelsInFlight) return 'refused';
    queue.tunnels += weight;
    if (queue.running >= atOnce) {
      queue.waiting.push(work);
      return 'waits';
    }
    queue.running++;
    return 'begins';
  }

  /** Work that began has ended. @returns the work that begins in its place, if any waits. */
  leave(peer: string, tunnels: number): number | undefined {
    const queue = this.#queues.get(peer);
    if (queue === undefined) throw new Error(`peer ${peer} has no work in progress`);
    queue.tunnels -= weightOf(tunnels);
    const next = queue.waiting.shift();
    if (next === undefined && --queue.running === 0) this.#queues.delete(peer);
    return next;
  }
}

/** A request without tunnels counts as one until it is refused. */
const weightOf = (tunnels: number): number => Math.max(1, tunnels);
