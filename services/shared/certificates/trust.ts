// SPDX-License-Identifier: Apache-2.0
// Which certificates are accepted: those that lead to one of our authorities, are valid now, and were not withdrawn by a
// certificate revocation list (RFC 5280, section 5) or by the list of refused fingerprints. The same judgement serves
// `psp config check`, the start, handshakes, and connections that are established already. A revocation list that is due for
// an update stays in force.
import type { X509Certificate } from 'node:crypto';
import { type CertificatePath, clockFault, fingerprintOf, pathOf, validityOf } from './chain.js';

/** A certificate revocation list. */
export interface RevocationList {
  /** Name of its issuer on one line. */
  issuer: string;
  /** As `serialOf` writes them. */
  serials: ReadonlySet<string>;
  /** When its issuer will have published the next one, unix milliseconds; undefined: it does not say. */
  nextUpdateMs: number | undefined;
  isSignedBy(authority: X509Certificate): boolean;
}

/** Why a chain is not accepted, with the reason as a predicate of a certificate. */
export interface TrustFault {
  kind: 'untrusted' | 'revoked' | 'dates';
  detail: string;
}

interface Judged extends CertificatePath {
  /** Independent of the time. */
  lasting: TrustFault | undefined;
}

/** A serial number in hex, comparable between sources. */
export const serialOf = (hex: string): string => hex.toUpperCase().replace(/^0+(?=.)/, '');

/** The fingerprints of a list: one on each line, with or without colons; `#` begins a comment. @throws Error */
export function refusedIn(text: string): Set<string> {
  const refused = new Set<string>();
  for (const [i, line] of text.split('\n').entries()) {
    const content = line.replace(/#.*/, '').replace(/^.*fingerprint=/i, '');
    const digits = content.trim().replaceAll(':', '').toLowerCase();
    if (digits === '') continue;
    if (!/^[0-9a-f]{64}$/.test(digits)) throw new Error(`line ${i + 1} is no SHA-256 fingerprint`);
    refused.add(digits);
  }
  return refused;
}

export class Trust {
  /** By the first certificate of a chain: a path is verified once. */
  readonly #judged = new WeakMap<X509Certificate, Judged>();

  constructor(
    readonly authorities: readonly X509Certificate[],
    readonly lists: readonly RevocationList[] = [],
    /** SHA-256 fingerprints, as `fingerprintOf` writes them. */
    readonly refused: ReadonlySet<string> = new Set(),
  ) {}

  /** The reason for which a chain is not accepted at an instant; undefined if it is. @param nowMs unix milliseconds. */
  faultOf(chain: readonly X509Certificate[], nowMs: number): TrustFault | undefined {
    const { path, anchor, lasting } = this.#judge(chain);
    if (lasting !== undefined) return lasting;
    for (const certificate of anchor === undefined ? path : [...path, anchor]) {
      const detail = clockFault(certificate, nowMs);
      if (detail !== undefined) return { kind: 'dates', detail };
    }
    return undefined;
  }

  /** The reason for which a chain was withdrawn, as a predicate, whatever its dates. */
  revocationOf(chain: readonly X509Certificate[]): string | undefined {
    const { lasting } = this.#judge(chain);
    return lasting?.kind === 'revoked' ? lasting.detail : undefined;
  }

  /** The path of a chain to one of the authorities. */
  pathOf(chain: readonly X509Certificate[]): CertificatePath {
    return this.#judge(chain);
  }

  /** When the first certificate of the path of a chain expires, unix milliseconds. */
  expiryOf(chain: readonly X509Certificate[]): number {
    const { path, anchor } = this.#judge(chain);
    return Math.min(...[...path, ...(anchor ? [anchor] : [])].map((each) => validityOf(each).toMs));
  }

  /** Revocation lists that no authority of ours issued, and those whose update is overdue, as predicates. */
  listFaults(nowMs: number): string[] {
    return this.lists.flatMap(({ issuer, nextUpdateMs, isSignedBy }) => {
      if (!this.authorities.some(isSignedBy))
        return [`has a list of ${issuer}, which is no authority of ours`];
      if (nextUpdateMs === undefined || nowMs <= nextUpdateMs) return [];
      return [
        `has a list of ${issuer} that was due for an update on ${new Date(nextUpdateMs).toISOString()}`,
      ];
    });
  }

  #judge(chain: readonly X509Certificate[]): Judged {
    const [first] = chain as [X509Certificate];
    const known = this.#judged.get(first);
    if (known !== undefined) return known;
    const found = pathOf(chain, this.authorities);
    const judged = { ...found, lasting: this.#lastingFault(found) };
    this.#judged.set(first, judged);
    return judged;
  }

  #lastingFault({ path, anchor }: CertificatePath): TrustFault | undefined {
    if (anchor === undefined) return { kind: 'untrusted', detail: 'does not lead to an authority of ours' };
    const all = [...path, anchor];
    const refused = all.find((each) => this.refused.has(fingerprintOf(each)));
    if (refused !== undefined) return { kind: 'revoked', detail: 'is in the list of refused fingerprints' };
    for (const [i, certificate] of path.entries()) {
      const issuer = all[i + 1] ?? anchor;
      const serial = serialOf(certificate.serialNumber);
      if (this.lists.some((list) => list.serials.has(serial) && list.isSignedBy(issuer)))
        return { kind: 'revoked', detail: 'was revoked by its authority' };
    }
    return undefined;
  }
}
