// SPDX-License-Identifier: Apache-2.0
// The TLS files of the node while it runs. They are looked at once a second, by the states of the files that their names lead
// to, so that a rename, a changed symbolic link and a file written in place are all noticed. Changed files are used only as a
// whole and without a fault; until then the last good ones stay in use, and the reason is reported. New handshakes use the new
// files at once; established connections are renewed by their clients.
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Health } from '../../../proto/gen/bus.js';
import { FileWatch } from '../../shared/config/file_watch.js';
import {
  type CertificateFault,
  certificateHealth,
  certificateUnusable,
  listed,
  NodeCertificate,
  type TlsFiles,
} from '../../shared/config/node_certificate.js';
import { fileState } from '../../shared/config/node_file.js';
import { PspError } from '../../shared/errors.js';
import { monotonicMs, unixMs } from '../../shared/process/clock.js';
import type { FilesVersion } from '../core/renewal.js';

/** What TLS needs of a node's files, for both ends. Only version 1.3 is spoken. */
const tlsOptionsOf = ({ tls: { ca, cert, key } }: NodeCertificate) => ({
  ca: [...ca],
  cert,
  key,
  minVersion: 'TLSv1.3' as const,
});
export type TlsOptions = ReturnType<typeof tlsOptionsOf>;

export interface FilesListener {
  /** Other files are in use from now on. */
  filesChanged(certificate: NodeCertificate): void;
  /** Changed files are not used. */
  filesRefused(error: PspError): void;
}

export class CertificateFiles {
  readonly #watch: FileWatch;
  #current: NodeCertificate;
  #context: SecureContext;
  #version: FilesVersion = { version: 1, sinceMs: monotonicMs() };
  /** Unix milliseconds. */
  #readMs = unixMs();
  /** The changed files that are not used, or the reason why they cannot be read. */
  #candidate: NodeCertificate | PspError | undefined;
  #refused: { error: PspError; sinceMs: number } | undefined;
  #isLooking = false;
  readonly #onChange: (() => void)[] = [];

  private constructor(
    private readonly files: TlsFiles,
    private readonly identity: string,
    certificate: NodeCertificate,
    state: string,
  ) {
    this.#current = certificate;
    this.#context = createSecureContext(tlsOptionsOf(certificate));
    this.#watch = new FileWatch(state);
  }

  /** Reads the files for the first time. @throws PspError FILE_UNREADABLE, SECRET_EXPOSED or CERTIFICATE_UNUSABLE. */
  static async open(files: TlsFiles, identity: string): Promise<CertificateFiles> {
    const state = stateOf(files);
    const certificate = await NodeCertificate.read(files, identity);
    const faults = certificate.faults(unixMs());
    if (faults.length > 0) throw certificateUnusable(faults);
    return new CertificateFiles(files, identity, certificate, state);
  }

  /** The files in use. */
  get certificate(): NodeCertificate {
    return this.#current;
  }

  get context(): SecureContext {
    return this.#context;
  }

  get tlsOptions(): TlsOptions {
    return tlsOptionsOf(this.#current);
  }

  get version(): FilesVersion {
    return this.#version;
  }

  /** @param listener is called when new handshakes use other files. */
  onChange(listener: () => void): void {
    this.#onChange.push(listener);
  }

  /** To be called once a second. */
  async look(listener: FilesListener): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const state = stateOf(this.files);
      if (this.#watch.isDue(state)) await this.#read(state);
      if (this.#candidate !== undefined) this.#judge(this.#candidate, listener);
    } finally {
      this.#isLooking = false;
    }
  }

  /** Faults of the files in use and of changed files that are not used. */
  health(): Health[] {
    const nowMs = unixMs();
    const overdue = this.#current.listFaults(nowMs);
    return [
      ...certificateHealth(this.#current, nowMs),
      ...(this.#refused === undefined ? [] : [faultOf('certificate files', this.#refused)]),
      ...(overdue.length === 0 ? [] : [{ part: 'revocation', message: listed(overdue), sinceMs: 0n }]),
    ];
  }

  async #read(state: string): Promise<void> {
    let found: NodeCertificate | PspError;
    try {
      found = await NodeCertificate.read(this.files, this.identity);
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      found = error;
    }
    // A file that changed meanwhile makes the next look read all of them again.
    if (stateOf(this.files) !== state) return;
    this.#watch.wasRead(state);
    this.#candidate = found;
  }

  #judge(candidate: NodeCertificate | PspError, listener: FilesListener): void {
    const reasons = candidate instanceof PspError ? candidate.message : faultsOf(candidate.faults(unixMs()));
    if (candidate instanceof PspError || reasons !== undefined) {
      const since = new Date(this.#readMs).toISOString();
      const error = new PspError('CERTIFICATE_NOT_RELOADED', { faults: `${reasons}`, since });
      if (error.message === this.#refused?.error.message) return;
      this.#refused = { error, sinceMs: this.#refused?.sinceMs ?? unixMs() };
      listener.filesRefused(error);
      return;
    }
    this.#candidate = undefined;
    this.#refused = undefined;
    this.#readMs = unixMs();
    if (!candidate.isSameForTls(this.#current)) {
      this.#context = createSecureContext(tlsOptionsOf(candidate));
      this.#version = { version: this.#version.version + 1, sinceMs: monotonicMs() };
    }
    const replaced = this.#current;
    this.#current = candidate;
    for (const each of this.#onChange) each();
    replaced.tls.key.fill(0);
    listener.filesChanged(candidate);
  }
}

const faultsOf = (faults: readonly CertificateFault[]): string | undefined =>
  faults.length === 0 ? undefined : listed(faults);

const faultOf = (part: string, { error, sinceMs }: { error: PspError; sinceMs: number }): Health => ({
  part,
  message: `${error.code}: ${error.message}`,
  sinceMs: BigInt(sinceMs),
});

/** Which files the names lead to and when each was last changed; differs after any change. */
function stateOf({ ca, certificate, privateKey, revocationLists, refused }: TlsFiles): string {
  return [ca, certificate, privateKey, revocationLists, refused].map(fileState).join('|');
}
