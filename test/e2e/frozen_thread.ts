// SPDX-License-Identifier: Apache-2.0
// Holds one thread of a process while its others go on, as a debugger does. The main thread of a dataplane is its
// JavaScript: without it the polling threads go on alone, and what they have to tell stays in their rings. Without the
// first polling thread commands stay in theirs, and no packet goes on that another one would leave to it.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
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

/** The thread of the first lcore, which starts those of the others. @throws Error when there is none */
export function pollingThreadOf(pid: number): number {
  const nameOf = (thread: string) => readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8').trim();
  const found = readdirSync(`/proc/${pid}/task`).filter((thread) => nameOf(thread) === 'psp polling');
  if (found.length === 0) throw new Error(`process ${pid} has no polling thread`);
  return Math.min(...found.map(Number));
}

/** Holds a thread, by its number or that of its process for the main one, while `work` is done. @throws Error when it cannot */
export async function withThreadHeld<T>(thread: number, work: () => Promise<T>): Promise<T> {
  const args = ['-e', tracer, `${ptrace}`, `${thread}`];
  const child = spawn('perl', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const lines = linesOf(child);
  try {
    const [line] = await until('the thread is held', () => lines.length > 0 && lines);
    if (line !== 'held') throw new Error(`thread ${thread} is not held: ${lines.join(' ')}`);
    return await work();
  } finally {
    child.stdin.end();
    await ended(child);
  }
}
