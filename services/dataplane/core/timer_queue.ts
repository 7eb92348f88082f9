// SPDX-License-Identifier: Apache-2.0
// What is due when: a binary heap of keys by time, equal times in the order in which they came. An entry is
// never taken out early; its owner compares the time with its own when the entry comes up, and skips it when
// they differ.

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

  /** Takes the earliest entry that is due by nowMs. */
  next(nowMs: number): { key: Key; atMs: number } | undefined {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined || first.atMs > nowMs) return undefined;
    const last = heap.pop() as Entry<Key>;
    if (heap.length > 0) this.#sink(last);
    return first;
  }

  /** Puts an entry in place of the first and lets it sink. */
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
