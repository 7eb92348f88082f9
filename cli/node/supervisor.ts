// SPDX-License-Identifier: Apache-2.0
// Keeps a list of child processes running: starts them in order, restarts one that ends (after 100 ms, doubling up to
// 5 s while it keeps ending), stops them in reverse order, each with a deadline and then SIGKILL. A child that
// answers no probes is ended and restarted like one that died. A child that ends with exit code 1 before it was ever
// ready has reported the reason on stderr; that is final, and it is not restarted. Each child leads its own session,
// so that a Ctrl-C at the terminal reaches only this process. The stderr of a child is read here line by line,
// however slowly our own stderr is read: no child ever waits for a reader of logs.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import type { DroppedLines, StartFailure } from '../../services/shared/process/parent.js';
import { within } from '../../services/shared/process/within.js';
import { LineReader } from '../line_reader.js';

export interface ChildSpec {
  name: string;
  command: string;
  args: readonly string[];
  /** Time from SIGTERM to SIGKILL. */
  stopMs: number;
  /** Consecutive probes without an answer after which it is ended. */
  silentProbes: number;
  /** How long after its start it may be out of reach. */
  firstAnswerMs: number;
  /** It is restarted even if it never started: the node runs without it meanwhile. */
  isOptional?: true;
  /** Open files that it inherits as descriptors 3 and up. */
  descriptors?: readonly number[];
  /** Whether it is a Node process that watches the channel to its parent (services/shared/process/parent.ts). */
  channel: boolean;
  /** Receives its standard output: ours, or `onLine` line by line, as all other output of children. */
  stdout: 'stdout' | 'stderr';
}

/** The reason why a child ended. */
export interface Ended {
  name: string;
  /** null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The command could not be run. */
  error?: Error;
  /** The message that it sent through its channel before it ended. */
  startFailure?: StartFailure;
}

/** The result of a probe of a child: an answer, no answer although it was reached, or no process to probe. */
export type Probed = 'answered' | 'silent' | 'away';

export interface SupervisorOptions {
  /** A child ended by itself; it is started again after restartMs. */
  onEnded: (ended: Ended, restartMs: number) => void;
  /** A child answers no probes; it is ended now. */
  onSilent: (name: string) => void;
  /** A child cannot start; nothing more happens until `stop`. */
  onFailed: (ended: Ended) => void;
  /** A child wrote a line to its stderr. */
  onLine: (name: string, line: string) => void;
}

const shortestRestartMs = 100;
const longestRestartMs = 5000;
/** A process started by a child may keep its stderr open. */
const lastLinesMs = 200;
/** A child that lived this long does not "keep ending", and one that took this long did not fail to start. */
const steadyMs = 10_000;
/** A process that hangs in the kernel does not end even by SIGKILL; it is not waited for any longer. */
const unkillableMs = 2000;

class Child {
  process: ChildProcess | undefined;
  restart: NodeJS.Timeout | undefined;
  restartMs = shortestRestartMs;
  startedAt = 0;
  /** Time of its last answer to a probe since this start. */
  answeredAt: number | undefined;
  /** Consecutive probes without an answer. */
  misses = 0;
  ending = false;
  starts = 0;
  ready = false;
  /** Resolves once the whole output of its last process was read. */
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

  /**
   * Processes the result of a probe of a child. The first answer makes the child ready: however it ends from now on,
   * it is restarted. Counts probes, not time: after a machine was suspended, no child is considered silent. A child
   * that cannot be reached may still be starting.
   */
  probed(name: string, found: Probed): void {
    const child = this.#children.find(({ spec }) => spec.name === name);
    if (child?.process === undefined || child.ending) return;
    const now = performance.now();
    if (found === 'answered') {
      child.ready = true;
      child.answeredAt = now;
      child.misses = 0;
      return;
    }
    const mayStart = child.answeredAt === undefined && now - child.startedAt < child.spec.firstAnswerMs;
    if (found === 'away' && mayStart) return;
    if (++child.misses < child.spec.silentProbes || this.#stopping !== undefined || this.#failed) return;
    this.options.onSilent(name);
    this.restart(name);
  }

  /** Ends a child, so that it is started again. */
  restart(name: string): void {
    const child = this.#children.find(({ spec }) => spec.name === name);
    if (child?.process === undefined || child.ending || this.#stopping !== undefined || this.#failed) return;
    child.ending = true;
    void stopped(child);
  }

  /** Reports to a child with a channel how many of its lines could not be forwarded. */
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
    child.answeredAt = undefined;
    child.misses = 0;
    child.ending = false;
    const streams = ['ignore', stdout === 'stdout' ? 1 : 'pipe', 'pipe'] as const;
    const stdio = [...streams, ...(child.spec.descriptors ?? []), ...(channel ? (['ipc'] as const) : [])];
    const running = spawn(command, args, { detached: true, stdio });
    child.process = running;
    child.wasRead = Promise.all([running.stdout, running.stderr].map((stream) => this.#read(child, stream)));
    let startFailure: StartFailure | undefined;
    running.on('message', (words) => {
      startFailure = words as StartFailure;
    });
    let over = false;
    const end = (ended: Ended) => {
      if (over) return;
      over = true;
      child.process = undefined;
      this.#ended(child, ended);
    };
    running.once('exit', (code, signal) =>
      end({ name: child.spec.name, code, signal, ...(startFailure && { startFailure }) }),
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
    // A silent child lived until its last answer: one that falls silent repeatedly is restarted with growing delays.
    const until = child.ending ? (child.answeredAt ?? child.startedAt) : performance.now();
    const lived = until - child.startedAt;
    const neverReady = child.starts === 1 && !child.ready && lived < steadyMs && !child.spec.isOptional;
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

/**
 * SIGTERM, then SIGKILL to the whole group at the deadline; resolves when the child has ended, or cannot be ended.
 */
function stopped({ process: running, spec }: Child): Promise<void> {
  if (running?.pid === undefined) return Promise.resolve();
  const { pid } = running;
  return new Promise((resolve) => {
    let deadline = setTimeout(() => {
      process.kill(-pid, 'SIGKILL');
      deadline = setTimeout(resolve, unkillableMs);
    }, spec.stopMs);
    running.once('exit', () => {
      clearTimeout(deadline);
      resolve();
    });
    running.kill('SIGTERM');
  });
}
