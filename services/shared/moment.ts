// SPDX-License-Identifier: Apache-2.0
// One moment, on the clock that ages are measured with and on the one that people read.

export interface Moment {
  monotonicMs: number;
  unixMs: number;
}
