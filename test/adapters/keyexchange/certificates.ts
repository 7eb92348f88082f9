// SPDX-License-Identifier: Apache-2.0
// Authorities and certificates for tests: those of `psp init`, certificates with names that it would never use, and a
// node's tls folder.
import 'reflect-metadata';
import { createPrivateKey, KeyObject, webcrypto } from 'node:crypto';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
} from '@peculiar/x509';
import { createAuthority, createGateway, type KeyPair } from '../../../cli/node/certificates.js';

export type { KeyPair };

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const dayMs = 86_400_000;

const pemOf = (key: webcrypto.CryptoKey): string =>
  KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString();

/** Deviations of a certificate. */
export interface Unusual {
  /** From now, in milliseconds. */
  from?: number;
  to?: number;
  usages?: ('serverAuth' | 'clientAuth')[];
}

export class Authority {
  private constructor(private readonly pair: KeyPair) {}

  static async create(nowMs = Date.now()): Promise<Authority> {
    return new Authority(await createAuthority(nowMs));
  }

  /** One that may sign intermediate authorities, which that of `psp init` may not. */
  static async root(): Promise<Authority> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const certificate = await X509CertificateGenerator.createSelfSigned({
      name: 'CN=root',
      serialNumber: '4144',
      notBefore: new Date(Date.now() - dayMs),
      notAfter: new Date(Date.now() + dayMs),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
        new SubjectAlternativeNameExtension([{ type: 'url', value: 'spiffe://psp' }]),
      ],
    });
    return new Authority({ certificate: certificate.toString('pem'), privateKey: pemOf(keys.privateKey) });
  }

  get certificate(): string {
    return this.pair.certificate;
  }

  /** An intermediate authority under this one, and its certificate for the files of what it issues. */
  async intermediate(): Promise<Authority> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const certificate = await X509CertificateGenerator.create({
      subject: 'CN=intermediate',
      issuer: new X509Certificate(this.pair.certificate).subject,
      serialNumber: '4143',
      notBefore: new Date(Date.now() - dayMs),
      notAfter: new Date(Date.now() + dayMs),
      signingAlgorithm: algorithm,
      publicKey: keys.publicKey,
      signingKey: await this.#signingKey(),
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
      ],
    });
    return new Authority({ certificate: certificate.toString('pem'), privateKey: pemOf(keys.privateKey) });
  }

  /** A revocation list with these certificates, in PEM. @param nextMs when the next one is due, from now. */
  async revoke(certificates: string[], nextMs = dayMs): Promise<string> {
    const crl = await X509CrlGenerator.create({
      issuer: new X509Certificate(this.pair.certificate).subject,
      thisUpdate: new Date(Date.now() - dayMs),
      nextUpdate: new Date(Date.now() + nextMs),
      entries: certificates.map((pem) => ({ serialNumber: new X509Certificate(pem).serialNumber })),
      signingAlgorithm: algorithm,
      signingKey: await this.#signingKey(),
    });
    // The library's label is not that of RFC 7468, section 6.
    return crl.toString('pem').replaceAll(' CRL-', ' X509 CRL-');
  }

  /** As `psp init` makes it. */
  gateway(identity: string): Promise<KeyPair> {
    return createGateway(this.pair, identity, Date.now());
  }

  /** A valid certificate except for its names and the given deviations. */
  async issue(uris: string[], dns: string[] = [], { from, to, usages }: Unusual = {}): Promise<KeyPair> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const names = [
      ...uris.map((value) => ({ type: 'url' as const, value })),
      ...dns.map((value) => ({ type: 'dns' as const, value })),
    ];
    const certificate = await X509CertificateGenerator.create({
      subject: 'CN=test',
      issuer: new X509Certificate(this.pair.certificate).subject,
      serialNumber: '4142',
      notBefore: new Date(Date.now() + (from ?? -dayMs)),
      notAfter: new Date(Date.now() + (to ?? dayMs)),
      signingAlgorithm: algorithm,
      publicKey: keys.publicKey,
      signingKey: await this.#signingKey(),
      extensions: [
        ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
        ...(usages ? [new ExtendedKeyUsageExtension(usages.map((usage) => ExtendedKeyUsage[usage]))] : []),
      ],
    });
    return {
      certificate: certificate.toString('pem'),
      privateKey: pemOf(keys.privateKey),
    };
  }

  #signingKey() {
    const octets = createPrivateKey(this.pair.privateKey).export({ type: 'pkcs8', format: 'der' });
    return webcrypto.subtle.importKey('pkcs8', octets, algorithm, false, ['sign']);
  }
}

/** Writes folder/tls/{ca.crt,node.crt,node.key}. */
export function writeTls(folder: string, ca: string, pair: KeyPair): void {
  mkdirSync(join(folder, 'tls'), { recursive: true });
  writeFileSync(join(folder, 'tls/ca.crt'), ca);
  writeFileSync(join(folder, 'tls/node.crt'), pair.certificate);
  writeFileSync(join(folder, 'tls/node.key'), pair.privateKey, { mode: 0o640 });
}

/** Replaces a file of the tls folder by a rename, so that no reader ever sees a part of it. */
export function replaceTls(folder: string, file: string, content: string): void {
  const draft = join(folder, 'tls', `${file}.new`);
  writeFileSync(draft, content, { mode: 0o640 });
  renameSync(draft, join(folder, 'tls', file));
}
