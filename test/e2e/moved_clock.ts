// SPDX-License-Identifier: Apache-2.0
// A clock that can be moved while a node runs: CLOCK_REALTIME as its processes read it (test/native/moved_clock).
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';

const source = fromPackageRoot('test/native/moved_clock/moved_clock.cc');

export class MovedClock {
  readonly #folder = mkdtempSync(join(tmpdir(), 'psp-clock-'));
  readonly #library = join(this.#folder, 'moved_clock.so');
  readonly #file = join(this.#folder, 'moved_ns');

  constructor() {
    execFileSync('c++', ['-std=c++20', '-O1', '-fPIC', '-shared', source, '-o', this.#library]);
    this.moveTo(0);
    // Services open both after they were started as root.
    execFileSync('chmod', ['-R', 'a+rX', this.#folder]);
  }

  /** For the processes whose clock it is. @param preload libraries to load besides. */
  environment(preload: string): readonly string[] {
    return [`LD_PRELOAD=${preload}:${this.#library}`, `PSP_MOVED_CLOCK=${this.#file}`];
  }

  /** Sets the clock to so many milliseconds after the right time. */
  moveTo(ms: number): void {
    const octets = Buffer.alloc(8);
    octets.writeBigInt64LE(BigInt(ms) * 1_000_000n);
    // In place: the processes have mapped this file.
    const file = openSync(this.#file, 'a+');
    closeSync(file);
    const place = openSync(this.#file, 'r+');
    writeSync(place, octets, 0, octets.length, 0);
    closeSync(place);
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
