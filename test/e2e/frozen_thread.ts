// SPDX-License-Identifier: Apache-2.0
// Holds one thread of a process while its others go on, as a debugger does. The main thread of a dataplane is its
// JavaScript: without it the polling thread goes on alone, and what it has to tell stays in its rings.
import { spawn } from 'node:child_process';
import { ended, until } from './namespace.js';
import { linesOf } from './traffic.js';

/** The number of ptrace among the system calls. */
const ptrace = process.arch === 'arm64' ? 117 : 101;

/** PTRACE_SEIZE, PTRACE_INTERRUPT, then __WALL; the kernel lets the thread go when the tracer ends. */
const tracer = `
  my ($ptrace, $thread) = (@ARGV, 0, 0);
  syscall($ptrace, 0x4206, $thread + 0, 0, 0) == 0 or die "seize: $!";
  syscall($ptrace, 0x4207, $thread + 0, 0, 0) == 0 or die "interrupt: $!";
  waitpid($thread, 0x40000000) == $thread or die "wait: $!";
  $| = 1;
  print "held\\n";
  <STDIN>;`;

/** Holds the main thread of a process while `work` is done. @throws Error when it cannot be held */
export async function withMainThreadHeld<T>(pid: number, work: () => Promise<T>): Promise<T> {
  const child = spawn('perl', ['-e', tracer, `${ptrace}`, `${pid}`], { stdio: ['pipe', 'pipe', 'pipe'] });
  const lines = linesOf(child);
  try {
    const [line] = await until('the thread is held', () => lines.length > 0 && lines);
    if (line !== 'held') throw new Error(`the main thread of ${pid} is not held: ${lines.join(' ')}`);
    return await work();
  } finally {
    child.stdin.end();
    await ended(child);
  }
}
