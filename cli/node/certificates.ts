// SPDX-License-Identifier: Apache-2.0
// Creates the certificates that `psp init` writes: one authority for all gateways of an operator, and for each
// gateway a certificate with two alternative names: its identity, which is its only URI, and its node name as a DNS
// name, because gRPC clients other than ours check the host name (RFC 6125). EC P-256 throughout. Texts are PEM; a
// private key stays in memory only until it is written.
import 'reflect-metadata';
import {
  createPrivateKey,
  createPublicKey,
  KeyObject,
  X509Certificate as NodeCertificate,
  randomBytes,
  webcrypto,
} from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

/** A certificate and the private key (PKCS #8) that belongs to it. */
export interface KeyPair {
  certificate: string;
  privateKey: string;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const dayMs = 86_400_000;
const authorityDays = 3650;
const gatewayDays = 825;
/** Certificates are valid from a time in the past, for gateways whose clock is slow. */
const clockSkewMs = 3_600_000;

const newKeys = () => webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
const pemOf = (key: webcrypto.CryptoKey): string =>
  KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString();
/** 127 random bits: positive and unique. */
const newSerial = (): string => {
  const octets = randomBytes(16);
  octets[0] = ((octets[0] as number) & 0x7f) | 0x40;
  return octets.toString('hex');
};
const validity = (nowMs: number, days: number) => ({
  notBefore: new Date(nowMs - clockSkewMs),
  notAfter: new Date(nowMs + days * dayMs),
});

/** An authority that may sign gateways, but no further authority. */
export async function createAuthority(nowMs: number): Promise<KeyPair> {
  const keys = await newKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: 'CN=PSP gateways',
    ...validity(nowMs, authorityDays),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, privateKey: pemOf(keys.privateKey) };
}

/** A gateway's certificate, valid for both ends of a connection. The DNS name is the last segment of `identity`. */
export async function createGateway(authority: KeyPair, identity: string, nowMs: number): Promise<KeyPair> {
  const issuer = new X509Certificate(authority.certificate);
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    createPrivateKey(authority.privateKey).export({ type: 'pkcs8', format: 'der' }),
    algorithm,
    false,
    ['sign'],
  );
  const keys = await newKeys();
  const node = identity.slice(identity.lastIndexOf('/') + 1);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: `CN=${node}`,
    issuer: issuer.subject,
    ...validity(nowMs, gatewayDays),
    signingAlgorithm: algorithm,
    signingKey,
    publicKey: keys.publicKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension([
        { type: 'url', value: identity },
        { type: 'dns', value: node },
      ]),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, privateKey: pemOf(keys.privateKey) };
}

/** Whether both can be parsed and belong together. */
export function isPair({ certificate, privateKey }: KeyPair): boolean {
  try {
    const inCertificate = new NodeCertificate(certificate).publicKey;
    return createPublicKey(privateKey).equals(inCertificate);
  } catch {
    return false;
  }
}
