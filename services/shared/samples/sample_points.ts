// SPDX-License-Identifier: Apache-2.0
// The points where samples and captures are taken, by their numbers in proto/bus.proto and in the engine. The numbers are
// written out so that the offline tools need no protobuf; a house test compares them.
import type { SamplePoint } from '../../../proto/gen/bus.js';

export const samplePoints = {
  /** The finished frame. */
  egressSealed: 1,
  /** The inner packet after it was opened. */
  ingressOpened: 2,
  /** The inner packet before it is sealed. */
  egressPlain: 3,
  /** Captured: a frame from the wire that could not be opened. */
  ingressFailed: 4,
  /** Captured: an inner packet that could not be sealed. */
  egressFailed: 5,
} as const satisfies Record<string, SamplePoint>;
