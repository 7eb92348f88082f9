// SPDX-License-Identifier: Apache-2.0
// Keeps a list of child processes running: starts them in order, restarts one that ends (after 100 ms, doubling
// to 5 s while it keeps ending), stops them in reverse order, each with a deadline and then SIGKILL. A child that
// ends with exit code 1 before it was ever ready has told why on stderr; that is final, and not restarted. Each
// child leads a session of its own, so that a Ctrl-C at the terminal reaches only us.
import { type ChildProcess, spawn } from 'node:child_process';
import type { LastWords } from '../services/shared/parent.js';

export interface ChildSpec {
  name: string;
  command: string;
  args: readonly string[];
  /** Time from SIGTERM to SIGKILL. */
  stopMs: number;
  /** Whether it is a Node process that watches the channel to its parent (services/shared/parent.ts). */
  channel: boolean;
  /** Where its stdout goes: ours, or (as everything else that children write) our stderr. */
  stdout: 'stdout' | 'stderr';
}

/** Why a child is no longer there. */
export interface Ended {
  name: string;
  /** null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The command could not even be run. */
  error?: Error;
  /** What it told us through its channel before it ended. */
  lastWords?: LastWords;
}

export interface SupervisorOptions {
  /** A child ended by itself; it starts again after restartMs. */
  onEnded: (ended: Ended, restartMs: number) => void;
  /** A child cannot start; nothing more happens until `stop`. */
  onFailed: (ended: Ended) => void;
}

const shortestRestartMs = 100;
const longestRestartMs = 5000;
/** A child that lived this long has not "kept ending", and one that took this long did not fail to start. */
const steadyMs = 10_000;

class Child {
  process: ChildProcess | undefined;
  restart: NodeJS.Timeout | undefined;
  restartMs = shortestRestartMs;
  startedAt = 0;
  starts = 0;
  ready = false;

  constructor(readonly spec: ChildSpec) {}
}

export class Supervisor {
  readonly #children: Child[];
  #stopping: Promise<void> | undefined;
  #failed = false;

  constructor(
    specs: readonly ChildSpec[],
    private readonly options: SupervisorOptions,
  ) {
    this.#children = specs.map((spec) => new Child(spec));
  }

  start(): void {
    for (const child of this.#children) this.#start(child);
  }

  /** From now on the child has been ready once: however it ends, it is restarted. */
  ready(name: string): void {
    for (const child of this.#children) if (child.spec.name === name) child.ready = true;
  }

  /** Ids of the running children by name. */
  get pids(): Record<string, number> {
    const running = this.#children.filter(({ process }) => process?.pid !== undefined);
    return Object.fromEntries(running.map(({ spec, process }) => [spec.name, process?.pid as number]));
  }

  /** Resolves once no child is left. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    for (const child of this.#children) clearTimeout(child.restart);
    for (const child of [...this.#children].reverse()) await stopped(child);
  }

  #start(child: Child): void {
    const { command, args, channel, stdout } = child.spec;
    child.starts++;
    child.startedAt = performance.now();
    const streams = ['ignore', stdout === 'stdout' ? 1 : 2, 2] as const;
    const stdio = channel ? [...streams, 'ipc' as const] : [...streams];
    const running = spawn(command, args, { detached: true, stdio });
    child.process = running;
    let lastWords: LastWords | undefined;
    running.on('message', (words) => {
      lastWords = words as LastWords;
    });
    let over = false;
    const end = (ended: Ended) => {
      if (over) return;
      over = true;
      child.process = undefined;
      this.#ended(child, ended);
    };
    running.once('exit', (code, signal) =>
      end({ name: child.spec.name, code, signal, ...(lastWords && { lastWords }) }),
    );
    running.once('error', (error) => {
      if (running.pid === undefined) end({ name: child.spec.name, code: null, signal: null, error });
    });
  }

  #ended(child: Child, ended: Ended): void {
    if (this.#stopping !== undefined || this.#failed) return;
    const lived = performance.now() - child.startedAt;
    const neverReady = child.starts === 1 && !child.ready && lived < steadyMs;
    if (neverReady && (ended.code === 1 || ended.error !== undefined)) {
      this.#failed = true;
      this.options.onFailed(ended);
      return;
    }
    if (lived >= steadyMs) child.restartMs = shortestRestartMs;
    this.options.onEnded(ended, child.restartMs);
    child.restart = setTimeout(() => this.#start(child), child.restartMs);
    child.restartMs = Math.min(child.restartMs * 2, longestRestartMs);
  }
}

/** SIGTERM, then SIGKILL to the whole group at the deadline; resolves when the child is gone. */
function stopped({ process: running, spec }: Child): Promise<void> {
  if (running?.pid === undefined) return Promise.resolve();
  const { pid } = running;
  return new Promise((resolve) => {
    const deadline = setTimeout(() => process.kill(-pid, 'SIGKILL'), spec.stopMs);
    running.once('exit', () => {
      clearTimeout(deadline);
      resolve();
    });
    running.kill('SIGTERM');
  });
}
