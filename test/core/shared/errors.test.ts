// SPDX-License-Identifier: Apache-2.0
// The one table of errors, and what an error made from it says.
import { status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { errorCodes, isErrorCode, PspError } from '../../../services/shared/errors.js';

describe('an error', () => {
  it('fills its message from its data, and says so where that lacks something', () => {
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

  it('is INTERNAL to a peer unless the table says otherwise', () => {
    expect(new PspError('VIP_NOT_PEERS').grpcStatus).toBe(status.PERMISSION_DENIED);
    expect(new PspError('FENCE_FAILED').grpcStatus).toBe(status.INTERNAL);
  });
});

describe('codes', () => {
  it('say a sentence without any data', () => {
    expect(errorCodes.map((code) => new PspError(code).message).filter((text) => /[?{}]/.test(text))).toEqual(
      [],
    );
  });

  it('are words in capitals', () => {
    expect(errorCodes.filter((code) => !/^[A-Z]+(_[A-Z]+)*$/.test(code))).toEqual([]);
  });

  it('are known by name, and nothing that objects inherit is one', () => {
    expect(errorCodes.every(isErrorCode)).toBe(true);
    for (const other of ['', 'toString', 'constructor', '__proto__', 'psp'])
      expect(isErrorCode(other)).toBe(false);
  });

  it('that a peer may be told never read as an unknown outcome by mistake', () => {
    const unknown = [status.DEADLINE_EXCEEDED, status.CANCELLED, status.UNKNOWN, status.OK];
    const wrong = errorCodes.filter((code) => unknown.includes(new PspError(code).grpcStatus));
    expect(wrong).toEqual([]);
    const refusals = errorCodes.filter((code) => {
      const { grpcStatus } = new PspError(code);
      return grpcStatus === status.PERMISSION_DENIED || grpcStatus === status.INVALID_ARGUMENT;
    });
    expect(refusals.filter((code) => new PspError(code).retryable)).toEqual([]);
  });
});
