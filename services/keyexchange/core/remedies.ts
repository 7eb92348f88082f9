// SPDX-License-Identifier: Apache-2.0
// Remedies for a refused exchange, by the code of the refusal. They apply at either gateway. A gateway that refuses begins
// the text of its gRPC status with the code; other software does not.
import { type ErrorCode, isErrorCode, type PspError } from '../../shared/errors.js';

const remedies: Partial<Record<ErrorCode, string>> = {
  PEER_UNKNOWN: 'name this gateway under peers: there as in its certificate',
  VIP_NOT_PEERS: 'compare the vips of both gateways in both node files',
  VIP_NOT_OURS: 'compare the vips of both gateways in both node files',
  VERSION_NOT_SPOKEN: 'give both node files a version in common, and authOnly on both sides or on neither',
  MODE_MISMATCH: 'give both node files the same mode for each other',
  UNDERLAY_NOT_ALLOWED: 'set the underlay of the peer to the prefix of its secured address',
  REQUEST_INVALID: 'run the same version of the gateway on both sides',
  RATE_LIMITED: 'look for a loop at that peer, or raise keyExchange.limits of the gateway that refuses',
  TABLE_FULL: 'raise engine.maxFlows of the gateway whose table is full',
  SPI_EXHAUSTED: 'run `psp rotate` on the gateway that refuses',
};

/** Whether a refusal lasts until an operator acts. */
export const isLasting = (code: ErrorCode): boolean => Object.hasOwn(remedies, code);

/** The remedy for a refusal, ours or the peer's. */
export function remedyOf({ code, message }: PspError): string {
  const given = /\b([A-Z_]{5,}): /g;
  const codes = code === 'PEER_REFUSED' ? [...message.matchAll(given)].map(([, name = '']) => name) : [code];
  const known = codes.find((name) => isErrorCode(name) && remedies[name] !== undefined) as
    | ErrorCode
    | undefined;
  return (known && remedies[known]) ?? 'see the log of the gateway that refuses';
}
