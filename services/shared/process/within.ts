// SPDX-License-Identifier: Apache-2.0
// A deadline for a step of an orderly stop: work that does not end in time ends with the process.

/** Resolves when the work has ended, or at the deadline. @throws what the work throws in time. */
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
