// SPDX-License-Identifier: Apache-2.0
// Identities of gateways in certificates: spiffe://<trustDomain>/gateway/<name>, a URI among the subject alternative names.
// A certificate identifies a gateway only if it contains exactly one URI; one that cannot be parsed contains none.
import { X509Certificate } from 'node:crypto';

/** One entry of Node's `subjectAltName`: a label, then a value that is quoted as JSON if it is not plain. */
const entry = /([^:,"]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;

/** The URIs of a `subjectAltName` text as Node prints it; undefined if the text cannot be parsed as a whole. */
export function urisOf(subjectAltName: string): string[] | undefined {
  const uris: string[] = [];
  entry.lastIndex = 0;
  while (entry.lastIndex < subjectAltName.length) {
    const match = entry.exec(subjectAltName);
    if (match === null) return undefined;
    const [, label, value = ''] = match;
    if (label === 'URI') uris.push(value.startsWith('"') ? String(JSON.parse(value)) : value);
  }
  return uris;
}

/** The identity in a certificate (DER): its only URI, else undefined. */
export function soleIdentityOf(der: Uint8Array): string | undefined {
  try {
    const uris = urisOf(new X509Certificate(der).subjectAltName ?? '');
    return uris?.length === 1 ? uris[0] : undefined;
  } catch {
    return undefined;
  }
}
