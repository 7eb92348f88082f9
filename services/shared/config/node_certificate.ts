// SPDX-License-Identifier: Apache-2.0
// The node's own certificate and private key, the authorities that it trusts and what they have withdrawn, from the files
// beside the node file; and every fault for which peers would reject them: validity period, name, extended key usage, key,
// chain, revocation. `psp config check`, `psp status` and the key exchange use the same check.
import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { Certificate, Health } from '../../../proto/gen/bus.js';
import { certificatesIn, clockFault } from '../certificates/chain.js';
import { describe } from '../certificates/expiry.js';
import { soleIdentityOf } from '../certificates/identity.js';
import { refusedIn, Trust } from '../certificates/trust.js';
import { PspError } from '../errors.js';
import { identityOf, type NodeConfig, type NodeFiles } from './config.js';
import { readNodeFile, readNodeFileIfAny, readSecretFile } from './node_file.js';

export type TlsFiles = Pick<NodeFiles, 'ca' | 'certificate' | 'privateKey' | 'revocationLists' | 'refused'>;

/** A fault of a file. */
export interface CertificateFault {
  file: string;
  expected: string;
  /** The fault as a predicate: "expired on 2026-11-01T00:00:00.000Z". */
  detail: string;
  remedy: string;
}

/** What TLS is given: the certificates as they were parsed, so that TLS and this check judge the same ones. */
export interface TlsPair {
  ca: readonly string[];
  cert: string;
  key: Buffer;
}

/** The contents of the files; the last two exist only if something was withdrawn. */
interface TlsContents {
  ca: Buffer;
  certificate: Buffer;
  privateKey: Buffer;
  revocationLists: Buffer | undefined;
  refused: Buffer | undefined;
}

/** Extended key usages that a gateway needs (RFC 5280, section 4.2.1.12), because each end is client and server. */
const usages = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;

const newPair =
  'issue a new pair with `psp certs renew` where the authority is, and copy node.crt and node.key here';
const onePair = 'put both files of one pair there';
const oneAuthority = 'put the ca.crt of the authority that issued node.crt there';

export class NodeCertificate {
  /** What this node accepts of peers. */
  readonly trust: Trust;
  /** The certificate of the node, then intermediate authorities. */
  readonly chain: readonly X509Certificate[];
  readonly tls: TlsPair;
  /** Faults that do not depend on the time. */
  readonly #lasting: readonly CertificateFault[];
  /** The chain from the node's certificate towards its authority. */
  readonly #path: readonly { file: string; certificate: X509Certificate }[];

  /** @throws PspError FILE_UNREADABLE for a file with other content. */
  private constructor(
    private readonly files: TlsFiles,
    pem: Pick<TlsContents, 'certificate' | 'privateKey'>,
    trust: Trust,
    identity: string,
  ) {
    this.trust = trust;
    this.chain = parsed(files.certificate, 'certificate in PEM', () =>
      certificatesIn(pem.certificate.toString('latin1')),
    );
    this.tls = {
      ca: trust.authorities.map(String),
      cert: this.chain.join(''),
      key: pem.privateKey,
    };
    const [own] = this.chain as [X509Certificate];
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
    const { path, anchor } = trust.pathOf(this.chain);
    if (anchor === undefined) {
      const expected = `a certificate issued by an authority in ${files.ca}`;
      fault(files.certificate, expected, `does not lead to an authority in ${files.ca}`, oneAuthority);
    }
    const revoked = trust.revocationOf(this.chain);
    if (revoked !== undefined)
      fault(files.certificate, 'a certificate that was not withdrawn', revoked, newPair);
    const refusal = faults.length === 0 ? refusalOf(this.tls) : undefined;
    if (refusal !== undefined)
      fault(files.certificate, 'a pair that TLS accepts', `is not accepted by TLS (${refusal})`, newPair);
    this.#lasting = faults;
    this.#path = [
      ...path.map((certificate) => ({ file: files.certificate, certificate })),
      ...(anchor === undefined ? [] : [{ file: files.ca, certificate: anchor }]),
    ];
  }

  /** Reads the files. @throws PspError FILE_UNREADABLE if one is missing or has other content; SECRET_EXPOSED. */
  static async read(files: TlsFiles, identity: string): Promise<NodeCertificate> {
    const contents = {
      ca: readNodeFile(files.ca),
      certificate: readNodeFile(files.certificate),
      privateKey: readSecretFile(files.privateKey),
      revocationLists: readNodeFileIfAny(files.revocationLists),
      refused: readNodeFileIfAny(files.refused),
    };
    return new NodeCertificate(files, contents, await trustIn(files, contents), identity);
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

  /** Revocation lists without effect and those that are overdue. They prevent nothing else. */
  listFaults(nowMs: number): CertificateFault[] {
    const file = this.files.revocationLists;
    return this.trust.listFaults(nowMs).map((detail) => ({
      file,
      expected: 'current revocation lists of authorities in ca.crt',
      detail,
      remedy: 'put the current list of each authority there',
    }));
  }

  /** The certificates of node.crt, then those of ca.crt. */
  describe(): Certificate[] {
    return [
      ...this.chain.map((each, i) => describe(each, i === 0 ? 'node' : 'intermediate')),
      ...this.trust.authorities.map((each) => describe(each, 'authority')),
    ];
  }

  /** The time at which a certificate of the chain expired, unix milliseconds; 0: none has. */
  expiredSinceMs(nowMs: number): number {
    const ended = this.#path
      .map(({ certificate }) => Date.parse(certificate.validTo))
      .filter((end) => end < nowMs);
    return ended.length === 0 ? 0 : Math.min(...ended);
  }

  /** Whether handshakes do not distinguish the two: they have the same pair and the same authorities. */
  isSameForTls(other: NodeCertificate): boolean {
    const [ours, theirs] = [this.tls, other.tls];
    return ours.ca.join() === theirs.ca.join() && ours.cert === theirs.cert && ours.key.equals(theirs.key);
  }
}

/** The reason for which OpenSSL does not use a pair, such as a key that is too short. */
function refusalOf({ ca, cert, key }: TlsPair): string | undefined {
  try {
    createSecureContext({ ca: [...ca], cert, key });
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'error';
  }
}

/** The certificate of a node file. @throws PspError FILE_UNREADABLE, SECRET_EXPOSED */
export const certificateOf = ({ files, trustDomain, node }: NodeConfig): Promise<NodeCertificate> =>
  NodeCertificate.read(files, identityOf(trustDomain, node));

/** The one error that names all faults. */
export const certificateUnusable = (faults: readonly CertificateFault[]): PspError =>
  new PspError('CERTIFICATE_UNUSABLE', { faults: listed(faults) });

/** Faults on one line, each with its remedy. */
export const listed = (faults: readonly CertificateFault[]): string =>
  faults.map(({ file, detail, remedy }) => `${file} ${detail}: ${remedy}`).join('; ');

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

async function trustIn(files: TlsFiles, { ca, revocationLists, refused }: TlsContents): Promise<Trust> {
  const authorities = parsed(files.ca, 'certificate in PEM', () => certificatesIn(ca.toString('latin1')));
  // Its library takes memory that a node without such lists does not need.
  const reader = revocationLists && (await import('../certificates/revocation_list.js'));
  const lists = parsed(
    files.revocationLists,
    'certificate revocation list in PEM',
    () => (reader && revocationLists && reader.revocationListsIn(revocationLists.toString('latin1'))) ?? [],
    'put a complete list there, or remove the file',
  );
  const fingerprints = parsed(
    files.refused,
    'list of SHA-256 fingerprints',
    () => refusedIn(refused?.toString('utf8') ?? ''),
    'write one fingerprint of 64 hex digits on each line; # begins a comment',
  );
  return new Trust(authorities, lists, fingerprints);
}

/** Which of the usages of a gateway a certificate excludes; one without the extension allows all. */
function usagesMissing({ keyUsage }: X509Certificate): string[] {
  const allowed = keyUsage as readonly string[] | undefined;
  if (allowed === undefined) return [];
  return Object.entries(usages)
    .filter(([, oid]) => !allowed.includes(oid))
    .map(([name]) => name);
}

function parsed<T>(file: string, what: string, parse: () => T, remedy = 'make it anew with `psp init`'): T {
  try {
    return parse();
  } catch (cause) {
    // Errors of OpenSSL have a code, and say nothing to an operator.
    const { message = '' } = cause instanceof Error && !('code' in cause) ? cause : {};
    const reason = message === '' ? '' : ` (${message})`;
    throw new PspError('FILE_UNREADABLE', { file, detail: `no ${what}${reason}`, remedy }, { cause });
  }
}
