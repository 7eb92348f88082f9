// SPDX-License-Identifier: Apache-2.0
// `psp pipeline trace` as a separate program: wrong usage gives one line with the remedy and no other output, keys
// are never printed, and neither privileges nor a running node are needed.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../../cli/program.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { expectSchema } from '../../json_schema.js';
import { hostPacket, hostUdp } from '../../vectors/cases.js';
import { pspAsNobody } from '../shared/as_nobody.js';
import { writeCapture } from './pcap_files.js';

const program = fromPackageRoot('dist/cli/psp.js');
const key0 = '0f'.repeat(32);
const key1 = 'a5'.repeat(32);
const keys = ['--master-key0', key0, '--master-key1', key1];
const spi = ['--spi', '1a345678'];

let folder: string;
const path = (name: string) => join(folder, name);
const frame = Buffer.concat([
  Buffer.alloc(12, 2),
  Buffer.from('0800', 'hex'),
  hostPacket('v4', hostUdp('v4', 9)),
]);

const nodeFile = (address: string) => `
node: a
unsecured: { port: veth-host }
secured: { port: veth-wire, address: "${address}" }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24]
peers: { b: { endpoint: "198.51.100.2:3000", vips: [10.2.0.0/24] } }
`;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-trace-'));
  writeFileSync(path('node.yaml'), nodeFile('192.0.2.1/24'));
  writeFileSync(path('node6.yaml'), nodeFile('2001:db8::1/64'));
  writeFileSync(path('file'), writeCapture([{ octets: frame }]));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Runs a command that must fail in this process: one line on standard error, no other output. */
async function refused(args: string[], status: number, node = 'node.yaml'): Promise<string> {
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    vi.spyOn(process[stream], 'write').mockImplementation((chunk) => {
      said[stream] += chunk;
      return true;
    });
  const command = ['-c', path(node), 'pipeline', 'trace', '--json', ...args];
  const code = await run(command).finally(() => vi.restoreAllMocks());
  const { error } = JSON.parse(said.stdout);
  expect(`psp: ${error.code}: ${error.message}`).toBe(said.stderr.trimEnd());
  expect(said.stderr).toMatch(/^psp: [A-Z_]+: [^\n]+\n$/);
  expect(code).toBe(status);
  for (const key of [key0, key1]) expect(said.stderr).not.toContain(key.slice(0, 16));
  return said.stderr.slice('psp: '.length).trimEnd().replaceAll(`${folder}/`, '');
}

describe('wrong usage', () => {
  const outer = ['--outer-destination', '192.0.2.2'];
  it.each([
    ['another port', ['--port', 'wire'], 'Allowed choices are unsecured, secured'],
    ['no frames', ['--limit', '0'], '1 to 10000 is expected; cut the file with editcap'],
    ['too many frames', ['--limit', '10001'], '1 to 10000 is expected'],
    ['half a MAC address', ['--mac', '02:00:00'], '6 octets are expected'],
    ['a tiny MTU', ['--unsecured-mtu', '500'], '576 to 9216 is expected'],
    ['a giant MTU', ['--secured-mtu', '9217'], '576 to 9216 is expected'],
    ['an SPI without low bits', [...keys, ...outer, '--spi', '80000000'], 'low 31 bits are zero'],
    ['an SPI without keys', [...spi, ...outer], 'give --master-key0 and --master-key1'],
    ['an SPI without a peer', [...keys, ...spi], '--spi goes with --outer-destination'],
    ['an IV without SPI', [...keys, '--iv', '5'], '--iv goes with --spi; give both'],
    ['a peer without SPI', outer, '--outer-destination goes with --spi; give both'],
    ['keys without SPI', keys, 'the master keys need --spi, or --port secured'],
    ['one key', keys.slice(0, 2), '--master-key0 and --master-key1 go together; give both'],
    [
      'an SPI for answers without keys',
      ['--port', 'secured', ...spi, ...outer],
      '--spi needs the master keys',
    ],
    [
      'a peer of another family',
      [...keys, ...spi, '--outer-destination', '2001:db8::2'],
      'has another family than secured.address 192.0.2.1/24',
    ],
    [
      'an odd key',
      ['--port', 'secured', '--master-key0', key0, '--master-key1', key1.slice(1)],
      'USAGE: --master-key1 has an odd number of hex digits, 63',
    ],
  ])('%s', async (_, args, told) => {
    const line = await refused([path('file'), ...args], 2);
    expect(line).toMatch(/^USAGE: /);
    expect(line).toContain(told);
  });

  it('no file', async () => {
    expect(await refused([], 2)).toContain("missing required argument 'file'");
  });

  it('an MTU below the minimum of IPv6', async () => {
    const line = await refused([path('file'), '--secured-mtu', '1200'], 2, 'node6.yaml');
    expect(line).toBe('USAGE: --secured-mtu 1200 is below the minimum; give 1280 or more');
  });

  it.each([
    ['no capture', 'missing', /^FILE_UNREADABLE: missing cannot be read \(ENOENT\); name a readable capture/],
    ['a folder', '.', /^FILE_UNREADABLE: .* cannot be read \(EISDIR\); name a readable capture/],
    ['an empty file', 'empty', /^CAPTURE_MALFORMED: empty is not a complete capture file: it is empty$/],
    ['a cut file', 'cut', /^CAPTURE_MALFORMED: cut .* it ends in the middle .*editcap/],
  ])('%s', async (_, file, told) => {
    writeFileSync(path('empty'), '');
    const whole = writeCapture([{ octets: frame }, { octets: frame }]);
    writeFileSync(path('cut'), whole.subarray(0, -1));
    expect(await refused([path(file)], 1)).toMatch(told);
  });

  it('no node file', async () => {
    expect(await refused([path('file')], 1, 'missing.yaml')).toMatch(
      /^FILE_UNREADABLE: missing.yaml .* name a node file with -c/,
    );
  });
});

describe('the program', () => {
  const psp = (args: string[]) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [program, '-c', path('node.yaml'), 'pipeline', 'trace', ...args],
      { encoding: 'utf8', cwd: folder, timeout: 60_000 },
    );
    return { status, stdout, stderr };
  };

  it('needs no privileges, no running node and none of its secrets, and changes no file', ({ skip }) => {
    if (process.geteuid?.() !== 0) skip('only root may become another user');
    chmodSync(folder, 0o755);
    writeFileSync(path('key0'), key0);
    writeFileSync(path('key1'), key1);
    const files = readdirSync(folder);
    const before = readFileSync(path('file'));
    const given = [
      '--master-key0',
      '@key0',
      '--master-key1',
      '@key1',
      ...spi,
      '--outer-destination',
      '192.0.2.2',
    ];
    const ended = pspAsNobody(
      ['-c', path('node.yaml'), 'pipeline', 'trace', 'file', '--json', ...given],
      folder,
    );
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const told = JSON.parse(ended.stdout);
    expectSchema('pipeline_trace', told);
    expect(told).toMatchObject({ node: 'a', port: 'unsecured', fates: { forwarded: 1 } });
    expect(readdirSync(folder)).toEqual(files);
    expect(readFileSync(path('file')).equals(before)).toBe(true);
  });

  it('ends with the exit codes of wrong usage and of failure', () => {
    expect(psp(['file', '--limit', '0'])).toMatchObject({ status: 2, stdout: '' });
    expect(psp(['missing'])).toMatchObject({ status: 1, stdout: '' });
  });
});
