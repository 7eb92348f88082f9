// SPDX-License-Identifier: Apache-2.0
// How the demo tells its story: steps, each with its time, made of statements, each measured. A statement that
// does not hold ends the story with the name of its step. Knows nothing of gateways.

export interface Told {
  step: string;
  ms: number;
  statements: string[];
}

/** A statement that was not measured true. */
export class Untrue extends Error {}

export class Story {
  readonly steps: Told[] = [];
  #current: Told | undefined;

  constructor(private readonly write: (line: string) => void) {}

  /** The step that is being told, or was told last. */
  get at(): string {
    return this.#current?.step ?? 'before the first step';
  }

  /** Tells one step; `work` states what it measures. */
  async step(step: string, work: () => Promise<void>): Promise<void> {
    const told: Told = { step, ms: 0, statements: [] };
    this.#current = told;
    this.steps.push(told);
    this.write(`\n${this.steps.length}. ${step}`);
    const began = performance.now();
    try {
      await work();
    } finally {
      told.ms = Math.round(performance.now() - began);
    }
    this.write(`   ${' '.repeat(4)}(${told.ms} ms)`);
  }

  /** States what was measured. @throws Untrue with `instead` when it does not hold. */
  state(holds: boolean, statement: string, instead = 'it does not hold'): void {
    if (!holds) {
      this.write(`   NO  ${statement}`);
      throw new Untrue(`${statement}: ${instead}`);
    }
    this.#current?.statements.push(statement);
    this.write(`   ok  ${statement}`);
  }

  /** Says something that is no claim. */
  say(line: string): void {
    this.write(`       ${line}`);
  }
}
