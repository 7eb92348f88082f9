// SPDX-License-Identifier: Apache-2.0
// A timer queue: a binary heap of keys by time; keys with equal times leave in the order in which they were added. An
// entry is never cancelled. Instead its owner compares the time of an entry that is due with the time that it stored,
// and ignores the entry when they differ.

interface Entry<Key> {
  atMs: number;
  order: number;
  key: Key;
}

const before = <Key>(a: Entry<Key>, b: Entry<Key>) =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

export class TimerQueue<Key> {
  readonly #heap: Entry<Key>[] = [];
  #added = 0;

  get size(): number {
    return this.#heap.length;
  }

  add(key: Key, atMs: number): void {
    const heap = this.#heap;
    const entry = { atMs, order: this.#added++, key };
    let hole = heap.length;
    heap.push(entry);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const above = heap[parent] as Entry<Key>;
      if (!before(entry, above)) break;
      heap[hole] = above;
      hole = parent;
    }
    heap[hole] = entry;
  }

  clear(): void {
    this.#heap.length = 0;
  }

  /** Removes the earliest entry that is due at nowMs. @returns the entry, or undefined. */
  next(nowMs: number): { key: Key; atMs: number } | undefined {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined || first.atMs > nowMs) return undefined;
    const last = heap.pop() as Entry<Key>;
    if (heap.length > 0) this.#sink(last);
    return first;
  }

  /** Replaces the first entry and restores the order of the heap. */
  #sink(entry: Entry<Key>): void {
    const heap = this.#heap;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry<Key>, heap[child] as Entry<Key>))
        child++;
      if (!before(heap[child] as Entry<Key>, entry)) break;
      heap[hole] = heap[child] as Entry<Key>;
      hole = child;
    }
    heap[hole] = entry;
  }
}
