// SPDX-License-Identifier: Apache-2.0
// What cannot start says so in one line that names the remedy, and ends.
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/package_root.js';
import { expectSchema } from '../json_schema.js';
import { until } from './namespace.js';
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

/** Starts gateway a, which must fail. @returns its last word, the one line that tells why. */
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

describe('psp up says in one line why it cannot start', () => {
  it('another process has the port of the bus', async () => {
    await withListener('127.0.0.1', 4270, async () => {
      const result = await net.a.namespace.try(process.execPath, [psp, 'up', '-c', file], 90_000);
      expect(result.code).toBe(1);
      expect(result.stderr).toMatch(/^psp: ADDRESS_TAKEN: 127\.0\.0\.1:4270 .*bus\.listen.*\n$/);
    });
  });

  it('another process has the port of the key exchange', async () => {
    await withListener('198.51.100.1', 3000, async () => {
      const result = await net.a.namespace.try(process.execPath, [psp, 'up', '-c', file], 90_000);
      expect(result.code).toBe(1);
      expect(result.stderr).toMatch(/198\.51\.100\.1:3000 is taken.*keyExchange\.listen/);
    });
  });

  it('it is not root', async () => {
    chmodSync(net.folder, 0o755);
    // It becomes another user once all is read: the package may lie where only root can read it.
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

  it('the node file has faults, and all of them are told at once', () =>
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

it('starts once all is as it should be', async () => {
  await net.a.start();
  await net.a.stop();
});

it('leaves its fence behind when it is stopped, until it is told to take it away', async () => {
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
