// SPDX-License-Identifier: Apache-2.0
// A command loads the packages that it uses and no others. The start of a process is measured by the modules that it
// loads, not by time, which depends on the machine.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { hostPacket, hostUdp } from '../../vectors/cases.js';
import { writeCapture } from './pcap_files.js';

const psp = fromPackageRoot('dist/cli/psp.js');
let folder: string;
/** A module that reports on descriptor 3 every module that the process loads. */
let reporter: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-load-'));
  const hooks = join(folder, 'hooks.mjs');
  reporter = join(folder, 'reporter.mjs');
  writeFileSync(
    hooks,
    `import { writeSync } from 'node:fs';
     export async function resolve(name, context, next) {
       const found = await next(name, context);
       writeSync(3, found.url + '\\n');
       return found;
     }`,
  );
  writeFileSync(
    reporter,
    `import { register } from 'node:module';
     register(${JSON.stringify(pathToFileURL(hooks))});`,
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The packages that a command loads, in order, without those that packages load themselves. */
function packagesOf(...args: string[]): string[] {
  const { status, stderr, output } = spawnSync(process.execPath, ['--import', reporter, psp, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([0, '']);
  const found = (output[3] ?? '').matchAll(/\/node_modules\/((?:@[^/]+\/)?[^/]+)\//g);
  return [...new Set(Array.from(found, ([, name]) => name as string))];
}

describe('psp', () => {
  it.each(['--version', '--help', 'help'])('%s loads commander alone', (argument) => {
    expect(packagesOf(argument)).toEqual(['commander']);
  });

  it('pcap loads no package for the bus, for peers, for the node file or for logs', () => {
    const octets = Buffer.concat([
      Buffer.alloc(12, 2),
      Buffer.from('0800', 'hex'),
      hostPacket('v4', hostUdp('v4', 9)),
    ]);
    writeFileSync(join(folder, 'clear'), writeCapture([{ octets }]));
    const keys = ['--master-key0', '0f'.repeat(32), '--master-key1', 'a5'.repeat(32)];
    const [clear, sealed, back] = ['clear', 'sealed', 'back'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const encrypt = packagesOf(
      'pcap',
      'encrypt',
      '--in',
      clear,
      '--out',
      sealed,
      ...keys,
      '--spi',
      '1a345678',
    );
    const decrypt = packagesOf('pcap', 'decrypt', '--in', sealed, '--out', back, ...keys);
    expect(encrypt).toEqual(['commander', 'ipaddr.js']);
    expect(decrypt).toEqual(encrypt);
  });

  it('config check loads only what reads the node file, and nothing that connects', () => {
    const packages = packagesOf('config', 'check', '--help');
    expect(packages).toContain('zod');
    expect(packages).not.toContain('nats');
  });
});
