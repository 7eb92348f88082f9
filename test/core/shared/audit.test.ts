// SPDX-License-Identifier: Apache-2.0
// The parts of the audit without input and output: the arbiter's events, the ledger of the key exchange, lines of segments.
import { describe, expect, it } from 'vitest';
import { sinceMs } from '../../../cli/audit/audit.js';
import { InstallResult } from '../../../proto/gen/bus.js';
import { reversed } from '../../../services/dataplane/core/facts.js';
import { longestHoldDownMs } from '../../../services/dataplane/core/hold_down.js';
import { RefusalLedger } from '../../../services/keyexchange/core/refusal_ledger.js';
import { envelopeOf, readEvent } from '../../../services/shared/audit/event.js';
import { lineOf, linesIn, maxLineBytes } from '../../../services/shared/audit/segment.js';
import { bucketSize, refillMs } from '../../../services/shared/rate/token_bucket.js';
import { Desk, flow } from '../dataplane/desk.js';

describe('the arbiter records', () => {
  it('a tunnel once, when its first key is installed, and which side requested it', () => {
    const desk = new Desk();
    desk.miss(flow(1));
    expect(desk.audited).toEqual([]);
    desk.install(desk.last, 1n);
    desk.accept(flow(1), 2n);
    desk.accept(flow(2), 3n);
    expect(desk.audited).toEqual([
      { type: 'tunnelUp', flow: flow(1), peer: 0, asked: 'us', spi: 0x100, version: 1 },
      { type: 'tunnelUp', flow: flow(2), peer: 0, asked: 'peer', spi: 0x100, version: 1 },
    ]);
  });

  it('each flow that a peer refuses alone, with the code', () => {
    const desk = new Desk();
    desk.miss(flow(1), flow(2));
    desk.refuse(desk.last, 'VIP_NOT_PEERS');
    expect(desk.audited).toEqual([]);
    for (const alone of desk.published.splice(0).slice(1)) desk.refuse(alone, 'VIP_NOT_PEERS');
    expect(desk.audited).toEqual(
      [flow(1), flow(2)].map((each) => ({
        type: 'tunnelRefused',
        flow: each,
        peer: 0,
        code: 'VIP_NOT_PEERS',
      })),
    );
  });

  it('a refused flow once, however often it is requested again', () => {
    const desk = new Desk();
    const refuseAll = (times: number) => {
      for (let i = 0; i < times; i++) {
        desk.miss(flow(1));
        desk.refuse(desk.last);
        desk.pass(longestHoldDownMs);
      }
    };
    refuseAll(20);
    expect(desk.published.length).toBeGreaterThanOrEqual(20);
    expect(desk.audited).toHaveLength(1);
    desk.miss(flow(1));
    desk.install(desk.last, 1n);
    expect(desk.audited.map(({ type }) => type)).toEqual(['tunnelRefused', 'tunnelUp']);
  });

  it('a rotation, and the flows that a forced one cuts', () => {
    const desk = new Desk({ rotateGraceMs: 1000 });
    desk.miss(flow(1), flow(2));
    desk.install(desk.last, 1n);
    desk.audited.length = 0;
    desk.rotate();
    expect(desk.audited).toEqual([
      { type: 'keysRotated', generation: 2, cause: { why: 'command' }, reoffered: 2, cut: 0 },
    ]);
    const [one] = desk.published.splice(0).slice(-1);
    desk.install({ ...(one as typeof desk.last), flows: [flow(1)] }, 2n);
    desk.now += 1000;
    desk.audited.length = 0;
    desk.rotate();
    expect(desk.audited).toEqual([
      { type: 'keysRotated', generation: 3, cause: { why: 'command' }, reoffered: 2, cut: 1 },
      { type: 'tunnelDown', flow: reversed(flow(2)), peer: 0, why: 'rotationForced' },
    ]);
  });

  it('a tunnel for which the engine has no more space', () => {
    const desk = new Desk();
    desk.accept(flow(1), 1n);
    desk.audited.length = 0;
    desk.installResult = InstallResult.INSTALL_RESULT_TABLE_FULL;
    desk.accept(flow(1), 2n);
    desk.accept(flow(2), 1n);
    expect(desk.audited).toEqual([{ type: 'tunnelDown', flow: flow(1), peer: 0, why: 'tableFull' }]);
  });
});

describe('the ledger of refusals', () => {
  const refusal = { code: 'VIP_NOT_OURS', peer: 'b', detail: 'x' } as const;

  it('records each while they are few, and joins them when they are many', () => {
    const ledger = new RefusalLedger();
    for (let i = 0; i < bucketSize; i++) {
      expect(ledger.refused(refusal, i, 1000 + i)).toEqual([
        { ...refusal, type: 'tunnel.refused', count: 1, firstMs: 1000 + i, lastMs: 1000 + i },
      ]);
    }
    for (let i = 0; i < 500; i++) expect(ledger.refused(refusal, 100 + i, 2000 + i)).toEqual([]);
    expect(ledger.tick(700)).toEqual([]);
    expect(ledger.tick(refillMs)).toEqual([
      { ...refusal, type: 'tunnel.refused', count: 500, firstMs: 2000, lastMs: 2499 },
    ]);
    expect(ledger.tick(10 * refillMs)).toEqual([]);
  });

  it('limits an attacker to one event in ten seconds, for each peer separately', () => {
    const ledger = new RefusalLedger();
    const unknown = { code: 'PEER_UNKNOWN', peer: undefined, detail: 'y' } as const;
    let told = 0;
    for (let ms = 0; ms < 100_000; ms++) {
      told += ledger.refused(unknown, ms, ms).length;
      if (ms % 1000 === 0) told += ledger.tick(ms).length;
    }
    expect(told).toBeLessThanOrEqual(bucketSize + 10);
    expect(ledger.refused(refusal, 100_000, 0)).toHaveLength(1);
    expect(ledger.tick(100_000, true).map(({ type }) => type)).toEqual(['peer.unauthorized']);
  });

  it('omits codes that only mean "not now"', () => {
    const ledger = new RefusalLedger();
    expect(ledger.refused({ ...refusal, code: 'OVERLOADED' }, 0, 0)).toEqual([]);
    expect(ledger.tick(refillMs, true)).toEqual([]);
  });
});

describe('lines of a segment', () => {
  const producer = { node: 'a', service: 'stats', incarnation: '0123456789abcdef' } as const;
  const json = (sequence: number) =>
    envelopeOf(producer, sequence, 'service.stopped', { reason: 'asked' }, 1_700_000_000_000);

  it('are read back as they were written', () => {
    const octets = Buffer.concat([lineOf(json(1)), lineOf(json(2))]);
    const { lines, end } = linesIn(octets);
    expect(end).toBe(octets.length);
    expect(lines.map(({ octets }) => Buffer.from(octets).toString())).toEqual([json(1), json(2)]);
    expect(lines[1]).toMatchObject({ sequence: 2, type: 'service.stopped', id: '0123456789abcdef-2' });
  });

  it('end at the first torn or corrupt one', () => {
    const good = lineOf(json(1));
    const torn = lineOf(json(2));
    for (let cut = 0; cut < torn.length; cut++) {
      expect(linesIn(Buffer.concat([good, torn.subarray(0, cut)]))).toMatchObject({ end: good.length });
    }
    for (let i = 0; i < torn.length; i++) {
      const rotten = Buffer.concat([good, torn, good]);
      rotten[good.length + i] = (rotten[good.length + i] as number) ^ 0x10;
      expect(linesIn(rotten).lines.map(({ sequence }) => sequence)).toEqual([1]);
    }
  });

  it('have a maximum length', () => {
    expect(() => lineOf('x'.repeat(maxLineBytes))).toThrow();
  });
});

describe('an event', () => {
  it('is a CloudEvent 1.0', () => {
    const producer = { node: 'a', service: 'dataplane', incarnation: '0123456789abcdef' } as const;
    const text = envelopeOf(
      producer,
      7,
      'keys.rotated',
      { generation: 2, by: 'operator', why: 'command', peer: null, reofferedFlows: 0, cutFlows: 0 },
      0,
    );
    expect(JSON.parse(text)).toEqual({
      specversion: '1.0',
      id: '0123456789abcdef-7',
      source: 'psp:/a/dataplane',
      type: 'psp.keys.rotated',
      time: '1970-01-01T00:00:00.000Z',
      datacontenttype: 'application/json',
      incarnation: '0123456789abcdef',
      sequence: '7',
      sequencetype: 'Integer',
      data: { generation: 2, by: 'operator', why: 'command', peer: null, reofferedFlows: 0, cutFlows: 0 },
    });
  });

  it.each([
    '',
    '{',
    'null',
    '[]',
    '{"id":1}',
    '{"id":"a","source":"b","type":"psp.x","time":"t","incarnation":"i","sequence":"0"}',
  ])('is not %j', (text) => expect(readEvent(Buffer.from(text))).toBeUndefined());
});

it('--since accepts durations and instants', () => {
  expect(sinceMs('90s', 100_000)).toBe(10_000);
  expect(sinceMs('2h', 7_200_000)).toBe(0);
  expect(sinceMs('2026-11-23T10:00:00Z', 0)).toBe(Date.UTC(2026, 10, 23, 10));
  for (const wrong of ['', '5', 's', '1w', 'now', '2026-99-99']) expect(() => sinceMs(wrong, 0)).toThrow();
});
