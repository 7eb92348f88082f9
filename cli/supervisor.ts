// SPDX-License-Identifier: Apache-2.0
// Keeps a list of child processes running: starts them in order, restarts one that ends (after 100 ms, doubling
// to 5 s while it keeps ending), stops them in reverse order, each with a deadline and then SIGKILL. A child that
// ends with exit code 1 before it was ever ready has told why on stderr; that is final, and not restarted. Each
// child leads a session of its own, so that a Ctrl-C at the terminal reaches only us. What a child writes to stderr
// is read here line by line, however slowly our own stderr is read: no child ever waits for a reader of logs.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import type { DroppedLines, LastWords } from '../services/shared/parent.js';
import { within } from '../services/shared/within.js';
import { LineReader } from './line_reader.js';

export interface ChildSpec {
  name: string;
  command: string;
  args: readonly string[];
  /** Time from SIGTERM to SIGKILL. */
  stopMs: number;
  /** Whether it is a Node process that watches the channel to its parent (services/shared/parent.ts). */
  channel: boolean;
  /** Where its stdout goes: ours, or (as everything else that children write) into `onLine`. */
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
  /** A child wrote a line to its stderr. */
  onLine: (name: string, line: string) => void;
}

const shortestRestartMs = 100;
const longestRestartMs = 5000;
/** What a child started may hold its stderr open. */
const lastLinesMs = 200;
/** A child that lived this long has not "kept ending", and one that took this long did not fail to start. */
const steadyMs = 10_000;

class Child {
  process: ChildProcess | undefined;
  restart: NodeJS.Timeout | undefined;
  restartMs = shortestRestartMs;
  startedAt = 0;
  starts = 0;
  ready = false;
  /** Resolves once all that its last process wrote was read. */
  wasRead: Promise<unknown> = Promise.resolve();

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

  /** Lets a child with a channel count lines of its own that could not be passed on. */
  reportDropped(name: string, lines: number): void {
    const { process: running, spec } = this.#children.find((child) => child.spec.name === name) ?? {};
    if (spec?.channel && running?.connected) running.send({ logDropped: lines } satisfies DroppedLines);
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
    for (const child of [...this.#children].reverse()) {
      await stopped(child);
      await within(lastLinesMs, child.wasRead);
    }
  }

  #start(child: Child): void {
    const { command, args, channel, stdout } = child.spec;
    child.starts++;
    child.startedAt = performance.now();
    const streams = ['ignore', stdout === 'stdout' ? 1 : 'pipe', 'pipe'] as const;
    const stdio = channel ? [...streams, 'ipc' as const] : [...streams];
    const running = spawn(command, args, { detached: true, stdio });
    child.process = running;
    child.wasRead = Promise.all([running.stdout, running.stderr].map((stream) => this.#read(child, stream)));
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

  async #read({ spec }: Child, stream: Readable | null): Promise<void> {
    if (stream === null) return;
    const reader = new LineReader((line) => this.options.onLine(spec.name, line));
    stream.on('data', (octets: Buffer) => reader.take(octets));
    await once(stream, 'close').catch(() => undefined);
    reader.end();
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
