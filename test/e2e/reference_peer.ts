// SPDX-License-Identifier: Apache-2.0
// Drives agents/reference_peer.py: one command, one answer.
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, type Namespace } from './namespace.js';

export interface Asked {
  status: string;
  details: string;
  requestId: number;
  versions: number[];
  /** Of the offers given. */
  spis: number[];
  cookies: string[];
  /** SPIs of its own offers in the request. */
  offered: number[];
}

export interface Arrived {
  spi: number;
  cookie: string;
  text: string;
}

export class ReferencePeer {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #errors = '';

  private constructor(namespace: Namespace, python: string, stubs: string) {
    const script = fromPackageRoot('test/e2e/agents/reference_peer.py');
    this.#child = namespace.spawn(python, [script, stubs], ['pipe', 'pipe', 'pipe']);
    this.#child.stderr?.on('data', (text) => {
      this.#errors += text;
    });
    this.#lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream })[
      Symbol.asyncIterator
    ]();
  }

  static async start(namespace: Namespace, python: string, stubs: string): Promise<ReferencePeer> {
    const peer = new ReferencePeer(namespace, python, stubs);
    await peer.#line();
    return peer;
  }

  /** @throws Error with its traceback if the process ended. */
  async do<T = Record<string, never>>(what: string, options: object = {}): Promise<T> {
    this.#child.stdin?.write(`${JSON.stringify({ do: what, ...options })}\n`);
    return this.#line();
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const gone = ended(this.#child);
    this.#child.kill('SIGKILL');
    await gone;
  }

  async #line<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the reference peer ended: ${this.#errors}`);
    return JSON.parse(value) as T;
  }
}
