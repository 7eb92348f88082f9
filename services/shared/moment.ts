// SPDX-License-Identifier: Apache-2.0
// One moment on both clocks: the monotonic one for ages and deadlines, unix time for people.

export interface Moment {
  monotonicMs: number;
  unixMs: number;
}
