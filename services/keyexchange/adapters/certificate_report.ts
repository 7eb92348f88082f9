// SPDX-License-Identifier: Apache-2.0
// What an operator sees of the node's own certificates: log lines, audit events, faults and notices.
import type { Certificate, Health } from '../../../proto/gen/bus.js';
import type { AuditRecorder } from '../../shared/audit/trail.js';
import { fingerprintOf } from '../../shared/certificates/chain.js';
import { isoOf } from '../../shared/certificates/expiry.js';
import { certificateUnusable, type NodeCertificate } from '../../shared/config/node_certificate.js';
import type { PspError } from '../../shared/errors.js';
import { unixMs } from '../../shared/process/clock.js';
import type { Logger } from '../../shared/process/log.js';
import { ExpiryWatch } from '../core/expiry_watch.js';
import type { Tally } from '../core/tally.js';
import type { CertificateFiles, FilesListener } from './certificate_files.js';

export class CertificateReport implements FilesListener {
  readonly #expiry = new ExpiryWatch();
  #certificates: readonly Certificate[];
  #fault: string | undefined;

  constructor(
    private readonly files: CertificateFiles,
    private readonly audit: AuditRecorder,
    private readonly log: Logger,
    private readonly tally: Pick<Tally, 'count'>,
  ) {
    this.#certificates = files.certificate.describe();
  }

  filesChanged(certificate: NodeCertificate): void {
    this.#certificates = certificate.describe();
    const { trust } = certificate;
    const [own] = this.#certificates as [Certificate];
    const event = {
      fingerprint: own.fingerprint,
      validUntil: isoOf(own.notAfterMs),
      authorities: trust.authorities.map(fingerprintOf),
      revoked: trust.lists.reduce((sum, { serials }) => sum + serials.size, 0),
      refused: trust.refused.size,
    };
    this.audit.record('certificates.reloaded', event);
    this.log.info(event, 'certificates reloaded');
  }

  filesRefused({ code, message }: PspError): void {
    this.tally.count(code);
    this.log.error({ code, err: message }, 'certificates not reloaded');
  }

  /** To be called once a second: reports the end of our certificate, and warns before it. */
  tick(): void {
    const nowMs = unixMs();
    const faults = this.files.certificate.faults(nowMs);
    const error = faults.length === 0 ? undefined : certificateUnusable(faults);
    if (error !== undefined && error.message !== this.#fault) {
      this.tally.count(error.code);
      this.log.error({ code: error.code, err: error.message }, 'certificate unusable');
    }
    this.#fault = error?.message;
    for (const { certificate, days, message } of this.#expiry.due(this.#certificates, nowMs)) {
      const { kind, subject, fingerprint, notAfterMs } = certificate;
      const event = { kind, subject, fingerprint, validUntil: isoOf(notAfterMs), days };
      this.audit.record('certificate.expiring', event);
      this.log.warn({ ...event, reason: message }, 'certificate expires soon');
    }
  }

  read(): { health: Health[]; notices: Health[]; certificates: Certificate[] } {
    const notices = this.#expiry
      .warnings(this.#certificates, unixMs())
      .map(({ message }) => ({ part: 'certificate', message, sinceMs: 0n }));
    return { health: this.files.health(), notices, certificates: [...this.#certificates] };
  }
}
