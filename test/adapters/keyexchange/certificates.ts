// SPDX-License-Identifier: Apache-2.0
// Authorities and certificates for tests: those of `psp init`, certificates with names that it would never use, and a
// node's tls folder.
import 'reflect-metadata';
import { createPrivateKey, KeyObject, webcrypto } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { createAuthority, createGateway, type KeyPair } from '../../../cli/node/certificates.js';

export type { KeyPair };

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const dayMs = 86_400_000;

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

  get certificate(): string {
    return this.pair.certificate;
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
      privateKey: KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString(),
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
