// SPDX-License-Identifier: Apache-2.0
// Creates the certificates that `psp init` and `psp certs renew` write: one authority for all gateways of an operator, and for each
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
  Pkcs10CertificateRequestGenerator,
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
/** Lifetimes unless the operator says otherwise. */
export const authorityLifetimeMs = 3650 * dayMs;
export const gatewayLifetimeMs = 825 * dayMs;
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
const validity = (nowMs: number, endMs: number) => ({
  notBefore: new Date(nowMs - clockSkewMs),
  notAfter: new Date(endMs),
});

/** An authority that may sign gateways, but no further authority. */
export async function createAuthority(nowMs: number, lifetimeMs = authorityLifetimeMs): Promise<KeyPair> {
  const keys = await newKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: 'CN=PSP gateways',
    ...validity(nowMs, nowMs + lifetimeMs),
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

/** The names of a gateway: its identity, and the last segment of it as a DNS name. */
function namesOf(identity: string) {
  const node = identity.slice(identity.lastIndexOf('/') + 1);
  const names = new SubjectAlternativeNameExtension([
    { type: 'url', value: identity },
    { type: 'dns', value: node },
  ]);
  return { subject: `CN=${node}`, names };
}

const usages = () => [
  new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
  new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
];

/** A gateway's certificate, valid for both ends of a connection. It ends no later than that of its authority. */
export async function createGateway(
  authority: KeyPair,
  identity: string,
  nowMs: number,
  lifetimeMs = gatewayLifetimeMs,
): Promise<KeyPair> {
  const issuer = new X509Certificate(authority.certificate);
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    createPrivateKey(authority.privateKey).export({ type: 'pkcs8', format: 'der' }),
    algorithm,
    false,
    ['sign'],
  );
  const keys = await newKeys();
  const { subject, names } = namesOf(identity);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject,
    issuer: issuer.subject,
    ...validity(nowMs, Math.min(nowMs + lifetimeMs, issuer.notAfter.getTime())),
    signingAlgorithm: algorithm,
    signingKey,
    publicKey: keys.publicKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      ...usages(),
      names,
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, privateKey: pemOf(keys.privateKey) };
}

/** The algorithms of keys that other authorities usually sign, by Node's names of type and curve. */
const requestAlgorithms: Readonly<Record<string, { name: string; namedCurve: string; hash: string }>> = {
  'ec prime256v1': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'ec secp384r1': { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  'rsa ': { name: 'RSASSA-PKCS1-v1_5', namedCurve: '', hash: 'SHA-256' },
};

/**
 * A certificate signing request (PKCS #10) for a gateway with this private key, in PEM.
 * @throws Error for a key of another kind.
 */
export async function createRequest(privateKey: string | Buffer, identity: string): Promise<string> {
  const key = createPrivateKey(privateKey);
  const kind = `${key.asymmetricKeyType} ${key.asymmetricKeyDetails?.namedCurve ?? ''}`;
  const signingAlgorithm = requestAlgorithms[kind];
  if (signingAlgorithm === undefined) throw new Error(`a key of the kind ${kind.trim()}`);
  const { subtle } = webcrypto;
  const octets = key.export({ type: 'pkcs8', format: 'der' });
  const pub = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const { subject, names } = namesOf(identity);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: subject,
    signingAlgorithm,
    keys: {
      privateKey: await subtle.importKey('pkcs8', octets, signingAlgorithm, false, ['sign']),
      publicKey: await subtle.importKey('spki', pub, signingAlgorithm, true, ['verify']),
    },
    extensions: [...usages(), names],
  });
  return `${request.toString('pem')}\n`;
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
