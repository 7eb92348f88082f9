// SPDX-License-Identifier: Apache-2.0
// The meaning of a failed TLS handshake for a certificate, in an operator's terms: verification errors of OpenSSL about the
// peer's certificate, and alerts (RFC 8446, section 6.2) with which the peer rejects ours.
import type { TrustFault } from '../../shared/certificates/trust.js';
import { PspError } from '../../shared/errors.js';

export type Usage = 'serverAuth' | 'clientAuth';

/** Verification errors by their names in Node, as predicates of a certificate. */
const details: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'has expired',
  CERT_NOT_YET_VALID: 'is not valid yet',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: '',
  UNABLE_TO_GET_ISSUER_CERT: '',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: '',
  SELF_SIGNED_CERT_IN_CHAIN: '',
  DEPTH_ZERO_SELF_SIGNED_CERT: '',
  CERT_SIGNATURE_FAILURE: '',
};
const foreignAuthority = 'does not lead to an authority in our tls/ca.crt';
const renew = 'renew it there, or correct the clock that is wrong';
const oneAuthority = 'both gateways need certificates and a ca.crt of one authority';

/** The name of a peer whose certificate proves no identity. */
export const peerAt = (address: string | undefined): string => `at ${address ?? 'an unknown address'}`;

/**
 * The peer's certificate failed verification.
 * @param code the error of OpenSSL as Node names it. @param usage what the certificate was needed for.
 * @param dates the fault of its validity period, if any; without it only the code is reported.
 */
export function certificateInvalid(peer: string, code: string, usage: Usage, dates?: string): PspError {
  const invalid = (detail: string, remedy: string) =>
    new PspError('PEER_CERTIFICATE_INVALID', { peer, detail: `a certificate that ${detail}`, remedy });
  if (code === 'INVALID_PURPOSE')
    return invalid(`lacks the extended key usage ${usage}`, 'issue a new one there with `psp certs renew`');
  const detail = details[code];
  if (detail === undefined)
    return invalid(`fails verification (${code})`, 'issue a new one there with `psp certs renew`');
  return detail === '' ? invalid(foreignAuthority, oneAuthority) : invalid(dates ?? detail, renew);
}

/** The peer's certificate, which TLS verified, is not accepted by our files, or not any more. */
export function certificateWithdrawn(peer: string, { kind, detail }: TrustFault): PspError {
  const remedies = {
    untrusted: oneAuthority,
    revoked: 'if the peer is trusted, give it a new one',
    dates: renew,
  };
  return new PspError('PEER_CERTIFICATE_INVALID', {
    peer,
    detail: `a certificate that ${kind === 'untrusted' ? foreignAuthority : detail}`,
    remedy: remedies[kind],
  });
}

/** A client presented no certificate. */
export const certificateMissing = (peer: string): PspError =>
  new PspError('PEER_CERTIFICATE_INVALID', {
    peer,
    detail: 'no certificate',
    remedy: 'give that client a certificate of our authority',
  });

/** The certificate is valid and belongs to another gateway. */
export const certificateOfOther = (peer: string, identity: string | undefined, expected: string): PspError =>
  new PspError('PEER_CERTIFICATE_INVALID', {
    peer,
    detail: `the certificate of ${identity ?? 'no gateway'}, not of ${expected}`,
    remedy: 'correct its endpoint or its certificate',
  });

const alerts: readonly [RegExp, string, string][] = [
  [/CERTIFICATE_EXPIRED/, 'it says that it has expired', 'renew it, or correct the clock that is wrong'],
  [/UNKNOWN_CA/, 'it does not trust the authority that issued it', oneAuthority],
  [/UNSUPPORTED_CERTIFICATE/, 'it says that its usage is wrong', 'issue a new one with `psp certs renew`'],
  [/CERTIFICATE_REQUIRED/, 'it received none', 'see tls/node.crt'],
  [
    /BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|CERTIFICATE_REVOKED|ACCESS_DENIED/,
    'it gives no reason',
    'see the log there',
  ],
];

/** The error for an alert by which the peer rejected our certificate; undefined for every other error of TLS. */
export function alertOf(peer: string, code: string | undefined): PspError | undefined {
  if (code === undefined || !/ALERT/.test(code)) return undefined;
  const found = alerts.find(([pattern]) => pattern.test(code));
  if (found === undefined) return undefined;
  const [, detail, remedy] = found;
  return new PspError('CERTIFICATE_REFUSED', { peer, detail, remedy });
}

/** The peer closed the connection after the handshake, as software does that rejects a certificate without an alert. */
export const closedAfterHandshake = (peer: string): PspError =>
  new PspError('CERTIFICATE_REFUSED', {
    peer,
    detail: 'it closed the connection right after the TLS handshake',
    remedy: 'its log has the reason; compare tls/ca.crt and the clocks of both',
  });
