// SPDX-License-Identifier: Apache-2.0
// `psp certs` as root on folders of `psp init` and on the files of a running key exchange; openssl judges what it makes.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../../cli/program.js';
import { loadConfig } from '../../../services/shared/config/config.js';
import { certificateOf } from '../../../services/shared/config/node_certificate.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { expectSchema } from '../../json_schema.js';
import { Authority, replaceTls } from '../keyexchange/certificates.js';
import { freePorts, startNode, unhurried } from '../keyexchange/rig.js';
import { keepPrinted } from '../shared/printed.js';
import { eventually } from '../shared/waiting.js';

const dayMs = 86_400_000;
let dir: string;
const said = keepPrinted();
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'psp-certs-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

const examples = fromPackageRoot('deploy/examples/two-nodes');
const psp = async (...args: string[]) => {
  said.stdout = '';
  said.stderr = '';
  return run(args);
};
const init = (...args: string[]) => psp('init', 'a', 'b', '--dir', dir, '--from', examples, ...args);
const renew = (...args: string[]) => psp('certs', 'renew', '--dir', dir, ...args);
const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' });
const path = (file: string) => join(dir, file);
const daysOf = (file: string): number =>
  Math.round(
    (Date.parse(openssl('x509', '-in', path(file), '-noout', '-enddate').slice(9)) - Date.now()) / dayMs,
  );
const fingerprint = (file: string) => openssl('x509', '-in', path(file), '-noout', '-fingerprint', '-sha256');
const accessOf = (file: string) => {
  const { mode, uid, gid } = statSync(path(file));
  return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
};
/** As the key exchange and `psp config check` judge a node's files. */
const faultsOf = async (node: string) =>
  (await certificateOf(loadConfig(path(`${node}/node.yaml`), {})))
    .faults(Date.now())
    .map(({ detail }) => detail);

describe('lifetimes', () => {
  it('are 825 days for a node and 3650 days for the authority, unless options of psp init set others', async () => {
    expect(await init()).toBe(0);
    expect([daysOf('a/tls/node.crt'), daysOf('ca/ca.crt')]).toEqual([825, 3650]);
    rmSync(dir, { recursive: true });
    expect(await init('--lifetime', '30d', '--ca-lifetime', '48h')).toBe(0);
    // A certificate does not outlive its authority.
    expect([daysOf('a/tls/node.crt'), daysOf('ca/ca.crt')]).toEqual([2, 2]);
    expect(await renew('--lifetime', '24h')).toBe(0);
    expect([daysOf('a/tls/node.crt'), daysOf('b/tls/node.crt')]).toEqual([1, 1]);
  });

  it('have a unit and a limit', async () => {
    for (const lifetime of ['30', '59s', '36501d', 'forever', '']) {
      expect(await init('--lifetime', lifetime), lifetime).toBe(2);
      expect(said.stderr).toContain('a duration from 1m to 36500d is expected');
    }
  });
});

describe('psp certs renew', () => {
  it('makes a new pair for one node or for all, with the owner and mode of psp init, and no other change', async () => {
    await init();
    const access = ['a/tls/node.crt', 'a/tls/node.key'].map(accessOf);
    const before = ['a/tls/node.crt', 'b/tls/node.crt'].map(fingerprint);
    const others = ['ca/ca.crt', 'ca/ca.key', 'a/tls/ca.crt', 'a/bus.secret', 'a/node.yaml'].map((file) =>
      readFileSync(path(file), 'hex'),
    );
    const key = readFileSync(path('a/tls/node.key'), 'utf8');
    expect(await renew('a', '--json')).toBe(0);
    expectSchema('certs_renew', JSON.parse(said.stdout));
    expect(JSON.parse(said.stdout).made).toEqual([path('a/tls/node.key'), path('a/tls/node.crt')]);
    expect(fingerprint('a/tls/node.crt')).not.toBe(before[0]);
    expect(fingerprint('b/tls/node.crt')).toBe(before[1]);
    expect(readFileSync(path('a/tls/node.key'), 'utf8')).not.toBe(key);
    expect(['a/tls/node.crt', 'a/tls/node.key'].map(accessOf)).toEqual(access);
    expect(await renew()).toBe(0);
    expect(fingerprint('b/tls/node.crt')).not.toBe(before[1]);
    expect(await faultsOf('a')).toEqual([]);
    expect(await faultsOf('b')).toEqual([]);
    for (const purpose of ['sslserver', 'sslclient']) {
      const verify = ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', path('ca/ca.crt')];
      expect(openssl(...verify, path('b/tls/node.crt'))).toContain(': OK');
    }
    expect(
      ['ca/ca.crt', 'ca/ca.key', 'a/tls/ca.crt', 'a/bus.secret', 'a/node.yaml'].map((file) =>
        readFileSync(path(file), 'hex'),
      ),
    ).toEqual(others);
  });

  it('replaces the authority in the steps of the documentation, and the files of a node are good after each', async () => {
    await init();
    const areGood = async () => expect([await faultsOf('a'), await faultsOf('b')]).toEqual([[], []]);
    const old = readFileSync(path('a/tls/ca.crt'), 'utf8');
    renameSync(path('ca'), path('ca-old'));
    expect(await init()).toBe(0);
    const next = readFileSync(path('ca/ca.crt'), 'utf8');
    expect(next).not.toBe(old);
    // The nodes do not trust the new authority yet.
    const before = fingerprint('b/tls/node.crt');
    writeFileSync(path('a/tls/ca.crt'), old + next);
    expect(await renew()).toBe(1);
    expect(said.stderr).toMatch(
      /^psp: CERTIFICATE_UNUSABLE: .*b\/tls\/ca\.crt does not contain the authority.*append ca\/ca\.crt/,
    );
    expect(fingerprint('b/tls/node.crt')).toBe(before);
    await areGood();
    writeFileSync(path('b/tls/ca.crt'), old + next);
    expect(await renew()).toBe(0);
    await areGood();
    for (const node of ['a', 'b']) writeFileSync(path(`${node}/tls/ca.crt`), next);
    await areGood();
    expect(openssl('verify', '-CAfile', path('ca/ca.crt'), path('b/tls/node.crt'))).toContain(': OK');
  });

  it('names the folder, the node or the authority that it lacks', async () => {
    expect(await renew()).toBe(1);
    expect(said.stderr).toMatch(/FILE_UNREADABLE: .*ca\/ca\.crt .*--dir/);
    await init();
    expect(await renew('c')).toBe(1);
    expect(said.stderr).toMatch(/FILE_UNREADABLE: .*c\/node\.yaml/);
    expect(await psp('certs', 'renew')).toBe(2);
  });
});

describe('psp certs csr', () => {
  it('prints a request with the names of the node, which another authority can sign', async () => {
    await init();
    const config = path('a/node.yaml');
    expect(await psp('certs', 'csr', '-c', config)).toBe(0);
    writeFileSync(path('csr'), said.stdout);
    const text = openssl('req', '-in', path('csr'), '-noout', '-text', '-verify');
    expect(text).toContain('URI:spiffe://psp/gateway/a, DNS:a');
    expect(text).toMatch(/TLS Web Server Authentication, TLS Web Client Authentication/);
    expect(said.stdout).not.toContain('PRIVATE');
    const subject = ['-nodes', '-subj', '/CN=external', '-keyout', path('x.key'), '-out', path('x.crt')];
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-days', '9', ...subject);
    const signed = ['-CA', path('x.crt'), '-CAkey', path('x.key'), '-copy_extensions', 'copy', '-days', '3'];
    openssl('x509', '-req', '-in', path('csr'), ...signed, '-out', path('a/tls/node.crt'));
    writeFileSync(path('a/tls/ca.crt'), readFileSync(path('x.crt')));
    expect(await faultsOf('a')).toEqual([]);
    expect(await psp('certs', 'csr', '-c', config, '--json')).toBe(0);
    expectSchema('certs_csr', JSON.parse(said.stdout));
  });

  it('accepts the keys that authorities accept, and names any other', async () => {
    await init();
    const key = path('a/tls/node.key');
    const kinds = [
      ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
      ['EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
    ];
    for (const kind of kinds) {
      openssl('genpkey', '-algorithm', ...(kind as [string]), '-out', key);
      expect(await psp('certs', 'csr', '-c', path('a/node.yaml'))).toBe(0);
      writeFileSync(path('csr'), said.stdout);
      expect(openssl('req', '-in', path('csr'), '-noout', '-pubkey')).toBe(
        openssl('pkey', '-in', key, '-pubout'),
      );
    }
    openssl('genpkey', '-algorithm', 'ED25519', '-out', key);
    expect(await psp('certs', 'csr', '-c', path('a/node.yaml'))).toBe(1);
    expect(said.stderr).toMatch(/FILE_UNREADABLE: .*node\.key .*ed25519.*RSA key/);
  });
});

describe('psp certs show', () => {
  it('shows dates, issuer, names and fingerprints, and what is wrong, without a running node', async () => {
    await init('--lifetime', '12h');
    expect(await psp('certs', 'show', '-c', path('a/node.yaml'))).toBe(0);
    const digits = fingerprint('a/tls/node.crt').split('=')[1]?.trim().replaceAll(':', '').toLowerCase();
    expect(said.stdout).toMatch(
      new RegExp(`^node +spiffe://psp/gateway/a +CN=PSP gateways +\\S+ +\\S+ +11 hours +${digits} +-$`, 'm'),
    );
    expect(said.stdout).toMatch(/^authority +CN=PSP gateways +CN=PSP gateways .* 3649 days /m);
    expect(said.stdout).toContain('the key exchange of this node does not run');
    writeFileSync(path('a/tls/ca.crt'), (await Authority.create()).certificate);
    expect(await psp('certs', 'show', '-c', path('a/node.yaml'))).toBe(0);
    expect(said.stdout).toMatch(/^! .*node\.crt does not lead to an authority/);
  });

  it('shows which certificates the running node uses, and what each peer presented last', async () => {
    const authority = await Authority.create();
    const ports = await freePorts('a', 'b');
    const a = await startNode('a', authority, { ports, times: unhurried });
    const b = await startNode('b', authority, { ports, times: unhurried });
    try {
      writeFileSync(join(a.folder, 'nats/operator.password'), a.nats.passwords.operator, { mode: 0o640 });
      const config = join(a.folder, 'node.yaml');
      await eventually(async () => expect((await a.status()).peers[0]?.certificate).toBeDefined());
      expect(await psp('certs', 'show', '-c', config, '--json')).toBe(0);
      const shown = JSON.parse(said.stdout);
      expectSchema('certs_show', shown);
      expect(shown.certificates.map((each: { inUse: boolean }) => each.inUse)).toEqual([true, true]);
      expect(shown.peers).toMatchObject([{ name: 'b', certificate: { identity: 'spiffe://psp/gateway/b' } }]);
      // The key of another certificate: the node does not use these files.
      const { certificate } = await authority.gateway('spiffe://psp/gateway/a');
      replaceTls(a.folder, 'node.crt', certificate);
      expect(await psp('certs', 'show', '-c', config)).toBe(0);
      expect(said.stdout).toMatch(/^! .*node\.key is not the key of/);
      expect(said.stdout).toMatch(/^node +spiffe:\/\/psp\/gateway\/a .* NO$/m);
      expect(said.stdout).toMatch(/^b +\d+ s ago +spiffe:\/\/psp\/gateway\/b /m);
    } finally {
      await a.stop();
      await b.stop();
    }
  });
});
