// SPDX-License-Identifier: Apache-2.0
// A node that cannot start reports one line that names the remedy, and ends.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { Authority, writeTls } from '../adapters/keyexchange/certificates.js';
import { expectSchema } from '../json_schema.js';
import { run, until } from './namespace.js';
import { Topology } from './topology.js';

const psp = fromPackageRoot('dist/cli/psp.js');
let net: Topology;
let file: string;
let good: string;

beforeAll(async () => {
  net = await Topology.create();
  file = join(net.a.files, 'node.yaml');
  good = readFileSync(file, 'utf8');
});
afterAll(() => net?.close());

/** Starts gateway a, which must fail. @returns its last line, which has the reason. */
async function fails(code: string, as: string[] = []): Promise<string> {
  const [command = process.execPath, ...before] = [...as, process.execPath];
  const result = await net.a.namespace.try(command, [...before, psp, 'up', '-c', file], 90_000);
  expect(result.code, result.stderr).toBe(1);
  const lines = result.stderr.trimEnd().split('\n');
  const told = lines.filter((line) => line.startsWith('psp: '));
  expect(told, result.stderr).toEqual([lines.at(-1)]);
  expect(told[0]).toContain(`psp: ${code}: `);
  expect(result.stdout).not.toContain('ready');
  expect(net.a.namespace.processes()).toEqual([]);
  return told[0] ?? '';
}

/** A separate file system, so small or mounted in such a way that nothing can be written. */
function mountSmall(path: string, options: string): void {
  mkdirSync(path);
  run('mount', '-t', 'tmpfs', '-o', options, 'tmpfs', path);
}

/** Runs with a changed node file. */
async function withConfig(change: (yaml: string) => string, test: () => Promise<void>): Promise<void> {
  writeFileSync(file, change(good));
  try {
    await test();
  } finally {
    writeFileSync(file, good);
  }
}

async function withListener(address: string, port: number, test: () => Promise<void>): Promise<void> {
  const script = `require('net').createServer().listen(${port}, '${address}', () => console.log('up'))`;
  const taker = net.a.namespace.spawn(process.execPath, ['-e', script]);
  await until('the port is taken', () => taker.stdout?.readableLength !== 0);
  try {
    await test();
  } finally {
    taker.kill('SIGKILL');
    await until('the port is free', () => net.a.namespace.processes().length === 0);
  }
}

describe('psp up reports in one line why it cannot start', () => {
  it.each([
    ['bus', 4270],
    ['audit', 5270],
  ])('another process has the port of %s', async (section, port) => {
    await withListener('127.0.0.1', port, async () => {
      const result = await net.a.namespace.try(process.execPath, [psp, 'up', '-c', file], 90_000);
      expect(result.code).toBe(1);
      const line = `psp: ADDRESS_TAKEN: 127.0.0.1:${port} is in use by another process; free it or change ${section}.listen`;
      expect(result.stderr).toBe(`${line}\n`);
    });
  });

  it('another process listens on the port of the key exchange', async () => {
    await withListener('198.51.100.1', 3000, async () => {
      const result = await net.a.namespace.try(process.execPath, [psp, 'up', '-c', file], 90_000);
      expect(result.code).toBe(1);
      expect(result.stderr).toMatch(/198\.51\.100\.1:3000 is in use.*keyExchange\.listen/);
    });
  });

  it('it is not root', async () => {
    chmodSync(net.folder, 0o755);
    // It changes its user after all files are read: the package may be readable only by root.
    const drop = `import(${JSON.stringify(fromPackageRoot('dist/cli/program.js'))}).then(async ({ run }) => {
      process.setgid(65534);
      process.setuid(65534);
      process.exitCode = await run(['up', '-c', ${JSON.stringify(file)}]);
    })`;
    const result = await net.a.namespace.try(process.execPath, ['-e', drop], 90_000);
    expect([result.code, result.stdout]).toEqual([1, '']);
    expect(result.stderr).toMatch(/^psp: RIGHTS_MISSING: .*root.*\n$/);
    expect(net.a.namespace.processes()).toEqual([]);
  });

  it('the dataplane may not open the interface', async () => {
    const as = ['setpriv', '--bounding-set', '-net_admin,-net_raw', '--inh-caps', '-net_admin,-net_raw'];
    expect(await fails('RIGHTS_MISSING', as)).toMatch(/CAP_NET_ADMIN|CAP_NET_RAW/);
  });

  it('the certificate cannot be read', async () => {
    const certificate = join(net.a.files, 'tls/node.crt');
    renameSync(certificate, `${certificate}.away`);
    try {
      expect(await fails('FILE_UNREADABLE')).toMatch(/tls\/node\.crt.*psp init/);
    } finally {
      renameSync(`${certificate}.away`, certificate);
    }
  });

  it('the certificate has expired', async () => {
    const tls = join(net.a.files, 'tls');
    const files = ['node.crt', 'node.key', 'ca.crt'].map((name) => join(tls, name));
    for (const path of files) copyFileSync(path, `${path}.good`);
    const authority = await Authority.create();
    writeTls(
      net.a.files,
      authority.certificate,
      await authority.issue(['spiffe://psp/gateway/a'], ['a'], { to: -60_000 }),
    );
    try {
      expect(await fails('CERTIFICATE_UNUSABLE')).toMatch(/tls\/node\.crt expired on .*psp certs renew/);
    } finally {
      for (const path of files) renameSync(`${path}.good`, path);
    }
  });

  it('the MTU of the wire is too small', async () => {
    net.a.namespace.ip('link', 'set', 'veth-wire', 'mtu', '575');
    try {
      expect(await fails('MTU_TOO_SMALL')).toMatch(/veth-wire.*575.*576.*raise it/);
    } finally {
      net.a.namespace.ip('link', 'set', 'veth-wire', 'mtu', '1600');
    }
  });

  it('the interface is missing', () =>
    withConfig(
      (yaml) => yaml.replace('port: veth-wire', 'port: veth-gone'),
      async () => expect(await fails('INTERFACE_MISSING')).toMatch(/veth-gone.*create it/),
    ));

  it.each(['nft', 'ip'])('the program %s is missing', async (program) => {
    // All programs except one, as another PATH.
    const folder = join(net.folder, `without-${program}`);
    mkdirSync(folder);
    for (const name of ['nft', 'ip', 'nats-server', 'setpriv', 'ss', 'env'].filter(
      (each) => each !== program,
    )) {
      symlinkSync(run('sh', '-c', `command -v ${name}`).trim(), join(folder, name));
    }
    const told = await fails('FILE_UNREADABLE', ['env', `PATH=${folder}`]);
    expect(told).toContain(`${program} cannot be read (it is not in PATH); install it (Debian: apt install `);
  });

  it.each([
    ['is a file', async (path: string) => writeFileSync(path, '')],
    ['is on a read-only file system', async (path: string) => mountSmall(path, 'ro')],
    ['is on a full file system', async (path: string) => mountSmall(path, 'size=4k,nr_inodes=1')],
  ])('the stateDir %s', async (_, make) => {
    const path = join(net.folder, 'state-of-none');
    await make(path);
    try {
      await withConfig(
        (yaml) => yaml.replace(/^stateDir: .*$/m, `stateDir: ${path}`),
        async () => expect(await fails('FILE_UNWRITABLE')).toMatch(/state-of-none.*stateDir/),
      );
    } finally {
      spawnSync('umount', ['--lazy', path]);
      rmSync(path, { recursive: true });
    }
  });

  it('DPDK has no driver for the device', () =>
    withConfig(
      (yaml) => yaml.replace('port: veth-wire', 'port: net_nonesuch0'),
      async () => expect(await fails('DRIVER_MISSING')).toMatch(/net_nonesuch0.*install/),
    ));

  it('there are fewer cores than lcores', () =>
    withConfig(
      (yaml) => `${yaml}engine: { lcores: 2 }\n`,
      async () => {
        const told = await fails('LCORES_TOO_MANY', ['taskset', '-c', '0']);
        expect(told).toMatch(/engine\.lcores.*cores: 1\b/);
      },
    ));

  it('the node file has faults, and all of them are reported at once', () =>
    withConfig(
      (yaml) =>
        `${yaml.replace('192.0.2.1/24', '192.0.2.300/24').replace('10.1.0.0/24', '10.1.0.1/24')}colour: red\n`,
      async () => {
        const result = await net.a.psp('config', 'check', '--json');
        expect(result.code).toBe(1);
        const { faults } = JSON.parse(result.stdout) as {
          faults: { path: string; expected: string; received: string }[];
        };
        expect(faults.map(({ path }) => path).sort()).toEqual(['colour', 'secured.address', 'vips[0]']);
        expect(faults.every(({ expected, received }) => expected !== '' && received !== '')).toBe(true);
        expect((await net.a.namespace.try(process.execPath, [psp, 'up', '-c', file])).stderr).toMatch(
          /^psp: CONFIG_INVALID/,
        );
      },
    ));
});

describe('psp config check reports before anything is cut', () => {
  interface Told {
    ok: boolean;
    faults: { path: string; expected: string; received: string }[];
    warnings: { path: string; message: string }[];
  }
  const check = async (): Promise<Told> => {
    const { code, stdout } = await net.a.psp('config', 'check', '--json');
    const told = JSON.parse(stdout) as Told;
    expectSchema('config_check', told);
    expect(code).toBe(told.ok ? 0 : 1);
    return told;
  };
  const ip = (...args: string[]) => net.a.namespace.ip(...args);
  const warnings = async () => (await check()).warnings.map(({ path, message }) => `${path}: ${message}`);
  const faults = async () =>
    (await check()).faults.map(
      ({ path, expected, received }) => `${path}: expected ${expected}, received ${received}`,
    );

  it('that all is well', async () => {
    expect(await check()).toMatchObject({ ok: true, faults: [], warnings: [] });
    expect((await net.a.psp('config', 'check')).stdout).toBe(`${file} is good\n`);
  });

  it('what this machine loses to the node: addresses, the default route, SSH sessions, a bridge', async () => {
    ip('address', 'add', '203.0.113.1/24', 'dev', 'veth-wire');
    ip('link', 'set', 'veth-wire', 'up');
    ip('route', 'add', 'default', 'via', '203.0.113.9');
    const script = `const { createServer, connect } = require('net');
      createServer(() => console.log('up')).listen(22, '203.0.113.1', () => connect(22, '203.0.113.1'));`;
    const ssh = net.a.namespace.spawn(process.execPath, ['-e', script]);
    ip('link', 'add', 'br-test', 'type', 'bridge');
    ip('link', 'set', 'veth-host', 'master', 'br-test');
    try {
      await until('the session stands', () => ssh.stdout?.readableLength !== 0);
      const told = await warnings();
      expect(told).toContainEqual(expect.stringMatching(/^secured\.port: veth-wire has 203\.0\.113\.1: /));
      expect(told).toContainEqual(expect.stringMatching(/^secured\.port: the default route uses veth-wire/));
      expect(told).toContainEqual(expect.stringMatching(/^secured\.port: an SSH session uses veth-wire/));
      expect(told).toContainEqual(expect.stringMatching(/^unsecured\.port: veth-host belongs to br-test/));
    } finally {
      ssh.kill('SIGKILL');
      await until('the session is over', () => net.a.namespace.processes().length === 0);
      ip('link', 'delete', 'br-test');
      ip('link', 'set', 'veth-wire', 'down');
      ip('address', 'flush', 'dev', 'veth-wire');
    }
  });

  it('an MTU that is too small, or too small for the packets of hosts', async () => {
    try {
      ip('link', 'set', 'veth-wire', 'mtu', '1559');
      expect(await warnings()).toEqual([
        expect.stringMatching(/^secured\.port: its MTU is 1559, .* need 1560 /),
      ]);
      ip('link', 'set', 'veth-wire', 'mtu', '575');
      expect(await faults()).toEqual(['secured.port: expected an MTU of at least 576, received 575']);
    } finally {
      ip('link', 'set', 'veth-wire', 'mtu', '1600');
    }
  });

  it('an interface that is not there', () =>
    withConfig(
      (yaml) => yaml.replace('port: veth-wire', 'port: veth-gone'),
      async () =>
        expect(await faults()).toEqual([
          'secured.port: expected an interface of this machine, received veth-gone',
        ]),
    ));

  it('a key exchange on an address that this machine lacks, or that belongs to a dedicated port', async () => {
    await withConfig(
      (yaml) => yaml.replace('198.51.100.1:3000', '198.51.100.77:3000'),
      async () =>
        expect(await faults()).toEqual([
          'keyExchange.listen: expected an address of this machine, received 198.51.100.77',
        ]),
    );
    ip('address', 'add', '203.0.113.1/24', 'dev', 'veth-host');
    try {
      await withConfig(
        (yaml) => yaml.replace('198.51.100.1:3000', '203.0.113.1:3000'),
        async () =>
          expect(await faults()).toEqual([
            expect.stringMatching(
              /^keyExchange\.listen: .*other than the two ports.*203\.0\.113\.1.*veth-host/,
            ),
          ]),
      );
    } finally {
      ip('address', 'flush', 'dev', 'veth-host');
    }
  });

  it('a peer whose key exchange is reached through a dedicated port', async () => {
    ip('link', 'set', 'veth-wire', 'up');
    ip('route', 'add', '198.51.100.2/32', 'dev', 'veth-wire');
    try {
      expect(await warnings()).toEqual([
        expect.stringMatching(/^peers\.b\.endpoint: is reached by veth-wire/),
      ]);
    } finally {
      ip('route', 'delete', '198.51.100.2/32');
      ip('link', 'set', 'veth-wire', 'down');
    }
  });

  it('secrets that others can read, and files that are missing', async () => {
    const [secret, password] = [join(net.a.files, 'bus.secret'), join(net.a.files, 'nats/stats.password')];
    chmodSync(secret, 0o644);
    renameSync(password, `${password}.away`);
    try {
      expect(await faults()).toEqual([
        `${secret}: expected mode 0640 or less (chmod 0640 ${secret}), received mode 0644`,
        `${password}: expected a valid file (make it with \`psp init\`), received ENOENT`,
      ]);
    } finally {
      renameSync(`${password}.away`, password);
    }
    try {
      expect(await fails('SECRET_EXPOSED')).toContain(`chmod 0640 ${secret}`);
    } finally {
      chmodSync(secret, 0o640);
    }
  });
});

it('starts once all faults are corrected', async () => {
  await net.a.start();
  await net.a.stop();
});

it('leaves its fence in place when it is stopped, until the operator removes it', async () => {
  const ruleset = () => net.a.namespace.run('nft', 'list', 'ruleset');
  expect(ruleset()).toContain('veth-wire');
  const { code, stdout, stderr } = await net.a.psp('fence', 'remove', '--json');
  expect([code, stderr]).toEqual([0, '']);
  const told = JSON.parse(stdout);
  expectSchema('fence_remove', told);
  expect(told).toEqual({ removed: ['veth-host', 'veth-wire'] });
  expect(ruleset()).toBe('');
  expect((await net.a.psp('fence', 'remove')).stdout).toBe('node a has no fence here\n');
});
