// SPDX-License-Identifier: Apache-2.0
// Samples as the native engine hands them over, made up: datagrams from 10.1.0.1 to 10.2.0.1, counted by their
// source ports so that a test sees which came and in what order.
import type { SampleColumns } from '../../../native/addon/engine.js';
import { mapped, parseAddress } from '../../../services/shared/address.js';
import { monotonicNs } from '../../../services/shared/process/clock.js';
import { samplePoints } from '../../../services/shared/samples/sample_points.js';

export interface MadeSamples {
  count: number;
  /** Source port of the first; by default 1. */
  from?: number;
  point?: keyof typeof samplePoints;
  /** Octets of each copy. */
  copied?: number;
  /** Of captured packets: the number of their drop reason. */
  reason?: number;
}

const flow = Buffer.concat(['10.1.0.1', '10.2.0.1'].map((address) => mapped(parseAddress(address))));

export function sampleColumns({
  count,
  from = 1,
  point = 'egressSealed',
  copied = 128,
  reason = 255,
}: MadeSamples): SampleColumns {
  const egress = point === 'egressSealed' || point === 'egressPlain';
  const octets = Buffer.alloc(count * copied);
  for (let row = 0; row < count; row++) octets.fill((from + row) & 255, row * copied, (row + 1) * copied);
  return {
    count,
    points: new Uint8Array(count).fill(samplePoints[point]),
    atNs: new BigUint64Array(count).fill(monotonicNs()),
    flows: Buffer.concat(Array.from({ length: count }, () => flow)),
    peers: new Uint16Array(count),
    spis: new Uint32Array(count).fill(0x8000_0001),
    protocols: new Uint8Array(count).fill(17),
    sourcePorts: Uint16Array.from({ length: count }, (_, row) => from + row),
    destinationPorts: new Uint16Array(count).fill(7000),
    rates: new Uint8Array(count).fill(egress ? 4 : 255),
    reasons: new Uint8Array(count).fill(reason),
    originalLengths: new Uint32Array(count).fill(1400),
    copied: new Uint16Array(count).fill(copied),
    octets,
  };
}
