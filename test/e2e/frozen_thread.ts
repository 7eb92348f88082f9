// SPDX-License-Identifier: Apache-2.0
// Stops one thread of a process while its others continue, as a debugger does. The main thread of a dataplane runs
// its JavaScript: without it the polling threads continue alone, and their events stay in the rings. Without the main
// lcore, commands stay in their ring, and packets that worker lcores hand off are not processed.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { ended, until } from './namespace.js';
import { linesOf } from './traffic.js';

/** The system call number of ptrace. */
const ptrace = process.arch === 'arm64' ? 117 : 101;

/** PTRACE_SEIZE, PTRACE_INTERRUPT, then __WALL. The kernel releases the thread when the tracer ends. */
const tracer = `
  my ($ptrace, $thread) = (@ARGV, 0, 0);
  syscall($ptrace, 0x4206, $thread + 0, 0, 0) == 0 or die "seize: $!";
  syscall($ptrace, 0x4207, $thread + 0, 0, 0) == 0 or die "interrupt: $!";
  waitpid($thread, 0x40000000) == $thread or die "wait: $!";
  $| = 1;
  print "held\\n";
  <STDIN>;`;

/** The thread of the main lcore, which starts those of the worker lcores. @throws Error if there is none */
export function pollingThreadOf(pid: number): number {
  const nameOf = (thread: string) => readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8').trim();
  const found = readdirSync(`/proc/${pid}/task`).filter((thread) => nameOf(thread) === 'psp polling');
  if (found.length === 0) throw new Error(`process ${pid} has no polling thread`);
  return Math.min(...found.map(Number));
}

/**
 * Stops a thread, given by its number or by the process number for the main thread, while `work` runs. @throws Error
 * if it cannot
 */
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
