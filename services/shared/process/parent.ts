// SPDX-License-Identifier: Apache-2.0
// What a service owes the `psp up` that started it: to tell it why it cannot start, and not to outlive it, even
// when it was killed: the channel that Node opens to a child ends with the parent. (The kernel's parent-death signal would not do: it is forgotten when
// a process gives up root.) A service that something else started has no such channel and is left alone.

/** What is left of an orderly stop once the parent is gone. */
const stopMs = 5000;

/**
 * From now on the end of the parent means SIGTERM to this process, and SIGKILL if it is still there after
 * stopMs. Call it before anything else: until SIGTERM has a handler, it ends the process by itself. Does not
 * keep the process alive.
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

/** What the parent sends: so many lines of this process it could not pass on. */
export interface DroppedLines {
  logDropped: number;
}

/** Calls back with the number of our lines that the parent dropped, each time that it dropped some. */
export function onDroppedLines(take: (lines: number) => void): void {
  if (process.connected) process.on('message', ({ logDropped }: DroppedLines) => take(logDropped));
}

/** Why a service cannot start, as `psp up` prints it. */
export interface StartFailure {
  code: string;
  message: string;
}

/** Tells the parent, if there is one that listens, why this process ends with exit code 1 now. */
export function reportToParent({ code, message }: StartFailure): void {
  if (process.connected) process.send?.({ code, message } satisfies StartFailure);
}
