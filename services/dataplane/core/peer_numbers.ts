// SPDX-License-Identifier: Apache-2.0
// The numbers of peers. A peer keeps its number for as long as it is configured, because flows and their keys refer to it. A
// number becomes free when its peer is removed, and is given to another peer only after everything that may still refer to
// the former one has ended. A peer that is replaced, because its tunnels cannot go on, gets another number.

/** How long after its peer was removed a number is not used. */
export const restMs = 120_000;

/** What a reload does to the numbers. */
export interface Numbering {
  /** The number of every peer that is configured now. */
  numbers: ReadonlyMap<string, number>;
  added: ReadonlySet<number>;
  removed: ReadonlySet<number>;
}

export class PeerNumbers {
  #numbers: ReadonlyMap<string, number>;
  /** When the peer of a free number was removed. */
  readonly #free = new Map<number, number>();
  #used: number;

  /** @param names in the order of their numbers. @param most numbers in all. */
  constructor(
    names: readonly string[],
    private readonly most: number,
  ) {
    this.#numbers = new Map(names.map((name, number) => [name, number]));
    this.#used = names.length;
  }

  /** The number of a peer that is configured. */
  of(name: string): number | undefined {
    return this.#numbers.get(name);
  }

  /**
   * The numbers after a reload; nothing changes before `take`.
   * @param names all peers. @param replaced those whose tunnels cannot go on.
   * @returns undefined if there are not enough numbers.
   */
  plan(names: Iterable<string>, replaced: ReadonlySet<string>, nowMs: number): Numbering | undefined {
    const numbers = new Map<string, number>();
    const added = new Set<number>();
    const rested = [...this.#free].filter(([, freedMs]) => nowMs - freedMs >= restMs).map(([n]) => n);
    let next = this.#used;
    for (const name of names) {
      const known = replaced.has(name) ? undefined : this.#numbers.get(name);
      const number = known ?? rested.shift() ?? next++;
      numbers.set(name, number);
      if (known === undefined) added.add(number);
    }
    if (next > this.most) return undefined;
    const kept = new Set(numbers.values());
    return { numbers, added, removed: new Set([...this.#numbers.values()].filter((n) => !kept.has(n))) };
  }

  /** Uses the numbers of a plan, the last one that was made. */
  take({ numbers, added, removed }: Numbering, nowMs: number): void {
    this.#numbers = numbers;
    for (const number of added) {
      this.#free.delete(number);
      this.#used = Math.max(this.#used, number + 1);
    }
    for (const number of removed) this.#free.set(number, nowMs);
  }
}
