// SPDX-License-Identifier: Apache-2.0
// The relation of a service to the `psp up` that started it: the service reports why it cannot start, and ends with its
// parent, even if the parent was killed, because the channel that Node opens to a child ends then. (The kernel's
// parent-death signal is cleared when a process drops root.) A service that was started otherwise has no such channel.

/** Time for an orderly stop once the parent is gone. */
const stopMs = 5000;

/**
 * From now on this process receives SIGTERM when its parent ends, and SIGKILL if it still runs after stopMs. Call it before
 * anything else: SIGTERM without a handler ends the process. It does not keep the process alive.
 */
export function endWithParent(): void {
  if (process.connected === undefined) return;
  const end = () => {
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), stopMs).unref();
    process.kill(process.pid, 'SIGTERM');
  };
  if (process.connected) {
    process.once('disconnect', end);
    process.channel?.unref();
  } else {
    end();
  }
}

/** The message of the parent: the number of lines of this process that it could not pass on. */
export interface DroppedLines {
  logDropped: number;
}

/** Calls back with the number of our lines that the parent dropped, each time it drops some. */
export function onDroppedLines(take: (lines: number) => void): void {
  if (process.connected) process.on('message', ({ logDropped }: DroppedLines) => take(logDropped));
}

/** Why a service cannot start, as `psp up` prints it. */
export interface StartFailure {
  code: string;
  message: string;
}

/** Reports to the parent, if there is one, why this process ends with exit code 1. */
export function reportToParent({ code, message }: StartFailure): void {
  if (process.connected) process.send?.({ code, message } satisfies StartFailure);
}
