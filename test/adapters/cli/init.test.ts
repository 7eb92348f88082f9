// SPDX-License-Identifier: Apache-2.0
// `psp init` on a real folder as root: the files that it writes, their owners, and that openssl accepts its
// certificates.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../../cli/program.js';
import { readBusSecret, readPassword } from '../../../services/shared/bus/secret.js';
import { soleIdentityOf } from '../../../services/shared/certificates/identity.js';
import { loadConfig } from '../../../services/shared/config/config.js';
import { busUsers } from '../../../services/shared/contracts.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { expectSchema } from '../../json_schema.js';
import { keepPrinted } from '../shared/printed.js';

let dir: string;
const said = keepPrinted();
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'psp-init-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

const out = () => join(dir, 'out');
const examples = fromPackageRoot('deploy/examples/two-nodes');
const init = (...args: string[]) => run(['init', ...args, '--dir', out()]);
const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' });

/** Every file below a folder as "mode uid:gid path". */
function listing(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return files
    .map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      const { mode, uid, gid } = statSync(path);
      return `${(mode & 0o7777).toString(8)} ${uid}:${gid} ${path.slice(folder.length + 1)}`;
    })
    .sort();
}
const contentsOf = (folder: string) =>
  Object.fromEntries(
    listing(folder).map((line) => {
      const path = line.split(' ')[2] as string;
      return [path, readFileSync(join(folder, path), 'hex')];
    }),
  );

describe('psp init', () => {
  it('gives each file to the one account that reads it, regardless of the umask', async () => {
    const umask = process.umask(0o077);
    try {
      expect(await init('a', '--from', examples)).toBe(0);
    } finally {
      process.umask(umask);
    }
    expect(listing(out())).toEqual([
      '600 0:0 ca/ca.key',
      '640 0:0 a/nats/operator.password',
      '640 0:70000 a/bus.secret',
      '640 0:70001 a/nats/dataplane.password',
      '640 0:70002 a/nats/keyexchange.password',
      '640 0:70002 a/tls/node.crt',
      '640 0:70002 a/tls/node.key',
      '640 0:70003 a/nats/sampler.password',
      '640 0:70004 a/nats/stats.password',
      '644 0:0 a/node.yaml',
      '644 0:0 a/tls/ca.crt',
      '644 0:0 ca/ca.crt',
    ]);
    for (const folder of ['', 'ca', 'a', 'a/tls', 'a/nats']) {
      expect(statSync(join(out(), folder)).mode & 0o7777).toBe(0o755);
    }
  });

  it('does not let another system user read the bus secret or a key', async () => {
    await init('a', '--from', examples);
    execFileSync('chmod', ['755', dir]);
    const readAs = (uid: number, groups: string, file: string) => {
      const args = ['--reuid', `${uid}`, '--regid', `${uid}`, groups, 'cat', join(out(), file)];
      try {
        return execFileSync('setpriv', args, { stdio: 'pipe' }).length > 0;
      } catch {
        return false;
      }
    };
    expect(readAs(70_001, '--groups=70000', 'a/bus.secret')).toBe(true);
    expect(readAs(70_002, '--groups=70000', 'a/tls/node.key')).toBe(true);
    for (const [uid, groups] of [
      [65_534, '--clear-groups'],
      [70_005, '--clear-groups'],
    ] as const) {
      for (const file of ['a/bus.secret', 'a/tls/node.key', 'ca/ca.key', 'a/nats/operator.password']) {
        expect(readAs(uid, groups, file), `${uid} reads ${file}`).toBe(false);
      }
    }
    expect(readAs(70_001, '--groups=70000', 'a/tls/node.key')).toBe(false);
    expect(readAs(70_001, '--groups=70000', 'a/nats/keyexchange.password')).toBe(false);
  });

  it('makes certificates that openssl accepts for both ends, each with one URI and its node’s DNS name', async () => {
    await init('a', 'b', '--from', examples);
    for (const node of ['a', 'b']) {
      const tls = join(out(), node, 'tls');
      const certificate = join(tls, 'node.crt');
      for (const purpose of ['sslserver', 'sslclient']) {
        expect(
          openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', join(tls, 'ca.crt'), certificate),
        ).toContain(': OK');
      }
      const names = openssl('x509', '-in', certificate, '-noout', '-ext', 'subjectAltName')
        .trim()
        .split('\n');
      expect(names.slice(1).map((line) => line.trim())).toEqual([
        `URI:spiffe://psp/gateway/${node}, DNS:${node}`,
      ]);
      const text = openssl('x509', '-in', certificate, '-noout', '-text');
      expect(text).toContain('prime256v1');
      expect(text).toContain('CA:FALSE');
      expect(openssl('pkey', '-in', join(tls, 'node.key'), '-pubout')).toBe(
        openssl('x509', '-in', certificate, '-noout', '-pubkey'),
      );
      const der = execFileSync('openssl', ['x509', '-in', certificate, '-outform', 'DER']);
      expect(soleIdentityOf(der)).toBe(`spiffe://psp/gateway/${node}`);
    }
    expect(readFileSync(join(out(), 'a/tls/node.key'))).not.toEqual(
      readFileSync(join(out(), 'b/tls/node.key')),
    );
  });

  it('makes an authority whose gateways cannot sign others', async () => {
    await init('a', '--from', examples);
    const text = openssl('x509', '-in', join(out(), 'ca/ca.crt'), '-noout', '-text');
    expect(text).toContain('CA:TRUE, pathlen:0');
    expect(openssl('x509', '-in', join(out(), 'a/tls/node.crt'), '-noout', '-ext', 'keyUsage')).not.toContain(
      'Certificate Sign',
    );
  });

  it('creates secrets that the services can read, all of them different', async () => {
    await init('a', 'b', '--from', examples);
    const secrets = ['a', 'b'].map((node) =>
      readBusSecret(join(out(), node, 'bus.secret')).octets.toString('hex'),
    );
    expect(readFileSync(join(out(), 'a/bus.secret'), 'utf8')).toBe(`${secrets[0]}\n`);
    expect(secrets[0]).toMatch(/^[0-9a-f]{64}$/);
    const passwords = ['a', 'b'].flatMap((node) =>
      busUsers.map((user) => readPassword(join(out(), node, 'nats'), user)),
    );
    expect(new Set([...secrets, ...passwords]).size).toBe(2 + 2 * busUsers.length);
    expect(said.stdout + said.stderr).not.toContain(secrets[0]);
  });

  it('overwrites nothing: a second call adds a node under the same authority', async () => {
    await init('a', '--from', examples);
    writeFileSync(join(out(), 'a/node.yaml'), `${readFileSync(join(examples, 'a.yaml'))}# mine\n`);
    const before = contentsOf(out());
    expect(await init('a', 'b', '--from', examples)).toBe(0);
    const after = contentsOf(out());
    for (const [file, content] of Object.entries(before)) expect(after[file], file).toBe(content);
    expect(readFileSync(join(out(), 'b/tls/ca.crt'))).toEqual(readFileSync(join(out(), 'a/tls/ca.crt')));
    expect(
      openssl('verify', '-CAfile', join(out(), 'a/tls/ca.crt'), join(out(), 'b/tls/node.crt')),
    ).toContain('OK');
  });

  it('creates again only what is missing', async () => {
    await init('a', '--from', examples);
    const before = contentsOf(out());
    rmSync(join(out(), 'a/bus.secret'));
    said.stdout = '';
    expect(await init('a', '--json')).toBe(0);
    const { made, kept } = JSON.parse(said.stdout) as { made: string[]; kept: string[] };
    expectSchema('init', JSON.parse(said.stdout));
    expect(made).toEqual([join(out(), 'a/bus.secret')]);
    expect(kept).toHaveLength(11);
    expect(contentsOf(out())['a/bus.secret']).not.toBe(before['a/bus.secret']);
  });

  it('replaces only the bus secrets of existing nodes with --rotate-bus-secret', async () => {
    await init('a', 'b', '--from', examples);
    const [before, rights] = [contentsOf(out()), listing(out())];
    expect(await init('a', 'none', '--rotate-bus-secret')).toBe(1);
    expect(said.stderr).toMatch(
      /^psp: FILE_UNREADABLE: .*none\/bus\.secret cannot be read \(ENOENT\); name the/,
    );
    expect(contentsOf(out())).toEqual(before);
    said.stdout = '';
    expect(await init('a', '--rotate-bus-secret', '--json')).toBe(0);
    expectSchema('init', JSON.parse(said.stdout));
    expect(JSON.parse(said.stdout)).toEqual({ made: [join(out(), 'a/bus.secret')], kept: [] });
    const { 'a/bus.secret': after, ...others } = contentsOf(out());
    expect(Buffer.from(after ?? '', 'hex').toString()).toMatch(/^[0-9a-f]{64}\n$/);
    expect(after).not.toBe(before['a/bus.secret']);
    expect({ ...others, 'a/bus.secret': before['a/bus.secret'] }).toEqual(before);
    expect(listing(out())).toEqual(rights);
  });

  it('refuses a key without its certificate and a pair that does not match, and names the remedy', async () => {
    await init('a', 'b', '--from', examples);
    copyFileSync(join(out(), 'a/tls/node.key'), join(out(), 'b/tls/node.key'));
    expect(await init('b')).toBe(1);
    expect(said.stderr).toMatch(
      /^psp: FILE_UNREADABLE: .*b\/tls\/node\.crt .*does not belong to it.*remove both/,
    );
    said.stderr = '';
    rmSync(join(out(), 'ca/ca.key'));
    expect(await init('c')).toBe(1);
    expect(said.stderr).toMatch(/^psp: FILE_UNREADABLE: .*ca\/ca\.key cannot be read \(ENOENT\)/);
    expect(existsSync(join(out(), 'c'))).toBe(false);
  });

  it('copies node files from --from unchanged and checks them before it writes anything', async () => {
    await init('a', 'b', '--from', examples);
    for (const node of ['a', 'b']) {
      expect(readFileSync(join(out(), node, 'node.yaml'))).toEqual(
        readFileSync(join(examples, `${node}.yaml`)),
      );
      expect(loadConfig(join(out(), node, 'node.yaml'), {}).node).toBe(node);
    }
    const from = join(dir, 'from');
    mkdirSync(from);
    writeFileSync(join(from, 'c.yaml'), readFileSync(join(examples, 'a.yaml')));
    writeFileSync(join(from, 'd.yaml'), 'node: d\nnonsense: 1\n');
    const before = listing(out());
    expect(await init('c', '--from', from)).toBe(1);
    expect(said.stderr).toContain('node: expected c, received "a"');
    expect(await init('d', '--from', from)).toBe(1);
    expect(said.stderr).toContain('nonsense (line 2): expected one of node, unsecured');
    expect(await init('e', '--from', from)).toBe(1);
    expect(said.stderr).toContain('e.yaml cannot be read (ENOENT)');
    expect(listing(out())).toEqual(before);
  });

  it('writes a commented template that loads if there is no node file, including peers named together', async () => {
    expect(await init('left', 'right', 'third')).toBe(0);
    const config = loadConfig(join(out(), 'left/node.yaml'), {});
    expect(Object.keys(config.peers)).toEqual(['right', 'third']);
    expect(config.peers.right?.endpoint).toBe(
      loadConfig(join(out(), 'right/node.yaml'), {}).keyExchange.listen,
    );
    expect(await init('alone')).toBe(0);
    expect(loadConfig(join(out(), 'alone/node.yaml'), {}).peers).toEqual({});
  });

  it('derives the identity from the trust domain of the node file', async () => {
    const from = join(dir, 'from');
    mkdirSync(from);
    writeFileSync(
      join(from, 'a.yaml'),
      `${readFileSync(join(examples, 'a.yaml'))}trustDomain: example.org\n`,
    );
    await init('a', '--from', from);
    const text = openssl('x509', '-in', join(out(), 'a/tls/node.crt'), '-noout', '-ext', 'subjectAltName');
    expect(text).toContain('URI:spiffe://example.org/gateway/a');
  });

  it('refuses invalid names', async () => {
    for (const name of ['A', 'a.b', '../a', '-a', 'ca']) {
      expect(await run(['init', '--dir', out(), '--', name]), name).toBe(2);
    }
    expect(existsSync(out())).toBe(false);
  });

  it('leaves no draft behind', async () => {
    await init('a', '--from', examples);
    await init('a', '--from', examples);
    expect(listing(out()).filter((line) => line.includes('.new'))).toEqual([]);
  });
});

describe('a bus secret', () => {
  it('is refused unless it is 64 hex digits', () => {
    const file = join(dir, 'bus.secret');
    const digits = '0123456789abcdefABCDEF0123456789'.repeat(2);
    for (const good of [digits, `${digits}\n`, `${digits}\r\n`]) {
      writeFileSync(file, good, { mode: 0o640 });
      expect(readBusSecret(file).octets).toEqual(Buffer.from(digits, 'hex'));
    }
    for (const bad of [
      '',
      digits.slice(1),
      `${digits}0`,
      ` ${digits}`,
      digits.replace('f', 'g'),
      digits.replace('a', '@'),
    ]) {
      writeFileSync(file, bad);
      expect(() => readBusSecret(file), bad).toThrow('64 hex digits');
    }
    expect(() => readBusSecret(join(dir, 'none'))).toThrow('psp init');
  });
});

describe('a secret that other users can reach', () => {
  const digits = '0123456789abcdef'.repeat(4);
  const write = (name: string, content: string, mode: number) => {
    const file = join(dir, name);
    writeFileSync(file, content);
    chmodSync(file, mode);
    return file;
  };

  it.each([0o644, 0o660, 0o604, 0o641])(
    'is refused with the mode %o and the command that corrects it',
    (mode) => {
      const octal = `0${mode.toString(8)}`;
      const secret = write('bus.secret', digits, mode);
      expect(() => readBusSecret(secret)).toThrow(`${secret} has mode ${octal}`);
      expect(() => readBusSecret(secret)).toThrow(`chmod 0640 ${secret}`);
      const password = write('operator.password', digits, mode);
      expect(() => readPassword(dir, 'operator')).toThrow(`${password} has mode ${octal}`);
    },
  );

  it.each([0o640, 0o600, 0o440, 0o400])('is read with mode %o', (mode) => {
    expect(readBusSecret(write('bus.secret', digits, mode)).octets).toEqual(Buffer.from(digits, 'hex'));
    write('operator.password', digits, mode);
    expect(readPassword(dir, 'operator')).toBe(digits);
  });

  it.each(['', '\n', ' \n', 'short', 'two words of more than sixteen'])(
    'is refused as a password if it contains only %j',
    (content) => {
      const file = write('operator.password', content, 0o640);
      expect(() => readPassword(dir, 'operator')).toThrow(file);
      expect(() => readPassword(dir, 'operator')).toThrow('remove it and run `psp init` again');
    },
  );

  it('is refused by `psp init`, which would otherwise keep it', async () => {
    expect(await init('a')).toBe(0);
    for (const [file, mode] of [
      ['a/bus.secret', '0640'],
      ['a/nats/stats.password', '0640'],
      ['a/tls/node.key', '0640'],
      ['ca/ca.key', '0600'],
    ] as const) {
      const path = join(out(), file);
      const before = statSync(path).mode;
      chmodSync(path, 0o644);
      said.stderr = '';
      expect([file, await init('a')]).toEqual([file, 1]);
      expect(said.stderr).toMatch(
        new RegExp(`^psp: SECRET_EXPOSED: ${path} has mode 0644.*chmod ${mode} ${path}`),
      );
      chmodSync(path, before);
    }
  });
});
