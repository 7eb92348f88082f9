// SPDX-License-Identifier: Apache-2.0
// Prints a demo as numbered steps with their duration. A step consists of statements, each of which was checked. The first
// statement that does not hold ends the demo. This module contains nothing that is specific to gateways.

export interface Step {
  step: string;
  ms: number;
  statements: string[];
}

/** Thrown for a statement that does not hold. */
export class Untrue extends Error {}

export class Story {
  readonly steps: Step[] = [];
  #current: Step | undefined;

  constructor(private readonly write: (line: string) => void) {}

  /** The name of the current or latest step. */
  get at(): string {
    return this.#current?.step ?? 'before the first step';
  }

  /** Runs one step. `work` checks and prints its statements. */
  async step(step: string, work: () => Promise<void>): Promise<void> {
    const current: Step = { step, ms: 0, statements: [] };
    this.#current = current;
    this.steps.push(current);
    this.write(`\n${this.steps.length}. ${step}`);
    const began = performance.now();
    try {
      await work();
    } finally {
      current.ms = Math.round(performance.now() - began);
    }
    this.write(`   ${' '.repeat(4)}(${current.ms} ms)`);
  }

  /** Prints a checked statement. @throws Untrue with `instead` when it does not hold. */
  state(holds: boolean, statement: string, instead = 'it does not hold'): void {
    if (!holds) {
      this.write(`   NO  ${statement}`);
      throw new Untrue(`${statement}: ${instead}`);
    }
    this.#current?.statements.push(statement);
    this.write(`   ok  ${statement}`);
  }

  /** Prints a line that is not a checked statement. */
  say(line: string): void {
    this.write(`       ${line}`);
  }
}
