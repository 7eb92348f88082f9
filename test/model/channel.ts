// SPDX-License-Identifier: Apache-2.0
// Unreliable ways for messages: a node's bus, gRPC between nodes, and the wire. While faults last a message may be lost,
// delayed, or delivered twice, and so be overtaken by later ones.
import type { World } from './world.js';

export interface Faults {
  /** Probability that a message is lost. */
  loss: number;
  /** Probability that a message is delivered twice. */
  duplicates: number;
  /** Probability that a message is late, and by how much at most. */
  late: number;
  lateMs: number;
}

export const noFaults: Faults = { loss: 0, duplicates: 0, late: 0, lateMs: 0 };

export type Ended<T> = { answer: T } | 'timeout';

export class Channel {
  faults: Faults = noFaults;
  /** Nothing passes while it is down. */
  down = false;

  /** @param mostMs the longest time that a message needs without faults. */
  constructor(
    private readonly world: World,
    private readonly mostMs: number,
  ) {}

  /** Delivers a message, perhaps never, perhaps twice. */
  send(deliver: () => void): void {
    const { loss, duplicates } = this.faults;
    if (this.down || this.world.chance(loss)) return;
    this.#deliver(deliver);
    if (duplicates > 0 && this.world.chance(duplicates)) this.#deliver(deliver);
  }

  /**
   * Sends a request and waits for its answer.
   * @param serve receives the request, and answers once or never.
   */
  request<T>(
    serve: (answer: (value: T) => void) => void,
    timeoutMs: number,
    ended: (result: Ended<T>) => void,
  ): void {
    let open = true;
    const end = (result: Ended<T>) => {
      if (!open) return;
      open = false;
      ended(result);
    };
    this.send(() => serve((value) => this.send(() => end({ answer: value }))));
    this.world.after(timeoutMs, () => end('timeout'));
  }

  #deliver(deliver: () => void): void {
    const { late, lateMs } = this.faults;
    const extraMs = late > 0 && this.world.chance(late) ? this.world.random() * lateMs : 0;
    this.world.after(this.world.random() * this.mostMs + extraMs, () => {
      if (!this.down) deliver();
    });
  }
}
