// SPDX-License-Identifier: Apache-2.0
// Certificates of a PEM file, and the path from a certificate to an authority (RFC 5280, section 6). A file that ends in the
// middle of a certificate is refused as a whole, so that an authority cannot get lost without notice.
import { X509Certificate } from 'node:crypto';

/** The most intermediate authorities between a certificate and its authority. */
const longestPath = 8;

/** The certificates of a PEM text, at least one. @throws Error if there is none, or one cannot be parsed. */
export const certificatesIn = (pem: string): X509Certificate[] =>
  pemBlocks(pem, 'CERTIFICATE').map((text) => new X509Certificate(text));

/** The blocks of a PEM text with a label (RFC 7468), at least one. @throws Error if there is none, or any block is cut. */
export function pemBlocks(pem: string, label: string): string[] {
  const blocks = pem.match(/-----BEGIN ([^-]+)-----[^-]+-----END \1-----/g) ?? [];
  const rest = blocks.reduce((text, block) => text.replace(block, ''), pem);
  if (/^-/m.test(rest)) throw new Error('it is cut');
  const found = blocks.filter((block) => block.startsWith(`-----BEGIN ${label}-----`));
  if (found.length === 0) throw new Error();
  return found;
}

/** Whether an authority signed a certificate and may sign any. */
export const isIssuedBy = (certificate: X509Certificate, authority: X509Certificate): boolean =>
  authority.ca && certificate.checkIssued(authority) && certificate.verify(authority.publicKey);

export interface CertificatePath {
  /** From the first certificate of the chain upwards, without the anchor. */
  path: readonly X509Certificate[];
  /** The trusted authority that the path leads to; undefined if there is none. */
  anchor: X509Certificate | undefined;
}

/** The path from the first certificate of a chain to one of the authorities. */
export function pathOf(
  chain: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): CertificatePath {
  const [own] = chain as [X509Certificate];
  const path = [own];
  for (let last = own; path.length <= longestPath; ) {
    const anchor = authorities.find((each) => each.raw.equals(last.raw) || isIssuedBy(last, each));
    if (anchor !== undefined) return { path, anchor };
    const next = chain.find((each) => !path.includes(each) && isIssuedBy(last, each));
    if (next === undefined) break;
    path.push(next);
    last = next;
  }
  return { path, anchor: undefined };
}

/** The certificates that a peer presented, its own first, as TLS links them. */
export function linkedChain(first: X509Certificate): X509Certificate[] {
  const chain = [first];
  for (let next = first.issuerCertificate; next !== undefined && chain.length <= longestPath; ) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}

/** SHA-256 of a certificate, 64 hex digits in lower case. */
export const fingerprintOf = ({ fingerprint256 }: Pick<X509Certificate, 'fingerprint256'>): string =>
  fingerprint256.replaceAll(':', '').toLowerCase();

/** Start and end of the validity period, unix milliseconds. */
export const validityOf = ({ validFrom, validTo }: Pick<X509Certificate, 'validFrom' | 'validTo'>) => ({
  fromMs: Date.parse(validFrom),
  toMs: Date.parse(validTo),
});

/** The fault of a certificate's validity period (RFC 5280, section 4.1.2.5), as a predicate. */
export function clockFault(
  certificate: Pick<X509Certificate, 'validFrom' | 'validTo'>,
  nowMs: number,
): string | undefined {
  const { fromMs, toMs } = validityOf(certificate);
  if (nowMs > toMs) return `expired on ${new Date(toMs).toISOString()}`;
  if (nowMs < fromMs) return `is not valid before ${new Date(fromMs).toISOString()}`;
  return undefined;
}

/** A distinguished name on one line, as `CN=a, O=b`. */
export const nameOnLine = (name: string): string => name.split('\n').join(', ');
