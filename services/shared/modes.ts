// SPDX-License-Identifier: Apache-2.0
// The two modes of PSP encapsulation (PSP specification, "Tunnel Mode" and "Transport Mode"): their names in the node
// file, on the command line, in labels and in messages, and their numbers on the bus and towards peers. The numbers are
// written out so that the offline tools need no protobuf; a house test compares them.
import type { Mode } from '../../proto/gen/bus.js';

/** The numbers by name. */
export const modes = { tunnel: 1, transport: 2 } as const satisfies Record<string, Mode>;

export type ModeName = keyof typeof modes;

export const modeNames = Object.keys(modes) as [ModeName, ...ModeName[]];

/** @returns undefined for a number that is no mode. */
export const nameOfMode = (mode: Mode): ModeName | undefined =>
  modeNames.find((name) => modes[name] === mode);
