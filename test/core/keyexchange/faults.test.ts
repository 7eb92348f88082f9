// SPDX-License-Identifier: Apache-2.0
// Faults between two gateways from an operator's view: how long they last, their remedies, two gateways with one
// identity, and the recorded changes of a link.
import { describe, expect, it } from 'vitest';
import { EpochWatch, settleMs } from '../../../services/keyexchange/core/epoch_watch.js';
import { alertOf, certificateInvalid } from '../../../services/keyexchange/core/handshake.js';
import { LastingFaults, lastsMs } from '../../../services/keyexchange/core/lasting_faults.js';
import { LinkRecorder } from '../../../services/keyexchange/core/link.js';
import { isLasting, remedyOf } from '../../../services/keyexchange/core/remedies.js';
import { Tally } from '../../../services/keyexchange/core/tally.js';
import { PspError } from '../../../services/shared/errors.js';
import { bucketSize, refillMs } from '../../../services/shared/rate/token_bucket.js';

const at = (ms: number) => ({ monotonicMs: 7 + ms, unixMs: 1_700_000_000_000 + ms });
const refused = (detail: string) => new PspError('PEER_REFUSED', { peer: 'b', detail });

describe('a fault with a peer', () => {
  it('lasts from its first occurrence until it has not occurred for a minute', () => {
    const faults = new LastingFaults();
    expect(faults.seen('b', 'x', refused('one'), at(0))).toBe(true);
    expect(faults.seen('b', 'x', refused('two'), at(30_000))).toBe(false);
    expect(faults.of('b', at(30_000 + lastsMs).monotonicMs)).toEqual([
      { error: refused('two'), since: at(0), count: 1 },
    ]);
    expect(faults.of('b', at(30_001 + lastsMs).monotonicMs)).toEqual([]);
    expect(faults.seen('b', 'x', refused('three'), at(200_000))).toBe(true);
    expect(faults.of('b', at(200_000).monotonicMs)).toMatchObject([{ since: at(200_000) }]);
    expect(faults.of('c', at(200_000).monotonicMs)).toEqual([]);
  });

  it('ends at once when its subject is healthy, and others continue', () => {
    const faults = new LastingFaults();
    faults.seen('b', 'x', refused('one'), at(0));
    faults.seen('b', 'y', refused('two'), at(5));
    expect(faults.of('b', at(9).monotonicMs)).toEqual([{ error: refused('two'), since: at(0), count: 2 }]);
    faults.over('b', 'x');
    expect(faults.of('b', at(9).monotonicMs)).toEqual([{ error: refused('two'), since: at(5), count: 1 }]);
  });

  it('is merged with those of its code and separate from others, the oldest first', () => {
    const faults = new LastingFaults();
    faults.seen('b', 'handshake', new PspError('PEER_CERTIFICATE_INVALID', {}), at(9));
    faults.seen('b', 'x', refused('one'), at(0));
    expect(faults.of('b', at(10).monotonicMs).map(({ error }) => error.code)).toEqual([
      'PEER_REFUSED',
      'PEER_CERTIFICATE_INVALID',
    ]);
  });

  it('is stored for a bounded number of subjects', () => {
    const faults = new LastingFaults();
    for (let flow = 0; flow < 10_000; flow++) faults.seen('b', `${flow}`, refused('x'), at(flow));
    expect(faults.of('b', at(10_000).monotonicMs)[0]?.count).toBe(256);
  });
});

describe('a remedy', () => {
  it("follows from the peer's code, or from ours", () => {
    expect(remedyOf(refused('NOT_FOUND: VIP_NOT_OURS: 10.3.0.1 is not behind this gateway'))).toMatch(/vips/);
    expect(remedyOf(new PspError('MODE_MISMATCH', {}))).toMatch(/mode/);
    expect(remedyOf(refused('INTERNAL: Failed to create session'))).toMatch(
      /log of the gateway that refuses/,
    );
    expect(remedyOf(refused('NOT_FOUND: FILE_UNREADABLE: x'))).toMatch(/log of the gateway that refuses/);
  });

  it('exists for lasting refusals, and only these are faults', () => {
    for (const code of ['VIP_NOT_PEERS', 'TABLE_FULL'] as const) expect(isLasting(code)).toBe(true);
    for (const code of ['OVERLOADED', 'STALE', 'SERVICE_DOWN'] as const) expect(isLasting(code)).toBe(false);
  });
});

describe('two gateways with one identity', () => {
  it('are detected when both epochs are in use for longer than requests live, with both addresses', () => {
    const watch = new EpochWatch();
    expect(watch.seen('b', 1n, '198.51.100.2', 0)).toBeUndefined();
    expect(watch.seen('b', 2n, '198.51.100.7', 100)).toBeUndefined();
    expect(watch.seen('b', 1n, '198.51.100.2', 200)).toBeUndefined();
    expect(watch.seen('b', 2n, '198.51.100.7', settleMs + 100)).toBeUndefined();
    expect(watch.seen('b', 1n, '198.51.100.2', settleMs + 101)).toBeUndefined();
    expect(watch.seen('b', 2n, '198.51.100.7', settleMs + 102)).toEqual(['198.51.100.2', '198.51.100.7']);
  });

  it('are not detected for one that restarts, however often, nor for two peers', () => {
    const watch = new EpochWatch();
    for (let start = 1; start < 100; start++) {
      const ms = start * 10_000;
      expect(watch.seen('b', BigInt(start), 'x', ms)).toBeUndefined();
      // A request of the previous start arrives late.
      expect(watch.seen('b', BigInt(start - 1), 'x', ms + 900)).toBeUndefined();
      expect(watch.seen('b', BigInt(start), 'x', ms + 9000)).toBeUndefined();
      expect(watch.seen('c', 1n, 'y', ms)).toBeUndefined();
    }
  });
});

describe('changes of a link', () => {
  it('are each recorded, including the first failure, but not attempts', () => {
    const recorder = new LinkRecorder(0);
    expect(recorder.due('connecting', 1)).toBeUndefined();
    expect(recorder.due('failed', 2)).toBe(1);
    expect(recorder.due('failed', 3)).toBeUndefined();
    expect(recorder.due('connected', 4)).toBe(1);
  });

  it('of one that flaps are merged, and the latest state is recorded in the end', () => {
    const recorder = new LinkRecorder(0);
    let recorded = 0;
    for (let i = 0; i < 1000; i++) if (recorder.due(i % 2 ? 'connected' : 'failed', i)) recorded++;
    expect(recorded).toBe(bucketSize);
    expect(recorder.due('failed', 1000)).toBeUndefined();
    expect(recorder.due('failed', refillMs + 1)).toBe(1001 - bucketSize);
    expect(recorder.due('failed', 2 * refillMs + 1)).toBeUndefined();
  });
});

describe('failed exchanges', () => {
  it('count from the first of them, unless there was no failure for a minute', () => {
    const tally = new Tally(['b']);
    tally.failed('b', 1000);
    tally.failed('b', 40_000);
    tally.recovered('b', 90_000);
    expect(tally.peer('b')?.failingSinceMs).toBe(1000);
    tally.recovered('b', 100_001);
    expect(tally.peer('b')?.failingSinceMs).toBe(0);
  });
});

describe('a handshake that failed', () => {
  it('reports the fault of the certificate, with its dates if known', () => {
    const message = (code: string, dates?: string) =>
      certificateInvalid('b', code, 'serverAuth', dates).message;
    expect(message('CERT_HAS_EXPIRED', 'expired on X')).toMatch(
      /^peer b presents a certificate that expired on X; renew/,
    );
    expect(message('CERT_NOT_YET_VALID')).toContain('that is not valid yet');
    expect(message('SELF_SIGNED_CERT_IN_CHAIN', 'expired on X')).toContain('does not lead to an authority');
    expect(message('INVALID_PURPOSE')).toContain('lacks the extended key usage serverAuth');
    expect(message('CERT_REVOKED')).toContain('fails verification (CERT_REVOKED)');
  });

  it('names an alert about our certificate, and nothing else', () => {
    expect(alertOf('b', 'ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED')?.message).toMatch(
      /it says that it has expired/,
    );
    expect(alertOf('b', 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA')?.code).toBe('CERTIFICATE_REFUSED');
    for (const code of ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'ECONNRESET', 'CERT_HAS_EXPIRED', undefined])
      expect(alertOf('b', code)).toBeUndefined();
  });
});
