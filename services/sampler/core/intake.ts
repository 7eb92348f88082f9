// SPDX-License-Identifier: Apache-2.0
// Accepts batches of samples: each sample becomes one line and one packet in two independent bounded backlogs, so that a
// slow reader of lines does not affect the files, nor the disk the lines. A batch with an invalid sample is rejected as a
// whole.
import type { SampleBatch } from '../../../proto/gen/bus.js';
import type { Backlog } from '../../shared/backlog.js';
import { PspError } from '../../shared/errors.js';
import { packetLength, writePacket } from '../../shared/samples/pcapng.js';
import { isWellFormed, LineWriter, packetOf } from '../../shared/samples/samples.js';

export class Intake {
  /** Samples that were accepted. */
  taken = 0;
  /** Batches that decode but contain an invalid sample. */
  malformed = 0;
  readonly #lines = new LineWriter();

  constructor(
    private readonly lines: Backlog,
    private readonly packets: Backlog,
  ) {}

  /** @throws PspError PAYLOAD_INVALID; then no sample of the batch was accepted. */
  take({ samples }: SampleBatch): void {
    if (!samples.every(isWellFormed)) {
      this.malformed++;
      throw new PspError('PAYLOAD_INVALID', { subject: 'a batch of samples', detail: 'a sample is invalid' });
    }
    for (const sample of samples) {
      const line = this.#lines.line(sample);
      const lineSpace = this.lines.reserve(line.length);
      lineSpace?.octets.write(line, lineSpace.at, 'latin1');
      const packet = packetOf(sample);
      const packetSpace = this.packets.reserve(packetLength(packet));
      if (packetSpace) writePacket(packetSpace.octets, packetSpace.at, packet);
    }
    this.taken += samples.length;
  }
}
