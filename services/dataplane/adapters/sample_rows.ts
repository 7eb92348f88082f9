// SPDX-License-Identifier: Apache-2.0
// Conversion of samples from columns, which cross the border from C++, to rows, which travel on the bus. A row is made only if
// it will be sent; its copy is a view of the columns' octets.
import type { Sample, SamplePoint } from '../../../proto/gen/bus.js';
import { unmapped } from '../../shared/address.js';
import { unixUsAt } from '../../shared/process/clock.js';
import type { SampleColumns } from './engine.js';

/** In the column of rates: the sender decided to sample. */
const sampledBySender = 255;

/** The rows of these points, oldest first. */
export function rowsAt({ count, points }: SampleColumns, wanted: ReadonlySet<number>): number[] {
  const rows: number[] = [];
  for (let row = 0; row < count; row++) if (wanted.has(points[row] as number)) rows.push(row);
  return rows;
}

/** Makes samples of these columns. @param peers names by peer number. @param reasons names of drop reasons by number. */
export function sampleReader(
  columns: SampleColumns,
  peers: readonly string[],
  reasons: readonly string[] = [],
): (row: number) => Sample {
  const { flows, octets, copied } = columns;
  const starts = new Uint32Array(columns.count + 1);
  for (let row = 0; row < columns.count; row++) {
    starts[row + 1] = (starts[row] as number) + (copied[row] as number);
  }
  const addressAt = (at: number) => Buffer.from(unmapped(flows.subarray(at, at + 16)));
  return (row) => {
    const rate = columns.rates[row] as number;
    return {
      point: columns.points[row] as SamplePoint,
      atUs: unixUsAt(columns.atNs[row] as bigint),
      flow: { source: addressAt(row * 32), destination: addressAt(row * 32 + 16) },
      protocol: columns.protocols[row] as number,
      sourcePort: columns.sourcePorts[row] as number,
      destinationPort: columns.destinationPorts[row] as number,
      peer: peers[columns.peers[row] as number] ?? '',
      spi: columns.spis[row] as number,
      rateLog2: rate === sampledBySender ? undefined : rate,
      originalLength: columns.originalLengths[row] as number,
      reason: reasons[columns.reasons[row] as number] ?? '',
      copy: Buffer.from(octets.buffer, octets.byteOffset + (starts[row] as number), copied[row] as number),
    };
  };
}
