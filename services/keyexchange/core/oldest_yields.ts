// SPDX-License-Identifier: Apache-2.0
// A limited number of things for each owner, such as connections of a peer. A new one beyond the limit replaces the
// oldest one: whoever fills the limit on purpose displaces its own, and an owner that lost its connections without
// closing them is admitted at once.

export class OldestYields<T> {
  /** Things by their ids, in their order of arrival. */
  readonly #owned = new Map<string, Map<string, T>>();

  /** @param limit things of one owner; a lower one counts from the next thing on. */
  constructor(public limit: number) {}

  /** The things of an owner. */
  of(owner: string): T[] {
    return [...(this.#owned.get(owner)?.values() ?? [])];
  }

  /** @param id unique for the owner. @returns the thing that yields, if there were too many. */
  add(owner: string, id: string, thing: T): T | undefined {
    const things = this.#owned.get(owner) ?? new Map<string, T>();
    this.#owned.set(owner, things);
    things.set(id, thing);
    if (things.size <= this.limit) return undefined;
    const [oldest, yields] = things.entries().next().value as [string, T];
    things.delete(oldest);
    return yields;
  }

  remove(owner: string, id: string): void {
    const things = this.#owned.get(owner);
    things?.delete(id);
    if (things?.size === 0) this.#owned.delete(owner);
  }

  get(owner: string, id: string): T | undefined {
    return this.#owned.get(owner)?.get(id);
  }

  /** How many things the owner has. */
  count(owner: string): number {
    return this.#owned.get(owner)?.size ?? 0;
  }
}
