// SPDX-License-Identifier: Apache-2.0
// Durations in the node file: what is accepted, the one fault for everything else, and how docs/config.md shows a default.
import { describe, expect, it } from 'vitest';
import { keysOf } from '../../../scripts/doc_tables.js';
import { duration, durationOr, restart, section } from '../../../services/shared/config/values.js';

const any = duration('0ms', '999999999999d');
const faultsOf = (
  type: { safeParse(value: unknown): { error?: { issues: { message: string }[] } } },
  value: unknown,
) => type.safeParse(value).error?.issues.map(({ message }) => message) ?? [];

describe('a duration', () => {
  it.each([
    ['500ms', 500],
    ['90s', 90_000],
    ['10m', 600_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
    ['0s', 0],
  ])('%s is %d milliseconds', (written, ms) => {
    expect(any.parse(written)).toBe(ms);
  });

  it.each([
    '',
    '10',
    'm',
    '10 m',
    '10M',
    '1.5h',
    '-1s',
    '1h30m',
    '10min',
    '1e3s',
    ' 1s',
    '1s ',
    '0x10s',
    '1234567890123s',
    10,
    null,
    true,
    ['10m'],
    { minutes: 10 },
  ])('%j is one fault', (written) => {
    const expected = 'a duration from 1s to 7d: a whole number with its unit (ms, s, m, h or d)';
    expect(faultsOf(duration('1s', '7d'), written)).toEqual([expected]);
    expect(faultsOf(durationOr('1s', '7d', 'off'), written)).toEqual([`${expected}, or off`]);
  });

  it('has limits, which belong to it', () => {
    const type = duration('1s', '7d');
    for (const written of ['1s', '1000ms', '168h', '7d'])
      expect(faultsOf(type, written), written).toEqual([]);
    for (const written of ['999ms', '0s', '8d', '169h', '604800001ms'])
      expect(faultsOf(type, written), written).toHaveLength(1);
  });

  it('or the word that may replace it, and no other word', () => {
    const type = durationOr('1s', '7d', 'off');
    expect(type.parse('off')).toBe('off');
    expect(type.parse('2s')).toBe(2000);
    for (const written of ['Off', 'on', 'never', '8d', ''])
      expect(faultsOf(type, written), written).toHaveLength(1);
  });

  it('has a default in the table of keys as it is written in the node file', () => {
    const part = section({
      every: restart(durationOr('1m', '30d', 'off').prefault('24h'), 'How often.'),
      idle: restart(duration('1m', '30d').optional(), 'How long.'),
    });
    expect(keysOf(part).map((key) => [key.path, key.default])).toEqual([
      ['every', '`24h`'],
      ['idle', 'none'],
    ]);
    expect(part.parse({})).toEqual({ every: 86_400_000 });
  });
});
