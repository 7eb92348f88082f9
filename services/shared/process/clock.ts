// SPDX-License-Identifier: Apache-2.0
// Clocks by purpose. A node is one machine, so CLOCK_MONOTONIC can be compared between its processes.
import type { Moment } from '../moment.js';

/** CLOCK_MONOTONIC in nanoseconds: ages and deadlines, also across the processes of one node. */
export const monotonicNs = (): bigint => process.hrtime.bigint();

/** CLOCK_MONOTONIC in whole milliseconds. */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

/** Unix milliseconds: only for what people read. */
export const unixMs = (): number => Date.now();

/** Now, on both clocks. */
export const moment = (): Moment => ({ monotonicMs: monotonicMs(), unixMs: unixMs() });

/** A larger difference means that the system's clock was set; unix times follow it. */
const setUs = 5000n;
const unixLeadUs = (): bigint => BigInt(Date.now()) * 1000n - process.hrtime.bigint() / 1000n;
let leadUs = unixLeadUs();

/**
 * Unix microseconds of an instant of CLOCK_MONOTONIC in nanoseconds. Between two settings of the system's clock the
 * order and the distance of instants are kept.
 */
export function unixUsAt(atNs: bigint): bigint {
  // Measured twice: a process may be delayed between reading the two clocks.
  if (isApart(unixLeadUs()) && isApart(unixLeadUs())) leadUs = unixLeadUs();
  return atNs / 1000n + leadUs;
}

const isApart = (otherUs: bigint): boolean => otherUs > leadUs + setUs || otherUs < leadUs - setUs;
