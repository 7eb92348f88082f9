// SPDX-License-Identifier: Apache-2.0
// The output of commands that run in the test's own process: collected instead of shown, separately for each test.
import { afterEach, beforeEach, vi } from 'vitest';

const streams = ['stdout', 'stderr'] as const;

export interface Printed {
  stdout: string;
  stderr: string;
}

/** For each test of the file that calls this. */
export function keepPrinted(): Printed {
  const printed = { stdout: '', stderr: '' };
  beforeEach(() => {
    for (const stream of streams) {
      printed[stream] = '';
      vi.spyOn(process[stream], 'write').mockImplementation((chunk) => {
        printed[stream] += chunk;
        return true;
      });
    }
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
  return printed;
}
