// SPDX-License-Identifier: Apache-2.0
// The node's own certificate, private key and authority from the files beside the node file, and every fault for which peers
// would reject them: validity period, name, extended key usage, key, chain. `psp config check`, `psp status` and the key
// exchange use the same check. Certificates of peers are verified by the key exchange.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { Health } from '../../../proto/gen/bus.js';
import { PspError } from '../errors.js';
import { identityOf, type NodeConfig, type NodeFiles } from './config.js';
import { soleIdentityOf } from './identity.js';
import { readNodeFile, readSecretFile } from './node_file.js';

export type TlsFiles = Pick<NodeFiles, 'ca' | 'certificate' | 'privateKey'>;

/** A fault of a file. */
export interface CertificateFault {
  file: string;
  expected: string;
  /** The fault as a predicate: "expired on 2026-11-01T00:00:00.000Z". */
  detail: string;
  remedy: string;
}

/** Extended key usages that a gateway needs (RFC 5280, section 4.2.1.12), because each end is client and server. */
const usages = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;

/** Intermediate authorities between a node's certificate and its authority. */
const longestPath = 8;

const newPair =
  'remove node.crt and node.key, issue a new pair with `psp init` where the authority is, copy it here, and restart';
const onePair = 'put both files of one pair there';
const oneAuthority = 'put the ca.crt of the authority that issued node.crt there';

export class NodeCertificate {
  /** Faults that do not depend on the time. */
  readonly #lasting: readonly CertificateFault[];
  /** The chain from the node's certificate towards its authority. */
  readonly #path: readonly { file: string; certificate: X509Certificate }[];
  readonly #authorities: readonly X509Certificate[];

  /** @throws PspError FILE_UNREADABLE for a file with other content. */
  constructor(
    private readonly files: TlsFiles,
    readonly pem: { readonly [file in keyof TlsFiles]: Buffer },
    identity: string,
  ) {
    this.#authorities = certificatesIn(files.ca, pem.ca);
    const chain = certificatesIn(files.certificate, pem.certificate);
    const [own] = chain as [X509Certificate];
    const key = parsed(files.privateKey, 'private key in PEM', () => createPrivateKey(pem.privateKey));
    const faults: CertificateFault[] = [];
    const fault = (file: string, expected: string, detail: string, remedy: string) =>
      faults.push({ file, expected, detail, remedy });
    if (!own.checkPrivateKey(key)) {
      fault(
        files.privateKey,
        `the key of ${files.certificate}`,
        `is not the key of ${files.certificate}`,
        onePair,
      );
    }
    const uri = soleIdentityOf(own.raw);
    if (uri !== identity) {
      const names = uri === undefined ? 'does not hold exactly one URI' : `holds the name ${uri}`;
      fault(
        files.certificate,
        `a certificate of ${identity}`,
        names,
        'put the certificate of this node there',
      );
    }
    const missing = usagesMissing(own);
    if (missing.length > 0) {
      const expected = `a certificate for ${Object.keys(usages).join(' and ')}`;
      fault(files.certificate, expected, `lacks the extended key usage ${missing.join(' and ')}`, newPair);
    }
    const { path, anchor } = pathOf(chain, this.#authorities);
    if (anchor === undefined) {
      const expected = `a certificate issued by an authority in ${files.ca}`;
      fault(files.certificate, expected, `does not lead to an authority in ${files.ca}`, oneAuthority);
    }
    this.#lasting = faults;
    this.#path = [
      ...path.map((certificate) => ({ file: files.certificate, certificate })),
      ...(anchor === undefined ? [] : [{ file: files.ca, certificate: anchor }]),
    ];
  }

  /** The faults of the certificate at an instant. @param nowMs unix milliseconds. */
  faults(nowMs: number): CertificateFault[] {
    const clock = this.#path.flatMap(({ file, certificate }) => {
      const detail = clockFault(certificate, nowMs);
      if (detail === undefined) return [];
      const remedy = file === this.files.ca ? 'renew the authority and what it issued' : newPair;
      return [
        {
          file,
          expected: 'a certificate that is valid now',
          detail,
          remedy: `${remedy}; check the clock first`,
        },
      ];
    });
    return [...this.#lasting, ...clock];
  }

  /** The time at which a certificate of the chain expired, unix milliseconds; 0: none has. */
  expiredSinceMs(nowMs: number): number {
    const ended = this.#path
      .map(({ certificate }) => Date.parse(certificate.validTo))
      .filter((end) => end < nowMs);
    return ended.length === 0 ? 0 : Math.min(...ended);
  }

  /** Whether one of our authorities issued a certificate (DER) directly. */
  hasIssued(der: Uint8Array): boolean {
    try {
      const certificate = new X509Certificate(der);
      return this.#authorities.some((authority) => isIssuedBy(certificate, authority));
    } catch {
      return false;
    }
  }
}

/** Reads the three files. @throws PspError FILE_UNREADABLE if one is missing or has other content; SECRET_EXPOSED. */
export function readNodeCertificate(files: TlsFiles, identity: string): NodeCertificate {
  const pem = {
    ca: readNodeFile(files.ca),
    certificate: readNodeFile(files.certificate),
    privateKey: readSecretFile(files.privateKey),
  };
  return new NodeCertificate(files, pem, identity);
}

/** The certificate of a node file. @throws PspError FILE_UNREADABLE, SECRET_EXPOSED */
export const certificateOf = ({ files, trustDomain, node }: NodeConfig): NodeCertificate =>
  readNodeCertificate(files, identityOf(trustDomain, node));

/** The one error that names all faults. */
export const certificateUnusable = (faults: readonly CertificateFault[]): PspError =>
  new PspError('CERTIFICATE_UNUSABLE', {
    faults: faults.map(({ file, detail, remedy }) => `${file} ${detail}: ${remedy}`).join('; '),
  });

/** The fault in a node's health about its own certificate, if that cannot be used. */
export function certificateHealth(
  certificate: Pick<NodeCertificate, 'faults' | 'expiredSinceMs'>,
  nowMs: number,
): Health[] {
  const faults = certificate.faults(nowMs);
  if (faults.length === 0) return [];
  const { code, message } = certificateUnusable(faults);
  const sinceMs = BigInt(certificate.expiredSinceMs(nowMs));
  return [{ part: 'certificate', message: `${code}: ${message}`, sinceMs }];
}

/** The fault of a certificate's validity period (RFC 5280, section 4.1.2.5), as a predicate. */
export function clockFault(
  { validFrom, validTo }: Pick<X509Certificate, 'validFrom' | 'validTo'>,
  nowMs: number,
): string | undefined {
  const iso = (text: string) => new Date(Date.parse(text)).toISOString();
  if (nowMs > Date.parse(validTo)) return `expired on ${iso(validTo)}`;
  if (nowMs < Date.parse(validFrom)) return `is not valid before ${iso(validFrom)}`;
  return undefined;
}

/** Which of the usages of a gateway a certificate excludes; one without the extension allows all. */
function usagesMissing({ keyUsage }: X509Certificate): string[] {
  const allowed = keyUsage as readonly string[] | undefined;
  if (allowed === undefined) return [];
  return Object.entries(usages)
    .filter(([, oid]) => !allowed.includes(oid))
    .map(([name]) => name);
}

const isIssuedBy = (certificate: X509Certificate, authority: X509Certificate): boolean =>
  authority.ca && certificate.checkIssued(authority) && certificate.verify(authority.publicKey);

/** @returns the certificates from the first of a chain up, and the authority that they lead to, if any. */
function pathOf(
  chain: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): { path: X509Certificate[]; anchor?: X509Certificate } {
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
  return { path };
}

function certificatesIn(file: string, pem: Buffer): X509Certificate[] {
  return parsed(file, 'certificate in PEM', () => {
    const texts = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
    if (texts === null) throw new Error('no certificate');
    return texts.map((text) => new X509Certificate(text));
  });
}

function parsed<T>(file: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    const remedy = 'make it anew with `psp init`';
    throw new PspError('FILE_UNREADABLE', { file, detail: `no ${what}`, remedy }, { cause });
  }
}
