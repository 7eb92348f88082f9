// SPDX-License-Identifier: Apache-2.0
// Takes batches of samples: each sample becomes one line and one packet, side by side in two bounded backlogs, so
// that a reader who does not read costs the files nothing, and the other way round. A batch that is not whole is
// refused whole.
import type { SampleBatch } from '../../../proto/gen/bus.js';
import type { Backlog } from '../../shared/backlog.js';
import { PspError } from '../../shared/errors.js';
import { packetLength, writePacket } from '../../shared/samples/pcapng.js';
import { isWellFormed, LineWriter, packetOf } from '../../shared/samples/samples.js';

export class Intake {
  /** Samples that were taken, whatever became of them then. */
  taken = 0;
  /** Batches that decode but do not hold samples of the right form. */
  malformed = 0;
  readonly #lines = new LineWriter();

  constructor(
    private readonly lines: Backlog,
    private readonly packets: Backlog,
  ) {}

  /** @throws PspError PAYLOAD_INVALID, and then nothing of the batch was taken. */
  take({ samples }: SampleBatch): void {
    if (!samples.every(isWellFormed)) {
      this.malformed++;
      throw new PspError('PAYLOAD_INVALID', { subject: 'a batch', detail: 'a sample lacks its form' });
    }
    for (const sample of samples) {
      const line = this.#lines.line(sample);
      const lineRoom = this.lines.reserve(line.length);
      lineRoom?.octets.write(line, lineRoom.at, 'latin1');
      const packet = packetOf(sample);
      const packetRoom = this.packets.reserve(packetLength(packet));
      if (packetRoom) writePacket(packetRoom.octets, packetRoom.at, packet);
    }
    this.taken += samples.length;
  }
}
