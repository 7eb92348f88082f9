// SPDX-License-Identifier: Apache-2.0
// Counters as they travel on the bus: name and value.
import type { Counter } from '../../proto/gen/bus.js';

export const countersOf = (values: Readonly<Record<string, number | bigint>>): Counter[] =>
  Object.entries(values).map(([name, value]) => ({ name, value: BigInt(value) }));
