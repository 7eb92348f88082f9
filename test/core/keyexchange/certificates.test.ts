// SPDX-License-Identifier: Apache-2.0
// Decisions about certificates, on a virtual clock: which are accepted, when files are read again, when connections are
// renewed, and when an operator is warned.
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Certificate } from '../../../proto/gen/bus.js';
import { ExpiryWatch } from '../../../services/keyexchange/core/expiry_watch.js';
import { isRenewalDue } from '../../../services/keyexchange/core/renewal.js';
import { certificatesIn, fingerprintOf } from '../../../services/shared/certificates/chain.js';
import { timeLeft } from '../../../services/shared/certificates/expiry.js';
import { revocationListsIn } from '../../../services/shared/certificates/revocation_list.js';
import { refusedIn, Trust } from '../../../services/shared/certificates/trust.js';
import { FileWatch } from '../../../services/shared/config/file_watch.js';
import { Authority } from '../../adapters/keyexchange/certificates.js';

const dayMs = 86_400_000;
const identity = 'spiffe://psp/gateway/b';
const parsed = (pem: string) => new X509Certificate(pem);

describe('trust', () => {
  let authority: Authority;
  let other: Authority;
  let leaf: X509Certificate;
  let nowMs: number;
  beforeAll(async () => {
    authority = await Authority.create();
    other = await Authority.create();
    leaf = parsed((await authority.gateway(identity)).certificate);
    nowMs = Date.now();
  });
  const trusting = (...authorities: Authority[]) =>
    new Trust(authorities.map(({ certificate }) => parsed(certificate)));

  it('accepts what leads to one of several authorities, within its validity period', () => {
    const trust = trusting(other, authority);
    expect(trust.faultOf([leaf], nowMs)).toBeUndefined();
    expect(trust.faultOf([leaf], nowMs + 900 * dayMs)).toMatchObject({ kind: 'dates' });
    expect(trust.faultOf([leaf], nowMs - dayMs)).toMatchObject({ kind: 'dates' });
    expect(trust.faultOf([leaf], nowMs)).toBeUndefined();
    expect(trusting(other).faultOf([leaf], nowMs)).toMatchObject({ kind: 'untrusted' });
  });

  it('needs every intermediate authority of a chain', async () => {
    const root = await Authority.root();
    const intermediate = await root.intermediate();
    const below = parsed((await intermediate.issue([identity])).certificate);
    const trust = trusting(root);
    expect(trust.faultOf([below, parsed(intermediate.certificate)], nowMs)).toBeUndefined();
    const again = parsed(below.toString());
    expect(trusting(root).faultOf([again], nowMs)).toMatchObject({ kind: 'untrusted' });
    const listed = revocationListsIn(await root.revoke([intermediate.certificate]));
    const withList = new Trust(trust.authorities, listed);
    expect(withList.faultOf([below, parsed(intermediate.certificate)], nowMs)).toMatchObject({
      kind: 'revoked',
    });
  });

  it('refuses what a list of its own authority revokes, in one of several lists', async () => {
    const pem = `${await other.revoke([])}\n${await authority.revoke([leaf.toString()])}`;
    const trust = new Trust(trusting(authority, other).authorities, revocationListsIn(pem));
    expect(trust.faultOf([leaf], nowMs)).toMatchObject({ kind: 'revoked' });
    expect(trust.listFaults(nowMs)).toEqual([]);
    const foreign = revocationListsIn(await other.revoke([leaf.toString()]));
    const both = new Trust(trusting(authority, other).authorities, foreign);
    expect(both.faultOf([leaf], nowMs)).toBeUndefined();
  });

  it('refuses what is in the list of fingerprints, and anything else that the list could mean is a fault', () => {
    const colons = leaf.fingerprint256;
    for (const line of [
      colons,
      fingerprintOf(leaf),
      ` ${colons}  # stolen`,
      `sha256 Fingerprint=${colons}`,
    ]) {
      const trust = new Trust(trusting(authority).authorities, [], refusedIn(`# refused\n\n${line}\n`));
      expect(trust.faultOf([leaf], nowMs)).toMatchObject({ kind: 'revoked' });
    }
    expect(() => refusedIn(`${colons}\n${colons.slice(3)}\n`)).toThrow('line 2 is no SHA-256 fingerprint');
  });

  it('reads no part of a file', async () => {
    const two = `${authority.certificate}${other.certificate}`;
    expect(certificatesIn(two)).toHaveLength(2);
    for (let length = 1; length < two.length - 1; length++) {
      const cut = two.slice(0, length);
      if (cut.trimEnd() === authority.certificate.trimEnd()) continue;
      expect(() => certificatesIn(cut), `${length} octets`).toThrow();
    }
    const list = await authority.revoke([leaf.toString()]);
    for (let length = 0; length < list.trimEnd().length; length++) {
      expect(() => revocationListsIn(list.slice(0, length)), `${length} octets`).toThrow();
    }
  });

  it('reads the lists of openssl', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'psp-crl-'));
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
    try {
      writeFileSync(join(folder, 'index'), '');
      writeFileSync(join(folder, 'conf'), '[ca]\ndefault_ca=a\n[a]\ndatabase=index\ndefault_md=sha384\n');
      openssl(
        'req',
        '-x509',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-keyout',
        'ca.key',
        '-out',
        'ca.crt',
        '-subj',
        '/CN=rsa',
      );
      openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key', '-out', 'csr', '-subj', '/CN=b');
      openssl(
        'x509',
        '-req',
        '-in',
        'csr',
        '-CA',
        'ca.crt',
        '-CAkey',
        'ca.key',
        '-set_serial',
        '0x00c0ffee',
        '-out',
        'crt',
      );
      const own = ['-config', 'conf', '-cert', 'ca.crt', '-keyfile', 'ca.key'];
      openssl('ca', ...own, '-revoke', 'crt');
      openssl('ca', ...own, '-gencrl', '-crldays', '3', '-out', 'crl');
      const text = (name: string) => readFileSync(join(folder, name), 'utf8');
      const lists = revocationListsIn(text('crl'));
      const trust = new Trust([parsed(text('ca.crt'))], lists);
      expect(trust.faultOf([parsed(text('crt'))], nowMs + 60_000)).toMatchObject({ kind: 'revoked' });
      expect(trust.listFaults(nowMs)).toEqual([]);
      expect(trust.listFaults(nowMs + 4 * dayMs)).toEqual([expect.stringContaining('was due for an update')]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('changed files', () => {
  it('are read once two looks found the same new state, and once only', () => {
    const watch = new FileWatch('one');
    expect(['one', 'two', 'three', 'three'].map((state) => watch.isDue(state))).toEqual([
      false,
      false,
      false,
      true,
    ]);
    watch.wasRead('three');
    expect(watch.isDue('three')).toBe(false);
    expect(['one', 'one'].map((state) => watch.isDue(state))).toEqual([false, true]);
  });

  it('that change while they are read are read again', () => {
    const watch = new FileWatch('one');
    watch.isDue('two');
    expect(watch.isDue('two')).toBe(true);
    // The reader does not report the state, because it found another one afterwards.
    expect(['three', 'three'].map((state) => watch.isDue(state))).toEqual([false, true]);
  });
});

describe('a connection of our client', () => {
  const year = 365 * dayMs;
  const files = { version: 1, sinceMs: 0 };
  const age = { sinceMs: 1000, version: 1, peerExpiresMs: year };
  const at = (monotonicMs: number, unixMs = 0) => ({ monotonicMs, unixMs });

  it('is renewed at its age, with a jitter, and always below that of the server and ten minutes', () => {
    expect(isRenewalDue(age, files, 0, undefined, at(360_999))).toBe(false);
    expect(isRenewalDue(age, files, 0, undefined, at(361_000))).toBe(true);
    expect(isRenewalDue(age, files, 1, undefined, at(440_999))).toBe(false);
    expect(isRenewalDue(age, files, 1, undefined, at(441_001))).toBe(true);
  });

  it('is renewed within four seconds after our files changed', () => {
    const changed = { version: 2, sinceMs: 50_000 };
    expect(isRenewalDue(age, changed, 1, undefined, at(53_999))).toBe(false);
    expect(isRenewalDue(age, changed, 1, undefined, at(54_000))).toBe(true);
    expect(isRenewalDue(age, changed, 0, undefined, at(50_000))).toBe(true);
  });

  it('is renewed before the certificate of the peer expires, by the clock that may have been set', () => {
    expect(isRenewalDue(age, files, 0.5, undefined, at(20_000, year - 60_001))).toBe(false);
    expect(isRenewalDue(age, files, 0.5, undefined, at(20_000, year - 60_000))).toBe(true);
    // One that was established just now presents the same certificate.
    expect(isRenewalDue(age, files, 0.5, undefined, at(10_999, year - 30_000))).toBe(false);
  });

  it('is not renewed again for a while after a failure', () => {
    expect(isRenewalDue(age, files, 0, 500_000, at(509_999))).toBe(false);
    expect(isRenewalDue(age, files, 0, 500_000, at(510_000))).toBe(true);
  });
});

describe('warnings about expiry', () => {
  const certificate = (fromMs: number, toMs: number, fingerprint = 'aa'): Certificate => ({
    kind: 'node',
    subject: 'CN=a',
    issuer: 'CN=ca',
    identity,
    fingerprint,
    notBeforeMs: BigInt(fromMs),
    notAfterMs: BigInt(toMs),
  });

  it('are given 30, 7 and 1 days before, each once, and the notice lasts', () => {
    const watch = new ExpiryWatch();
    const end = 365 * dayMs;
    const given: [number, number][] = [];
    for (let ms = 0; ms <= end + dayMs; ms += 60_000 * 30) {
      for (const { days } of watch.due([certificate(0, end)], ms)) given.push([days, (end - ms) / dayMs]);
      const isNoticed = watch.warnings([certificate(0, end)], ms).length === 1;
      expect(isNoticed).toBe(ms >= end - 30 * dayMs && ms <= end);
    }
    expect(given).toEqual([
      [30, 30],
      [7, 7],
      [1, 1],
    ]);
  });

  it('are given when the clock is set forward past several, and again after it was set back', () => {
    const watch = new ExpiryWatch();
    const certificates = [certificate(0, 365 * dayMs)];
    const daysAt = (day: number) => watch.due(certificates, day * dayMs).map(({ days }) => days);
    expect([daysAt(10), daysAt(360), daysAt(361), daysAt(10), daysAt(360)]).toEqual([[], [7], [], [], [7]]);
  });

  it('about a short-lived certificate begin when a third of its lifetime is left', () => {
    const watch = new ExpiryWatch();
    const hour = [certificate(0, 3_600_000)];
    expect(watch.due(hour, 2_399_000)).toEqual([]);
    const [warning] = watch.due(hour, 2_400_000);
    expect(warning?.message).toBe(
      'the node certificate CN=a expires in 20 minutes, on 1970-01-01T01:00:00.000Z; issue a new one with `psp certs renew`',
    );
    expect(watch.due(hour, 3_500_000)).toEqual([]);
    // A new certificate has warnings of its own.
    expect(watch.due([certificate(3_000_000, 6_600_000, 'bb')], 3_500_000)).toEqual([]);
    expect(watch.due([certificate(3_000_000, 6_600_000, 'bb')], 6_000_000)).toHaveLength(1);
  });

  it('show the time left in a unit that fits', () => {
    const texts = [0, 59_000, 7_199_000, 7_200_000, 2 * dayMs - 1, 2 * dayMs, 29.9 * dayMs].map((left) =>
      timeLeft(BigInt(left), 0),
    );
    expect(texts).toEqual([
      '0 minutes',
      '0 minutes',
      '119 minutes',
      '2 hours',
      '47 hours',
      '2 days',
      '29 days',
    ]);
    expect(timeLeft(0n, 1)).toBe('expired');
  });
});
