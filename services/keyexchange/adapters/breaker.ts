// SPDX-License-Identifier: Apache-2.0
// The circuit breaker of one peer. It opens when more than half of at least three calls within five seconds failed; a trial
// call follows 250 ms later, so that, with the call's own timeout, a dead peer is tried about once a second. A refusal is
// an answer, not a failure, and so is a limit of the rate of our requests.
import CircuitBreaker from 'opossum';
import { PspError } from '../../shared/errors.js';
import { isOrderly } from '../core/outcome.js';

const options = {
  timeout: false,
  resetTimeout: 250,
  rollingCountTimeout: 5000,
  rollingCountBuckets: 5,
  volumeThreshold: 3,
  errorThresholdPercentage: 50,
  rollingPercentilesEnabled: false,
  enableSnapshots: false,
  errorFilter: (error: unknown) => error instanceof PspError && isOrderly(error.code),
} as const;

export class Breaker {
  readonly #circuit: CircuitBreaker<[() => Promise<unknown>], unknown>;

  constructor(private readonly peer: string) {
    this.#circuit = new CircuitBreaker((work: () => Promise<unknown>) => work(), { ...options, name: peer });
  }

  get state(): 'closed' | 'open' | 'half-open' {
    if (this.#circuit.closed) return 'closed';
    return this.#circuit.halfOpen ? 'half-open' : 'open';
  }

  /** Runs work, which has its own timeout. @throws PspError BREAKER_OPEN without running it, or what work throws. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    try {
      return (await this.#circuit.fire(work)) as T;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EOPENBREAKER' || code === 'ESHUTDOWN') {
        throw new PspError('BREAKER_OPEN', { peer: this.peer }, { cause: error });
      }
      throw error;
    }
  }

  close(): void {
    this.#circuit.shutdown();
  }
}
