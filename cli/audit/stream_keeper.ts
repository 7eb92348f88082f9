// SPDX-License-Identifier: Apache-2.0
// Ensures that the audit stream exists while a node runs: creates it at the first connect, and again if the audit
// server comes back without it. Services wait for it with their spools.
import { setTimeout as delay } from 'node:timers/promises';
import type { BusStream } from '../../services/shared/bus/stream.js';
import { PspError } from '../../services/shared/errors.js';
import type { Logger } from '../../services/shared/process/log.js';

/** Interval between attempts to create it. */
const retryMs = 500;

/** Notifies one waiter of each connect. */
export class Connects {
  #wake: () => void = () => undefined;
  #next = this.#arm();

  notify(): void {
    this.#wake();
  }

  /** Resolves at the first connect since the last call. */
  async next(signal: AbortSignal): Promise<void> {
    await Promise.race([this.#next, aborted(signal)]);
    this.#next = this.#arm();
  }

  #arm(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** Runs until `signal`; each kind of failure is logged once. */
export async function keepStream(
  stream: BusStream,
  streamBytes: number,
  connects: Connects,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  let reported = '';
  while (!signal.aborted) {
    try {
      await stream.ensure(streamBytes);
      if (reported !== '') log.info('the audit stream exists');
      reported = '';
      await connects.next(signal);
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      if (error.message !== reported)
        log.warn({ code: error.code, err: error.message }, 'the audit stream cannot be created');
      reported = error.message;
      await delay(retryMs, undefined, { signal }).catch(() => undefined);
    }
  }
}
