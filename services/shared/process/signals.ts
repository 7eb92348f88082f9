// SPDX-License-Identifier: Apache-2.0
// Signals whose default action is unwanted. Node opens its inspector on SIGUSR1, which gives everybody who reaches its port
// the privileges and the memory of the process; the kernel ends a process on SIGUSR2 and SIGHUP. Import this module first,
// so that the handlers are installed before the rest of the program is loaded.

const ignore = (): void => undefined;

/** From now on these signals do nothing to this process. */
export function ignoreSignals(...names: readonly NodeJS.Signals[]): void {
  for (const name of names) process.on(name, ignore);
}

ignoreSignals('SIGUSR1');

/** Options for a child that runs Node: newer versions can disable the inspector from the start. */
export const nodeOptions: readonly string[] = ['--disable-sigusr1'].filter((option) =>
  process.allowedNodeEnvironmentFlags.has(option),
);
