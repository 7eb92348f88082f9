// SPDX-License-Identifier: Apache-2.0
// How certificates are described to people, and when they are warned about: 30, 7 and 1 days before the end. The warnings of a
// certificate with a short lifetime begin when a third of it is left, so that one that is replaced in time causes none.
import type { X509Certificate } from 'node:crypto';
import type { Certificate } from '../../../proto/gen/bus.js';
import { fingerprintOf, nameOnLine, validityOf } from './chain.js';
import { soleIdentityOf } from './identity.js';

const dayMs = 86_400_000;
/** From the last to the first. */
const warningDays = [1, 7, 30] as const;

export function describe(certificate: X509Certificate, kind: string): Certificate {
  const { fromMs, toMs } = validityOf(certificate);
  return {
    kind,
    subject: nameOnLine(certificate.subject),
    issuer: nameOnLine(certificate.issuer),
    identity: soleIdentityOf(certificate.raw) ?? '',
    fingerprint: fingerprintOf(certificate),
    notBeforeMs: BigInt(fromMs),
    notAfterMs: BigInt(toMs),
  };
}

/** Which warning applies, in days before the end; undefined: none yet, or it has expired. @param nowMs unix milliseconds. */
export function warningOf(
  { notBeforeMs, notAfterMs }: Pick<Certificate, 'notBeforeMs' | 'notAfterMs'>,
  nowMs: number,
): number | undefined {
  const leftMs = Number(notAfterMs) - nowMs;
  const lifeMs = Number(notAfterMs - notBeforeMs);
  if (leftMs < 0) return undefined;
  return warningDays.find((days) => leftMs <= Math.min(days * dayMs, lifeMs / 3));
}

/** Unix milliseconds for people. */
export const isoOf = (unixMs: bigint): string => new Date(Number(unixMs)).toISOString();

/** The time left, rounded down: "12 days", "5 hours", "3 minutes", "expired". */
export function timeLeft(notAfterMs: bigint, nowMs: number): string {
  const leftMs = Number(notAfterMs) - nowMs;
  if (leftMs < 0) return 'expired';
  const [unit, unitMs] =
    leftMs >= 2 * dayMs ? ['days', dayMs] : leftMs >= 7_200_000 ? ['hours', 3_600_000] : ['minutes', 60_000];
  return `${Math.floor(leftMs / Number(unitMs))} ${unit}`;
}
