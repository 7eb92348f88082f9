// SPDX-License-Identifier: Apache-2.0
// The processing of samples before they are written: lines, bounded backlogs, the ring of files, the pump into an
// outlet.
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { type Sample, SampleBatch, SamplePoint } from '../../../proto/gen/bus.js';
import { fileName, fits, outdated } from '../../../services/sampler/core/file_ring.js';
import { Intake } from '../../../services/sampler/core/intake.js';
import { Backlog, type Chunk } from '../../../services/shared/backlog.js';
import { Gone, Pump } from '../../../services/shared/process/outlet.js';
import { isWellFormed, LineWriter, packetOf } from '../../../services/shared/samples/samples.js';
import {
  atUs,
  batchOf,
  egressSample,
  flowOf,
  ingressSample,
  innerPacket,
  sealedFrame,
} from '../../adapters/sampler/rig.js';

const put = (backlog: Backlog, text: string) => {
  const room = backlog.reserve(text.length);
  room?.octets.write(text, room.at);
  return room !== undefined;
};
const textOf = (chunk: Chunk | undefined) => chunk?.octets.toString('latin1', 0, chunk.length);

describe('a line', () => {
  const line = (sample: Sample) => JSON.parse(new LineWriter().line(sample)) as Record<string, unknown>;

  it('of egress contains everything except the copy', () => {
    expect(line(egressSample(0x80000001, { atUs }))).toEqual({
      time: '2026-01-02T03:04:05.000006Z',
      point: 'egress_sealed',
      direction: 'egress',
      peer: 'b',
      source: '10.1.0.7',
      destination: '10.2.0.5',
      protocol: 17,
      sourcePort: 5001,
      destinationPort: 5353,
      spi: '0x80000001',
      rateLog2: 4,
      reason: null,
      length: 1500,
      copied: 128,
    });
  });

  it('of ingress has no rate, and of packets without ports no ports', () => {
    const sample = ingressSample(7, {
      flow: flowOf('2001:db8::7', '2001:db8:1::'),
      protocol: 58,
      sourcePort: 0,
      destinationPort: 0,
    });
    expect(line(sample)).toMatchObject({
      point: 'ingress_opened',
      direction: 'ingress',
      source: '2001:db8::7',
      destination: '2001:db8:1::',
      sourcePort: null,
      destinationPort: null,
      rateLog2: null,
    });
  });

  it('of a packet before sealing is like one after, with its own point', () => {
    const plain = egressSample(1, { point: SamplePoint.SAMPLE_POINT_EGRESS_PLAIN, copy: innerPacket() });
    expect(line(plain)).toMatchObject({ point: 'egress_plain', direction: 'egress', peer: 'b', rateLog2: 4 });
    expect(packetOf(plain)).toMatchObject({
      interface: 2,
      direction: 2,
      comment: 'peer b, SPI 0x00000001, point egress_plain, rate 1/16',
    });
  });

  it('of a packet that failed has the reason, and no peer if none is known', () => {
    const failed = ingressSample(1, {
      point: SamplePoint.SAMPLE_POINT_INGRESS_FAILED,
      peer: '',
      reason: 'ingress/icv_failure',
      copy: sealedFrame(1),
      originalLength: 1500,
    });
    expect(isWellFormed(failed)).toBe(true);
    expect(line(failed)).toMatchObject({
      point: 'ingress_failed',
      direction: 'ingress',
      peer: null,
      reason: 'ingress/icv_failure',
      length: 1500,
    });
    expect(packetOf(failed)).toMatchObject({
      interface: 3,
      direction: 1,
      comment: 'SPI 0x00000001, point ingress_failed, dropped as ingress/icv_failure',
    });
    const unsealed = { point: SamplePoint.SAMPLE_POINT_EGRESS_FAILED, reason: 'egress/too_big' };
    expect(
      packetOf(egressSample(1, { ...unsealed, copy: innerPacket(), rateLog2: undefined })),
    ).toMatchObject({
      interface: 4,
      direction: 2,
      comment: 'peer b, SPI 0x00000001, point egress_failed, dropped as egress/too_big',
    });
  });

  it('of a packet that failed needs a reason from the table, one of a sample must have none', () => {
    const failed = { point: SamplePoint.SAMPLE_POINT_INGRESS_FAILED, peer: '' };
    for (const reason of ['', 'icv_failure', 'ingress/', 'ingress/"x', 'sideways/icv_failure']) {
      expect(isWellFormed(ingressSample(1, { ...failed, reason })), reason).toBe(false);
    }
    expect(isWellFormed(ingressSample(1, { ...failed, peer: 'a"b', reason: 'ingress/x' }))).toBe(false);
    expect(isWellFormed(egressSample(1, { reason: 'egress/x' }))).toBe(false);
    expect(isWellFormed(egressSample(1, { peer: '' }))).toBe(false);
    expect(isWellFormed(egressSample(1, { point: 6 as SamplePoint }))).toBe(false);
  });

  it('keeps microseconds over the change of a second, in both directions', () => {
    const lines = new LineWriter();
    const time = (atUs: bigint) => JSON.parse(lines.line(egressSample(1, { atUs }))).time as string;
    expect([time(1_999_999n), time(2_000_000n), time(1_000_001n)]).toEqual([
      '1970-01-01T00:00:01.999999Z',
      '1970-01-01T00:00:02.000000Z',
      '1970-01-01T00:00:01.000001Z',
    ]);
  });
});

describe('a backlog', () => {
  it('returns entries in order, as many as fit into a chunk', () => {
    const backlog = new Backlog(100, 10);
    for (const text of ['aaaa', 'bbbb', 'cccc', 'dd']) expect(put(backlog, text)).toBe(true);
    const chunks = [backlog.take(), backlog.take(), backlog.take()];
    expect(chunks.map(textOf)).toEqual(['aaaabbbb', 'ccccdd', undefined]);
    expect(chunks.map((chunk) => chunk?.entries)).toEqual([2, 2, undefined]);
  });

  it('drops and counts entries that do not fit, and has space again once some were removed', () => {
    const backlog = new Backlog(10, 10);
    expect([put(backlog, 'aaaaa'), put(backlog, 'bbbbb'), put(backlog, 'c')]).toEqual([true, true, false]);
    expect([backlog.dropped, backlog.queuedBytes, backlog.queuedEntries]).toEqual([1, 10, 2]);
    const chunk = backlog.take() as Chunk;
    expect(put(backlog, 'c')).toBe(false);
    backlog.release(chunk, true);
    expect([put(backlog, 'c'), backlog.dropped, backlog.queuedBytes]).toEqual([true, 2, 1]);
  });

  it('drops an entry longer than a chunk', () => {
    const backlog = new Backlog(100, 10);
    expect([put(backlog, 'x'.repeat(11)), backlog.dropped]).toEqual([false, 1]);
  });

  it('counts entries whose chunk could not be written', () => {
    const backlog = new Backlog(100, 10);
    for (const text of ['aa', 'bb']) put(backlog, text);
    backlog.release(backlog.take() as Chunk, false);
    expect([backlog.dropped, backlog.queuedBytes]).toEqual([2, 0]);
  });
});

describe('a pump', () => {
  const rig = (write: (text: string) => Promise<void>) => {
    const backlog = new Backlog(100, 10);
    const states: (string | undefined)[] = [];
    const outlet = { write: (chunk: Chunk) => write(textOf(chunk) as string) };
    const pump = new Pump(backlog, outlet, { retryMs: 1, onState: (code) => states.push(code) });
    return { backlog, pump, states };
  };

  it('never has two chunks in flight, and sends entries that arrive meanwhile together', async () => {
    const taken: string[] = [];
    let go: () => void = () => undefined;
    const { backlog, pump } = rig((text) => {
      taken.push(text);
      return new Promise((resolve) => {
        go = resolve;
      });
    });
    for (const text of ['a', 'b', 'c']) {
      put(backlog, text);
      pump.kick();
      await delay(1);
      expect(taken).toEqual(['a']);
    }
    go();
    await expect.poll(() => taken.length).toBe(2);
    go();
    await pump.finish();
    expect([taken, pump.written]).toEqual([['a', 'bc'], 3]);
  });

  it('tries a failing outlet again with the same chunk and reports when it works again', async () => {
    let failures = 2;
    const taken: string[] = [];
    const { backlog, pump, states } = rig(async (text) => {
      if (failures-- > 0) throw Object.assign(new Error(), { code: 'ENOSPC' });
      taken.push(text);
    });
    put(backlog, 'a');
    pump.kick();
    await expect.poll(() => taken).toEqual(['a']);
    expect([states, pump.failures, backlog.dropped]).toEqual([['ENOSPC', 'ENOSPC', undefined], 2, 0]);
  });

  it('leaves an outlet that is gone alone and drops its entries', async () => {
    let attempts = 0;
    const { backlog, pump, states } = rig(async () => {
      attempts++;
      throw new Gone('EPIPE');
    });
    for (const text of ['a', 'b']) put(backlog, text);
    pump.kick();
    await expect.poll(() => backlog.dropped).toBe(2);
    put(backlog, 'c');
    pump.kick();
    expect([attempts, states, backlog.dropped, backlog.queuedBytes]).toEqual([1, ['EPIPE'], 3, 0]);
  });

  it('tries once more at the end, and then drops what cannot be written', async () => {
    const { backlog, pump } = rig(async () => {
      throw Object.assign(new Error(), { code: 'EIO' });
    });
    put(backlog, 'a');
    await pump.finish();
    expect([backlog.dropped, pump.written]).toEqual([1, 0]);
  });
});

describe('intake', () => {
  const rig = (linesBytes = 1e6, packetsBytes = 1e6) => {
    const lines = new Backlog(linesBytes, 65_536);
    const packets = new Backlog(packetsBytes, 65_536);
    return { lines, packets, intake: new Intake(lines, packets) };
  };

  it('makes one line and one packet of each sample', () => {
    const { lines, packets, intake } = rig();
    intake.take(batchOf(1, 256));
    expect([intake.taken, lines.queuedEntries, packets.queuedEntries]).toEqual([256, 256, 256]);
  });

  it('does not let a full backlog of lines cost a packet, nor the reverse', () => {
    const slowLines = rig(1000);
    slowLines.intake.take(batchOf(1, 100));
    expect(slowLines.lines.dropped).toBeGreaterThan(90);
    expect([slowLines.packets.queuedEntries, slowLines.packets.dropped]).toEqual([100, 0]);
    const slowPackets = rig(1e6, 1000);
    slowPackets.intake.take(batchOf(1, 100));
    expect(slowPackets.packets.dropped).toBeGreaterThan(90);
    expect([slowPackets.lines.queuedEntries, slowPackets.lines.dropped]).toEqual([100, 0]);
  });

  it.each<[string, Partial<Sample>]>([
    ['no point', { point: 0 }],
    ['no flow', { flow: undefined }],
    ['an address of 5 octets', { flow: { source: Buffer.alloc(5), destination: Buffer.alloc(5) } }],
    ['two families', { flow: { source: Buffer.alloc(4), destination: Buffer.alloc(16) } }],
    ['a time beyond all calendars', { atUs: 2n ** 63n }],
    ['a time beyond what numbers hold', { atUs: 2n ** 53n }],
    ['a protocol above 255', { protocol: 256 }],
    ['a port above 65535', { destinationPort: 65_536 }],
    ['a rate above 2^16', { rateLog2: 17 }],
    ['a peer that is no name', { peer: 'b"\n' }],
    ['a copy longer than its packet', { originalLength: 10 }],
    ['a packet longer than packets get', { originalLength: 65_536 }],
  ])('refuses a batch with %s whole and counts it', (_, fault) => {
    const { lines, packets, intake } = rig();
    const batch = SampleBatch.fromPartial({ samples: [egressSample(1)] });
    batch.samples.push(egressSample(2, fault));
    expect(() => intake.take(batch)).toThrow(expect.objectContaining({ code: 'PAYLOAD_INVALID' }));
    expect([intake.malformed, intake.taken]).toEqual([1, 0]);
    expect([lines.queuedEntries, packets.queuedEntries]).toEqual([0, 0]);
  });
});

describe('the ring of files', () => {
  const ring = { count: 3, bytes: 1000 };
  const name = (second: number, owner = '0000000a') => fileName(`2026-01-02T03:04:0${second}.000Z`, owner, 1);

  it('names files such that they sort by age', () => {
    expect(name(5)).toBe('20260102T030405000Z-0000000a-1.pcapng');
    expect([name(2), name(1, 'ffffffff'), name(3)].sort()).toEqual([name(1, 'ffffffff'), name(2), name(3)]);
  });

  it('removes the oldest beyond the limit, whoever created them, and nothing that is not ours', () => {
    const names = [name(4), name(2, 'ffffffff'), name(1), 'notes.pcapng', name(3)];
    expect(outdated(names, name(4), ring)).toEqual([name(1)]);
    expect(outdated([...names, name(5)], name(5), ring)).toEqual([name(1), name(2, 'ffffffff')]);
    expect(outdated([name(1), name(2), name(3)], name(3), ring)).toEqual([]);
  });

  it('keeps the file that was just opened even if the clock was set back', () => {
    expect(outdated([name(1), name(2), name(3), name(4)], name(1), ring)).toEqual([name(2)]);
  });

  it('fills a file to its last octet and no further', () => {
    expect([fits(900, 100, ring), fits(900, 101, ring)]).toEqual([true, false]);
  });
});
