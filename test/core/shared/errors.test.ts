// SPDX-License-Identifier: Apache-2.0
// The one table of errors, and the message of an error made from it.
import { describe, expect, it } from 'vitest';
import { errorCodes, isErrorCode, PspError } from '../../../services/shared/errors.js';

describe('an error', () => {
  it('fills its message from its data, and marks missing values', () => {
    expect(new PspError('PEER_TIMEOUT', { peer: 'b', ms: 700n }).message).toBe(
      'peer b did not answer within 700 ms',
    );
    expect(new PspError('PEER_TIMEOUT', { peer: 'b' }).message).toBe(
      'peer b did not answer within unknown ms',
    );
  });

  it('fills its message once: data is never read as a template', () => {
    expect(new PspError('PEER_REFUSED', { peer: '{detail}', detail: '{peer}' }).message).toBe(
      'peer {detail} refused: {peer}',
    );
  });

  it('keeps its cause, its code and its name', () => {
    const cause = new Error('inner');
    const error = new PspError('PEER_DOWN', { peer: 'b' }, { cause });
    expect(error).toMatchObject({ cause, code: 'PEER_DOWN', name: 'PspError', retryable: true });
    expect(error).toBeInstanceOf(Error);
  });
});

describe('codes', () => {
  it('have a message without any data', () => {
    expect(errorCodes.map((code) => new PspError(code).message).filter((text) => /[?{}]/.test(text))).toEqual(
      [],
    );
  });

  it('are words in capitals', () => {
    expect(errorCodes.filter((code) => !/^[A-Z]+(_[A-Z]+)*$/.test(code))).toEqual([]);
  });

  it('are recognized by name, and no inherited property is one', () => {
    expect(errorCodes.every(isErrorCode)).toBe(true);
    for (const other of ['', 'toString', 'constructor', '__proto__', 'psp'])
      expect(isErrorCode(other)).toBe(false);
  });
});
