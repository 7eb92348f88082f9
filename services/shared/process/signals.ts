// SPDX-License-Identifier: Apache-2.0
// Signals that must not do what Node or the kernel does with them by default. Node opens its inspector on SIGUSR1,
// which gives whoever reaches the port the rights and the memory of the process; the kernel ends a process on SIGUSR2
// and SIGHUP. Import this module before any other: the handlers then stand before the rest of the program is loaded.

const ignore = (): void => undefined;

/** From now on these signals do nothing to this process. */
export function ignoreSignals(...names: readonly NodeJS.Signals[]): void {
  for (const name of names) process.on(name, ignore);
}

ignoreSignals('SIGUSR1');

/** Options for a child that runs Node: newer versions can leave the inspector out from the first instruction on. */
export const nodeOptions: readonly string[] = ['--disable-sigusr1'].filter((option) =>
  process.allowedNodeEnvironmentFlags.has(option),
);
