// SPDX-License-Identifier: Apache-2.0
// Events of the dataplane that a peer can cause at will: their number is limited, and none is lost.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { AuditReport } from '../../../services/dataplane/adapters/audit_report.js';
import { flowKeyOf, parseAddress } from '../../../services/shared/address.js';
import type { AuditData } from '../../../services/shared/audit/event.js';
import { bucketSize, refillMs } from '../../../services/shared/rate/token_bucket.js';

type Refused = Extract<AuditData['tunnel.refused'], { by: 'peer' }>;

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'Date', 'hrtime'] }));
afterEach(() => void vi.useRealTimers());

const flowTo = (last: number) =>
  flowKeyOf({
    source: Buffer.from(parseAddress('10.1.0.1')),
    destination: Buffer.from(parseAddress(`10.2.${last >> 8}.${last & 255}`)),
  });

it('joins refusals of a peer that refuses 10 000 flows, and counts each of them', () => {
  const events: Refused[] = [];
  const recorder = {
    record: (type: string, data: unknown) => {
      expect(type).toBe('tunnel.refused');
      events.push(data as Refused);
    },
  } as never;
  const report = new AuditReport({ peers: ['b', 'c'] }, recorder, { info: () => {}, warn: () => {} });
  const refuse = (flow: number, peer: number, code: string) =>
    report.record({ type: 'tunnelRefused', flow: flowTo(flow), peer, code });
  for (let flow = 0; flow < 10_000; flow++) refuse(flow, 0, 'PEER_REFUSED');
  expect(events).toHaveLength(bucketSize);
  expect(events[0]).toMatchObject({ local: '10.1.0.1', remote: '10.2.0.0', peer: 'b', by: 'peer', count: 1 });
  // Another reason and another peer have limits of their own.
  refuse(1, 0, 'MODE_MISMATCH');
  refuse(1, 1, 'PEER_REFUSED');
  expect(events).toHaveLength(bucketSize + 2);
  report.tick();
  expect(events).toHaveLength(bucketSize + 2);
  vi.advanceTimersByTime(refillMs);
  report.tick();
  expect(events.at(-1)).toMatchObject({
    remote: '10.2.39.15',
    count: 10_000 - bucketSize,
    code: 'PEER_REFUSED',
  });
  refuse(1, 0, 'PEER_REFUSED');
  report.tick();
  report.tick(true);
  expect(events.reduce((sum, { count }) => sum + count, 0)).toBe(10_003);
});
