// SPDX-License-Identifier: Apache-2.0
// How `psp tap` converts messages: every row of the contract table is recognized by its subject and decoded; messages
// that are not in the table or have no known format are shown as octets.
import { describe, expect, it } from 'vitest';
import { tapped } from '../../../cli/tap/message.js';
import { FlowInstall, SampleBatch, ServiceStats } from '../../../proto/gen/bus.js';
import { contracts, nameBelow, subjectBelow, subjectOf } from '../../../services/shared/contracts.js';
import { egressSample } from '../../adapters/sampler/rig.js';

const encoded = <T>(codec: { encode(message: T): { finish(): Uint8Array } }, message: T) =>
  codec.encode(message).finish();

describe('a message of the table', () => {
  it.each(Object.values(contracts).map((row) => [row.subject, row] as const))(
    '%s is recognized',
    (_, row) => {
      const subject = subjectOf('a', row, 'id1.more'.slice(0, row.kind === 'audit' ? 8 : 3));
      const name = nameBelow('a', subject);
      const octets = row.kind === 'audit' ? Buffer.from('{"type":"service.started"}') : new Uint8Array(0);
      expect(tapped(name, octets)).toMatchObject({ subject: name, kind: row.kind, payload: {} });
      expect(subjectBelow('a', name)).toBe(subject);
    },
  );

  it('never shows the content of a seal', () => {
    const message = FlowInstall.fromPartial({
      peerEpoch: 1n,
      seal: { start: Buffer.alloc(32), counter: 7n, box: Buffer.alloc(48, 0x5a) },
    });
    const line = tapped('cmd.flow.install', encoded(FlowInstall, message));
    expect(line).toMatchObject({
      payload: { peerEpoch: '0x0000000000000001', seal: { counter: 7, boxLength: 48 } },
    });
    expect(JSON.stringify(line)).not.toContain('5a5a');
  });

  it('shows enums by name, addresses as text, copies in hex, and leaves out absent fields', () => {
    const sample = egressSample(5, { copy: Buffer.from('c0ffee', 'hex'), rateLog2: undefined });
    const { payload } = tapped(
      'sample.egress',
      encoded(SampleBatch, SampleBatch.fromPartial({ samples: [sample] })),
    );
    const [shown] = (payload as { samples: Record<string, unknown>[] }).samples;
    expect(shown).toMatchObject({
      point: 'SAMPLE_POINT_EGRESS_SEALED',
      flow: { source: '10.1.0.7', destination: '10.2.0.5' },
      spi: '0x00000005',
      copy: 'c0ffee',
    });
    expect(shown).not.toHaveProperty('rateLog2');
  });

  it('shows counters as numbers', () => {
    const stats = ServiceStats.fromPartial({ counters: [{ name: 'samplesTaken', value: 5n }] });
    expect(tapped('stats.sampler.X1', encoded(ServiceStats, stats))).toMatchObject({
      kind: 'event',
      payload: { counters: [{ name: 'samplesTaken', value: 5 }] },
    });
  });
});

describe('any other message', () => {
  it('is shown unchanged if it is a JSON object', () => {
    expect(tapped('x.y', Buffer.from('{"spi":5}'))).toEqual({
      subject: 'x.y',
      kind: 'unknown',
      length: 9,
      payload: { spi: 5 },
    });
  });

  it.each(['garbage', '{', '7', ''])('is shown as octets when it is %j', (text) => {
    expect(tapped('stats.sampler', Buffer.from(text))).toEqual({
      subject: 'stats.sampler',
      kind: 'unknown',
      length: text.length,
      hex: Buffer.from(text).toString('hex'),
    });
  });

  it('is cut to 64 octets', () => {
    expect(tapped('audit.sampler.1.x', Buffer.alloc(1000, 0xab))).toMatchObject({
      kind: 'audit',
      length: 1000,
      hex: 'ab'.repeat(64),
    });
  });
});
