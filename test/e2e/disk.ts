// SPDX-License-Identifier: Apache-2.0
// A small disk in memory, mounted at a folder of a test, that can be filled, made read-only and lost.
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './namespace.js';

export class Disk {
  /**
   * @param bytes capacity of the disk
   */
  constructor(
    readonly folder: string,
    private readonly bytes: number,
  ) {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    this.mount();
  }

  /** Mounts it empty. */
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
        // Another process took the space first; the next round takes the rest.
      }
    }
  }

  /** Frees it. */
  clear(): void {
    for (let i = 0; i < 1000; i++) rmSync(join(this.folder, `ballast-${i}`), { force: true });
  }

  makeReadOnly(): void {
    run('mount', '-o', 'remount,ro', this.folder);
  }

  /**
   * @param pid a process of a gateway: `ip netns exec` gave it a mount namespace with its own mount flags.
   */
  makeWritable(pid: number): void {
    run('mount', '-o', 'remount,rw', this.folder);
    run('nsenter', `--mount=/proc/${pid}/ns/mnt`, 'mount', '-o', 'remount,rw', this.folder);
  }

  /**
   * As if the device were pulled out: processes keep their open files, and the folder shows what is below the mount.
   */
  unmount(): void {
    run('umount', '-l', this.folder);
  }
}
