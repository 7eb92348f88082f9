// SPDX-License-Identifier: Apache-2.0
// One network namespace of a test: created, used to run commands in, and deleted with everything that still runs
// inside it. Names have a prefix of the test's own, so that nothing else is ever affected.
import { type ChildProcess, execFile, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a command outside all namespaces. @throws Error with its stderr if it fails. */
export function run(command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (cause) {
    const stderr = (cause as { stderr?: string }).stderr?.trim();
    throw new Error(`${command} ${args.join(' ')}: ${stderr || (cause as Error).message}`, { cause });
  }
}

export class Namespace {
  constructor(readonly name: string) {
    run('ip', 'netns', 'add', name);
    this.ip('link', 'set', 'lo', 'up');
  }

  /** `ip -n NAME ...` */
  ip(...args: string[]): string {
    return run('ip', '-n', this.name, ...args);
  }

  /** Runs a command in the namespace to its end. @throws Error if it fails. */
  run(command: string, ...args: string[]): string {
    return run('ip', 'netns', 'exec', this.name, command, ...args);
  }

  /** Runs a command in the namespace to its end without blocking; its exit status is part of the result. */
  async try(command: string, args: string[], timeoutMs = 60_000): Promise<Result> {
    try {
      const { stdout, stderr } = await execute('ip', ['netns', 'exec', this.name, command, ...args], {
        encoding: 'utf8',
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: 256 << 20,
      });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
      return { code: typeof code === 'number' ? code : -1, stdout: stdout ?? '', stderr: stderr ?? '' };
    }
  }

  /**
   * Starts a command in the namespace. It leads its own process group: a Ctrl-C at the terminal does not reach it.
   */
  spawn(command: string, args: string[], stdio: StdioOptions = ['ignore', 'pipe', 'pipe']): ChildProcess {
    return spawn('ip', ['netns', 'exec', this.name, command, ...args], { stdio, detached: true });
  }

  /** Processes that run in the namespace. */
  processes(): number[] {
    return run('ip', 'netns', 'pids', this.name).split('\n').filter(Boolean).map(Number);
  }

  /** Ends all processes in the namespace, then deletes it together with its interfaces. */
  async delete(): Promise<void> {
    for (let attempt = 0; attempt < 50; attempt++) {
      const left = this.processes();
      if (left.length === 0) break;
      for (const pid of left) signal(pid, 'SIGKILL');
      await sleep(20);
    }
    run('ip', 'netns', 'delete', this.name);
  }
}

/** Sends a signal; it is no error if the process is gone. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Stops a process while `work` runs. */
export async function stopped(pid: number, work: () => Promise<void>): Promise<void> {
  signal(pid, 'SIGSTOP');
  try {
    await work();
  } finally {
    signal(pid, 'SIGCONT');
  }
}

/** Resolves once the child has ended. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => child.once('exit', () => resolve()));
}

/**
 * Repeats `probe` every `everyMs` until it returns a value. The timeout is longer than anything takes on a slow and
 * busy machine.
 * @throws Error that names the condition.
 */
export async function until<T>(
  what: string | (() => string),
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 60_000,
  everyMs = 50,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value as T;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain until ${typeof what === 'string' ? what : what()}`);
    }
    await sleep(everyMs);
  }
}
