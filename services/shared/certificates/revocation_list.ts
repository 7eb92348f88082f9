// SPDX-License-Identifier: Apache-2.0
// Reads certificate revocation lists (RFC 5280, section 5) in PEM. It is loaded only for a node that has one, because its
// library takes memory. Delta lists are refused: the complete list is needed.
import 'reflect-metadata';
import { verify, type X509Certificate } from 'node:crypto';
import { PemConverter, X509Crl } from '@peculiar/x509';
import { pemBlocks } from './chain.js';
import { type RevocationList, serialOf } from './trust.js';

/** The extension of a delta list (section 5.2.4). */
const deltaIndicator = '2.5.29.27';

/** The lists of a PEM text, one for each authority that has revoked something. @throws Error */
export function revocationListsIn(pem: string): RevocationList[] {
  return pemBlocks(pem, 'X509 CRL').map((text) => listOf(new X509Crl(PemConverter.decodeFirst(text))));
}

function listOf(crl: X509Crl): RevocationList {
  if (crl.getExtension(deltaIndicator) !== null) throw new Error('a delta list');
  const { hash } = crl.signatureAlgorithm as { hash?: { name: string } };
  const [signed, signature] = [signedPartOf(Buffer.from(crl.rawData)), Buffer.from(crl.signature)];
  const signers = new WeakMap<X509Certificate, boolean>();
  const isSignedBy = (authority: X509Certificate): boolean => {
    const known = signers.get(authority);
    if (known !== undefined) return known;
    const isSigner = isVerified(hash?.name, signed, authority, signature);
    signers.set(authority, isSigner);
    return isSigner;
  };
  return {
    issuer: crl.issuer,
    serials: new Set(crl.entries.map(({ serialNumber }) => serialOf(serialNumber))),
    nextUpdateMs: crl.nextUpdate?.getTime(),
    isSignedBy,
  };
}

/** The first element of the outermost sequence (section 5.1). */
function signedPartOf(der: Buffer): Buffer {
  const { start } = contentAt(der, 0);
  return der.subarray(start, contentAt(der, start).end);
}

/** The content of the DER element at an offset (X.690, section 8.1.3). */
function contentAt(der: Buffer, at: number): { start: number; end: number } {
  const length = der.readUInt8(at + 1);
  if (length < 0x80) return { start: at + 2, end: at + 2 + length };
  const start = at + 2 + (length & 0x7f);
  return { start, end: start + der.readUIntBE(at + 2, length & 0x7f) };
}

function isVerified(
  hash: string | undefined,
  signed: Buffer,
  { publicKey }: X509Certificate,
  signature: Buffer,
): boolean {
  try {
    return verify(hash ?? null, signed, publicKey, signature);
  } catch {
    return false;
  }
}
