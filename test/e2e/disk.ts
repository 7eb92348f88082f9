// SPDX-License-Identifier: Apache-2.0
// A small disk at a folder of a test, in memory, that can be filled, made read-only and lost.
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './namespace.js';

export class Disk {
  /** @param bytes all that it holds. */
  constructor(
    readonly folder: string,
    private readonly bytes: number,
  ) {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    this.mount();
  }

  /** Mounts it, empty. */
  mount(): void {
    run('mount', '-t', 'tmpfs', '-o', `size=${this.bytes},mode=755`, 'tmpfs', this.folder);
  }

  /** Takes all the space that is left. */
  fill(): void {
    for (let i = 0; ; i++) {
      const { bavail, bsize } = statfsSync(this.folder);
      if (bavail === 0) return;
      try {
        writeFileSync(join(this.folder, `ballast-${i}`), Buffer.alloc(bavail * bsize));
      } catch {
        // Somebody was faster; the rest in the next round.
      }
    }
  }

  /** Gives it back. */
  clear(): void {
    for (let i = 0; i < 1000; i++) rmSync(join(this.folder, `ballast-${i}`), { force: true });
  }

  makeReadOnly(): void {
    run('mount', '-o', 'remount,ro', this.folder);
  }

  /** @param pid a process of a gateway: `ip netns exec` gave it a mount namespace of its own, with flags of its own. */
  makeWritable(pid: number): void {
    run('mount', '-o', 'remount,rw', this.folder);
    run('nsenter', `--mount=/proc/${pid}/ns/mnt`, 'mount', '-o', 'remount,rw', this.folder);
  }

  /** As when the device is pulled out: open files stay with whoever has them, the folder shows what lies below. */
  unmount(): void {
    run('umount', '-l', this.folder);
  }
}
