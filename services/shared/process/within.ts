// SPDX-License-Identifier: Apache-2.0
// A deadline for a step of an orderly stop: what does not end in time is left to end with the process.

/** Resolves when work has ended, or after the deadline without it. @throws what work throws in time. */
export async function within(deadlineMs: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise((resolve) => {
    timer = setTimeout(resolve, deadlineMs);
  });
  try {
    await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
