// SPDX-License-Identifier: Apache-2.0
// An operator process that stays in a gateway's namespace: it runs `psp` commands one after another and is started
// with the first of them (agents/operator.ts).
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, type Namespace, type Result } from './namespace.js';

const agent = fromPackageRoot('dist/test/e2e/agents/operator.js');
const longestMs = 60_000;

interface Standing {
  child: ChildProcess;
  lines: AsyncIterator<string>;
}

export class Operator {
  #standing: Standing | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(private readonly namespace: Namespace) {}

  /** Runs `psp ARGS` after the commands before it have ended. Code -1: no answer, because the process was killed. */
  ask(args: readonly string[]): Promise<Result> {
    const answer = this.#last.then(() => this.#ask(args));
    this.#last = answer;
    return answer;
  }

  async stop(): Promise<void> {
    const child = this.#standing?.child;
    this.#standing = undefined;
    child?.kill('SIGKILL');
    if (child) await ended(child);
  }

  async #ask(args: readonly string[]): Promise<Result> {
    const { child, lines } = this.#standing ?? this.#start();
    const overdue = setTimeout(() => child.kill('SIGKILL'), longestMs);
    child.stdin?.write(`${JSON.stringify(args)}\n`);
    const { done, value } = await lines.next();
    clearTimeout(overdue);
    if (!done) return JSON.parse(value) as Result;
    if (this.#standing?.child === child) this.#standing = undefined;
    return { code: -1, stdout: '', stderr: 'the operator gave no answer' };
  }

  #start(): Standing {
    const child = this.namespace.spawn(process.execPath, [agent], ['pipe', 'pipe', 'inherit']);
    // It may have ended when a command is written; then its output has ended, too.
    child.stdin?.on('error', () => undefined);
    const input = child.stdout as NonNullable<ChildProcess['stdout']>;
    this.#standing = { child, lines: createInterface({ input })[Symbol.asyncIterator]() };
    return this.#standing;
  }
}
