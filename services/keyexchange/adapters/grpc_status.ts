// SPDX-License-Identifier: Apache-2.0
// The gRPC status that a peer receives for each error code that can end its request. The status decides what the peer
// does next: a refusal (core/outcome.ts) makes it withdraw its offer, every other status leaves the outcome unknown.
import { status } from '@grpc/grpc-js';
import type { ErrorCode } from '../../shared/errors.js';

/** Every code that can end a request of a peer has its row here. */
export const grpcStatuses: Partial<Record<ErrorCode, status>> = {
  PEER_UNKNOWN: status.PERMISSION_DENIED,
  VIP_NOT_PEERS: status.PERMISSION_DENIED,
  VIP_NOT_OURS: status.NOT_FOUND,
  VERSION_NOT_SPOKEN: status.INVALID_ARGUMENT,
  MODE_MISMATCH: status.INVALID_ARGUMENT,
  UNDERLAY_NOT_ALLOWED: status.PERMISSION_DENIED,
  REQUEST_INVALID: status.INVALID_ARGUMENT,
  ROTATION_NOT_ALLOWED: status.PERMISSION_DENIED,
  RATE_LIMITED: status.RESOURCE_EXHAUSTED,
  ROTATION_LIMITED: status.RESOURCE_EXHAUSTED,
  ROTATION_PENDING: status.FAILED_PRECONDITION,
  SERVICE_DOWN: status.UNAVAILABLE,
  SERVICE_TIMEOUT: status.UNAVAILABLE,
  OVERLOADED: status.UNAVAILABLE,
  STALE: status.UNAVAILABLE,
  REPLAY: status.INTERNAL,
  SEAL_INVALID: status.INTERNAL,
  PAYLOAD_INVALID: status.INTERNAL,
  TABLE_FULL: status.RESOURCE_EXHAUSTED,
  SPI_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  TUNNELS_SPENT: status.RESOURCE_EXHAUSTED,
  FLOW_REMOVED: status.UNAVAILABLE,
  ENGINE_BUSY: status.UNAVAILABLE,
  ENGINE_FAILED: status.INTERNAL,
};

/** The status for a code. A code without a row is a fault of this gateway: INTERNAL. */
export const grpcStatusOf = (code: ErrorCode): status => grpcStatuses[code] ?? status.INTERNAL;
