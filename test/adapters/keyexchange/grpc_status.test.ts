// SPDX-License-Identifier: Apache-2.0
// The gRPC status of each error code that can end a request of a peer.
import { status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { grpcStatuses, grpcStatusOf } from '../../../services/keyexchange/adapters/grpc_status.js';
import { type ErrorCode, errorCodes, PspError } from '../../../services/shared/errors.js';
import { files, read } from '../../house/sources.js';

const rows = Object.entries(grpcStatuses) as [ErrorCode, status][];

/**
 * Modules that process a request of a peer: the server's side of the key exchange, the bus, the dataplane and its
 * engine.
 */
const modules = files().filter((path) =>
  /^(services\/keyexchange\/(adapters\/(answerer|dataplane_client|peer_server)|core\/(acceptance|answering|parameters))\.ts|services\/shared\/(bus\/bus|seal)\.ts|services\/dataplane\/.*\.ts|native\/engine\/.*\.cc)$/.test(
    path,
  ),
);
/** Codes of the table before its section of failures at start. */
const whileRunning = errorCodes.slice(0, errorCodes.indexOf('CONFIG_INVALID'));

const codesIn = (path: string): ErrorCode[] =>
  [...read(path).matchAll(/(?:new PspError\(|EngineError\{\s*)['"]([A-Z_]+)['"]/g)].map(
    ([, code]) => code as ErrorCode,
  );

describe('the gRPC status of an error code', () => {
  it('is declared for every code that can end a request of a peer', () => {
    const raised = new Set(modules.flatMap(codesIn).filter((code) => whileRunning.includes(code)));
    expect([...raised]).toEqual(expect.arrayContaining(['VIP_NOT_OURS', 'REPLAY', 'SPI_EXHAUSTED']));
    expect([...raised].filter((code) => grpcStatuses[code] === undefined)).toEqual([]);
  });

  it('is INTERNAL for every other code', () => {
    expect(grpcStatusOf('VIP_NOT_PEERS')).toBe(status.PERMISSION_DENIED);
    expect(grpcStatusOf('FENCE_FAILED')).toBe(status.INTERNAL);
  });

  it('never looks like an unknown outcome by mistake', () => {
    const unknown = [status.DEADLINE_EXCEEDED, status.CANCELLED, status.UNKNOWN, status.OK];
    expect(rows.filter(([, each]) => unknown.includes(each))).toEqual([]);
  });

  it('is a final refusal only if the same request cannot succeed later', () => {
    const refused = rows.filter(
      ([, each]) => each === status.PERMISSION_DENIED || each === status.INVALID_ARGUMENT,
    );
    expect(refused.filter(([code]) => new PspError(code).retryable)).toEqual([]);
  });
});
