// SPDX-License-Identifier: Apache-2.0
// When files that were changed are to be read again: once two looks in a row found the same state, and it is not the one that
// was read. A file that is being written, or one of several that are replaced one after another, is left alone until then.

export class FileWatch {
  #seen: string;
  #read: string;

  /** @param state of the files when they were read; equal only if none of them changed. */
  constructor(state: string) {
    this.#seen = state;
    this.#read = state;
  }

  /** To be called at each look. @returns whether the files are to be read now. */
  isDue(state: string): boolean {
    const isStable = state === this.#seen;
    this.#seen = state;
    return isStable && state !== this.#read;
  }

  /** Whether the files are in another state than when they were read, however long they have been. */
  isOther(state: string): boolean {
    return state !== this.#read;
  }

  /** The files were read in this state. */
  wasRead(state: string): void {
    this.#read = state;
  }
}
