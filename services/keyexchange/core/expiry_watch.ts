// SPDX-License-Identifier: Apache-2.0
// Which certificates an operator must renew: each warning is given once, and lasts as a notice until the certificate is
// replaced. The instant is an argument, so a clock that is set changes the notices at once.
import type { Certificate } from '../../../proto/gen/bus.js';
import { isoOf, timeLeft, warningOf } from '../../shared/certificates/expiry.js';

export interface ExpiryWarning {
  certificate: Certificate;
  /** 30, 7 or 1. */
  days: number;
  /** For people, with the remedy. */
  message: string;
}

const remedies: Readonly<Record<string, string>> = {
  authority: 'replace the authority',
  node: 'issue a new one with `psp certs renew`',
};

export class ExpiryWatch {
  /** The last warning about each certificate, by its fingerprint. */
  readonly #given = new Map<string, number>();

  /** The warnings that apply now. @param nowMs unix milliseconds. */
  warnings(certificates: readonly Certificate[], nowMs: number): ExpiryWarning[] {
    return certificates.flatMap((certificate) => {
      const days = warningOf(certificate, nowMs);
      if (days === undefined) return [];
      const { kind, subject, notAfterMs } = certificate;
      const remedy = remedies[kind] ?? 'issue a new chain';
      const message = `the ${kind} certificate ${subject} expires in ${timeLeft(notAfterMs, nowMs)}, on ${isoOf(notAfterMs)}; ${remedy}`;
      return [{ certificate, days, message }];
    });
  }

  /** Those that were not given before. */
  due(certificates: readonly Certificate[], nowMs: number): ExpiryWarning[] {
    const warnings = this.warnings(certificates, nowMs);
    const due = warnings.filter(({ certificate, days }) => {
      const given = this.#given.get(certificate.fingerprint);
      return given === undefined || days < given;
    });
    const current = new Set(warnings.map(({ certificate }) => certificate.fingerprint));
    for (const fingerprint of this.#given.keys())
      if (!current.has(fingerprint)) this.#given.delete(fingerprint);
    for (const { certificate, days } of due) this.#given.set(certificate.fingerprint, days);
    return due;
  }
}
