// SPDX-License-Identifier: Apache-2.0
// Splits the output of a process into lines. A line that exceeds its limit is cut, so that a process that never ends
// a line uses no unbounded memory.

const longestLine = 64 * 1024;
const lineFeed = 0x0a;

export class LineReader {
  #rest: Buffer = Buffer.alloc(0);

  /** @param onLine called with each line, without its line feed; empty ones are left out. */
  constructor(private readonly onLine: (line: string) => void) {}

  take(octets: Buffer): void {
    this.#rest = this.#rest.length === 0 ? octets : Buffer.concat([this.#rest, octets]);
    for (let end = this.#rest.indexOf(lineFeed); end >= 0; end = this.#rest.indexOf(lineFeed))
      this.#cut(end, 1);
    while (this.#rest.length >= longestLine) this.#cut(longestLine, 0);
  }

  /** Ends the input. */
  end(): void {
    this.#cut(this.#rest.length, 0);
  }

  #cut(length: number, feed: number): void {
    const line = this.#rest.toString('utf8', 0, length).trimEnd();
    this.#rest = this.#rest.subarray(length + feed);
    if (line !== '') this.onLine(line);
  }
}
