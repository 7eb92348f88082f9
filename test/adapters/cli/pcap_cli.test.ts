// SPDX-License-Identifier: Apache-2.0
// `psp pcap` as a separate program: wrong usage gives one line and no output, keys come from files and are never
// printed, a signal leaves nothing behind, no privileges are needed, and tshark reads its output.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../../cli/program.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { until } from '../../e2e/namespace.js';
import { hostPacket, hostUdp } from '../../vectors/cases.js';
import { nobody, pspAsNobody } from '../shared/as_nobody.js';
import { readCapture, writeCapture } from './pcap_files.js';

const program = fromPackageRoot('dist/cli/psp.js');
const key0 = '0f'.repeat(32);
const key1 = 'a5'.repeat(32);
const keys = ['--master-key0', key0, '--master-key1', key1];
const spi = ['--spi', '1a345678'];

let folder: string;
const path = (name: string) => join(folder, name);

const ethernet = (packet: Buffer): Buffer =>
  Buffer.concat([Buffer.alloc(12, 2), Buffer.from('0800', 'hex'), packet]);
const frames = [0, 24, 1400].map((length) => ethernet(hostPacket('v4', hostUdp('v4', length))));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-pcap-'));
  writeFileSync(path('clear'), writeCapture(frames.map((octets) => ({ octets }))));
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

function psp(args: string[]): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, 'pcap', ...args], {
    encoding: 'utf8',
    cwd: folder,
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

/** Runs a command that must fail in this process: one line, and no new file. */
async function refused(args: string[], status: number): Promise<string> {
  const before = readdirSync(folder).sort();
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    vi.spyOn(process[stream], 'write').mockImplementation((chunk) => {
      said[stream] += chunk;
      return true;
    });
  const code = await run(['pcap', ...args.map(inFolder)]).finally(() => vi.restoreAllMocks());
  expect(said.stdout).toBe('');
  expect(said.stderr).toMatch(/^psp: [A-Z_]+: [^\n]+\n$/);
  expect(code).toBe(status);
  expect(readdirSync(folder).sort()).toEqual(before);
  for (const key of [key0, key1]) expect(said.stderr).not.toContain(key.slice(0, 16));
  return said.stderr.slice('psp: '.length).trimEnd().replaceAll(`${folder}/`, '');
}

/** Values of options for files, relative to the folder. */
const inFolder = (value: string, at: number, args: string[]): string => {
  if (args[at - 1] === '--in' || args[at - 1] === '--out') return `${folder}/${value}`;
  return value.startsWith('@') && value !== `@${key0}` ? `@${folder}/${value.slice(1)}` : value;
};

const encrypt = (...args: string[]) => ['encrypt', '--in', 'clear', '--out', 'out', ...keys, ...spi, ...args];

describe('--force', () => {
  it('replaces an output file that exists, with the mode of a new one', () => {
    writeFileSync(path('out'), 'old', { mode: 0o644 });
    expect(psp(encrypt('--force'))).toMatchObject({ status: 0, stderr: '' });
    expect(readCapture(path('out'))).toHaveLength(frames.length);
    expect(statSync(path('out')).mode & 0o777).toBe(0o600);
    expect(psp(['decrypt', '--in', 'out', '--out', 'back', '--force', ...keys]).status).toBe(0);
    expect(readCapture(path('back'))).toEqual(frames);
  });

  it('keeps the existing file when the command fails', () => {
    writeFileSync(path('out'), 'old');
    const args = ['decrypt', '--in', 'out', '--out', 'there', '--force', ...keys];
    writeFileSync(path('there'), 'kept');
    expect(psp(args).status).toBe(1);
    expect(readFileSync(path('there'), 'utf8')).toBe('kept');
  });
});

describe('wrong usage', () => {
  it.each([
    ['no SPI', ['encrypt', '--in', 'clear', '--out', 'out', ...keys], "required option '--spi <hex8>' not"],
    ['an SPI without low bits', encrypt('--spi', '80000000'), 'low 31 bits are zero'],
    ['an SPI of 7 digits', encrypt('--spi', '1234567'), '8 hex digits are expected'],
    ['version 4', encrypt('--psp-version', '4'), '0 to 3 are defined'],
    ['an offset of 7 bits', encrypt('--crypt-offset', '64'), '0 to 63 is expected'],
    [
      'an offset under GMAC',
      encrypt('--psp-version', '2', '--crypt-offset', '1'),
      'version 2 encrypts nothing',
    ],
    ['a short cookie', encrypt('--vc', '0011'), '16 hex digits are expected'],
    ['an IV of 65 bits', encrypt('--iv', '18446744073709551616'), '0 to 2^64 - 1 is expected'],
    ['another mode', encrypt('--mode', 'beet'), 'Allowed choices are tunnel, transport'],
    ['one outer address', encrypt('--outer-source', '192.0.2.1'), 'give both'],
    [
      'outer addresses belong to different families',
      encrypt('--outer-source', '192.0.2.1', '--outer-destination', '2001:db8::1'),
      'belong to different families',
    ],
    [
      'outer addresses in transport mode',
      encrypt('--mode', 'transport', '--outer-source', '192.0.2.1', '--outer-destination', '192.0.2.2'),
      'are for --mode tunnel',
    ],
    ['an outer address that is none', encrypt('--outer-source', '192.0.2'), 'an IPv4 or IPv6 address'],
    ['one file for both', ['decrypt', '--in', 'clear', '--out', './clear', ...keys], 'are the same file'],
  ])('%s', async (_, args, told) => {
    const line = await refused(args, 2);
    expect(line).toMatch(/^USAGE: /);
    expect(line).toContain(told);
  });

  it.each([
    ['odd', key0.slice(1), 'has an odd number of hex digits, 63'],
    ['short', key0.slice(2), 'is 31 octets long'],
    ['long', `${key0}00`, 'is 33 octets long'],
    ['no hex', `${key0.slice(1)}g`, 'contains a character that is no hex digit'],
    ['empty', '', 'is 0 octets long'],
  ])('a master key that is %s, from the command line and from a file', async (_, key, told) => {
    writeFileSync(path('key'), key);
    for (const value of [key, '@key']) {
      const args = [
        'decrypt',
        '--in',
        'clear',
        '--out',
        'out',
        '--master-key0',
        key0,
        '--master-key1',
        value,
      ];
      const line = await refused(args, 2);
      expect(line).toContain(`USAGE: --master-key1 ${told}; 64 hex digits are expected, or @FILE`);
    }
  });

  it('of a key in place of a file or an option does not print any of it', async () => {
    const rest = ['--in', 'clear', '--out', 'out', '--master-key1', key1];
    expect(await refused(['decrypt', ...rest, '--master-key0', `@${key0}`], 1)).toContain('the file after @');
    expect(await refused(['decrypt', ...rest, '--master-key0', key1, `--master-key=${key0}`], 2)).toContain(
      "unknown option '--master-key'",
    );
  });

  it.each([
    ['no input', 'missing', /^FILE_UNREADABLE: missing cannot be read \(ENOENT\); name a readable capture/],
    ['a folder', '.', /^FILE_UNREADABLE: \. cannot be read \(EISDIR\); name a readable capture/],
    ['an empty file', 'empty', /^CAPTURE_MALFORMED: empty is not a complete capture file: it is empty$/],
    ['a text', 'text', /^CAPTURE_MALFORMED: text .* its first octets are 50 43 41 50/],
    ['a cut file', 'cut', /^CAPTURE_MALFORMED: cut .* after frame 2 it ends in the middle .*editcap/],
  ])('%s', async (_, input, told) => {
    writeFileSync(path('empty'), '');
    writeFileSync(path('text'), 'PCAP?');
    writeFileSync(path('cut'), readFileSync(path('clear')).subarray(0, -1));
    for (const direction of [['encrypt', ...spi], ['decrypt']])
      expect(await refused([...direction, '--in', input, '--out', 'out', ...keys], 1)).toMatch(told);
  });

  it('a key file that is missing', async () => {
    const args = [
      'decrypt',
      '--in',
      'clear',
      '--out',
      'out',
      '--master-key0',
      '@missing',
      '--master-key1',
      key1,
    ];
    expect(await refused(args, 1)).toMatch(/^FILE_UNREADABLE: missing cannot be read \(ENOENT\)/);
  });

  it('an output that exists, or cannot be created', async () => {
    writeFileSync(path('there'), 'kept');
    linkSync(path('clear'), path('same'));
    symlinkSync('nowhere', path('dangling'));
    const into = (out: string) => ['encrypt', '--in', 'clear', '--out', out, ...keys, ...spi];
    expect(await refused(into('there'), 1)).toMatch(
      /^FILE_UNWRITABLE: there .*EEXIST.* overwrite this one with --force$/,
    );
    expect(readFileSync(path('there'), 'utf8')).toBe('kept');
    expect(await refused(into('same'), 2)).toContain('are the same file');
    expect(await refused(into('dangling'), 1)).toMatch(/^FILE_UNWRITABLE: dangling .*EEXIST/);
    expect(await refused(into('no/folder'), 1)).toMatch(/^FILE_UNWRITABLE: no\/folder .*ENOENT/);
  });

  it('an output that is no regular file, with --force too', async () => {
    mkdirSync(path('directory'));
    execFileSync('mkfifo', [path('pipe')]);
    for (const out of ['directory', 'pipe']) {
      const args = ['encrypt', '--in', 'clear', '--out', out, '--force', ...keys, ...spi];
      expect(await refused(args, 1)).toMatch(/EEXIST.* not a regular file/);
    }
    expect(await refused(encrypt('--force', '--out', 'clear'), 2)).toContain('are the same file');
  });

  it('an offset past a payload, with the number of the frame', async () => {
    const told =
      'FRAME_NOT_ENCRYPTED: frame 1 of clear cannot be encrypted: crypt offset 8 points past its payload; the maximum for it is 7';
    expect(await refused(encrypt('--crypt-offset', '8'), 1)).toBe(told);
    expect(await refused(encrypt('--crypt-offset', '8', '--mode', 'transport'), 1)).toContain(
      'the maximum for it is 2',
    );
  });

  it('a frame that cannot be opened, with its number, after others that could', async () => {
    psp(encrypt());
    const sealed = readCapture(path('out'));
    const wrong = Buffer.from(sealed[1] as Buffer);
    wrong.writeUInt8(wrong.readUInt8(wrong.length - 1) ^ 1, wrong.length - 1);
    const all = [sealed[0], sealed[2], wrong].map((octets) => ({ octets: octets as Buffer }));
    writeFileSync(path('wrong'), writeCapture(all));
    const line = await refused(['decrypt', '--in', 'wrong', '--out', 'back', ...keys], 1);
    expect(line).toMatch(/^FRAME_NOT_DECRYPTED: frame 3 of wrong cannot be decrypted: its ICV is wrong/);
  });

  it('a truncated frame', async () => {
    const cut = { octets: (frames[2] as Buffer).subarray(0, 96), original: frames[2]?.length ?? 0 };
    writeFileSync(path('cut'), writeCapture([{ octets: frames[0] as Buffer }, cut]));
    const line = await refused(['encrypt', '--in', 'cut', '--out', 'out', ...keys, ...spi], 1);
    expect(line).toMatch(/^FRAME_NOT_ENCRYPTED: frame 2 of cut .* only 96 of its 1442 octets were captured/);
  });
});

describe('the program', () => {
  it('ends with the exit codes of wrong usage and of failure', () => {
    expect(psp(encrypt('--psp-version', '4'))).toMatchObject({ status: 2, stdout: '' });
    const ended = psp(encrypt('--crypt-offset', '63'));
    expect(ended.status).toBe(1);
    expect(ended.stderr).toMatch(/^psp: FRAME_NOT_ENCRYPTED: frame 1 of clear [^\n]+\n$/);
    expect(readdirSync(folder)).toEqual(['clear']);
  });

  it('writes a file that only its owner may read, and nothing beside it', () => {
    expect(psp(encrypt()).status).toBe(0);
    expect(readdirSync(folder).sort()).toEqual(['clear', 'out']);
    expect(statSync(path('out')).mode & 0o777).toBe(0o600);
  });

  it('reads keys from files that contain white space', () => {
    writeFileSync(path('key0'), `${key0.slice(0, 30)} ${key0.slice(30)}\n`);
    writeFileSync(path('key1'), key1.toUpperCase());
    expect(psp(encrypt()).status).toBe(0);
    const files = ['--in', 'out', '--out', 'back'];
    const ended = psp(['decrypt', ...files, '--master-key0', '@key0', '--master-key1', '@key1']);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(path('back')).subarray(24)).toEqual(readFileSync(path('clear')).subarray(24));
  });

  it('needs no privileges', ({ skip }) => {
    if (process.geteuid?.() !== 0) skip('only root may become another user');
    chmodSync(folder, 0o755);
    mkdirSync(path('theirs'), { mode: 0o777 });
    chmodSync(path('theirs'), 0o777);
    const sealing = ['encrypt', '--in', 'clear', '--out', 'theirs/out', ...keys, ...spi];
    expect(pspAsNobody(['pcap', ...sealing], folder)).toMatchObject({ status: 0, stderr: '' });
    const opening = ['decrypt', '--in', 'theirs/out', '--out', 'theirs/back', ...keys];
    expect(pspAsNobody(['pcap', ...opening], folder)).toMatchObject({ status: 0, stderr: '' });
    expect(readCapture(path('theirs/back'))).toEqual(frames);
    expect(statSync(path('theirs/back')).uid).toBe(nobody);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('leaves nothing behind after %s', async (signal) => {
    execFileSync('mkfifo', [path('pipe')]);
    const args = [program, 'pcap', 'encrypt', '--in', 'pipe', '--out', 'out', ...keys, ...spi];
    const child = spawn(process.execPath, args, { cwd: folder, stdio: 'ignore' });
    const exit = once(child, 'exit');
    // Both ends, so that neither side waits for the other to open it.
    const pipe = openSync(path('pipe'), 'r+');
    try {
      writeSync(pipe, readFileSync(path('clear')));
      await until('the draft is there', () => readdirSync(folder).some((name) => name.endsWith('.new')));
      child.kill(signal);
      expect(await exit).toEqual([null, signal]);
    } finally {
      closeSync(pipe);
    }
    expect(readdirSync(folder).sort()).toEqual(['clear', 'pipe']);
  });

  it('writes files that tshark reads', ({ skip }) => {
    if (spawnSync('tshark', ['--version']).error) skip('tshark is not installed');
    const every = frames.map((octets, at) => ({ octets, fraction: at * 1000 + 7 }));
    const read = (file: string, ...fields: string[]) =>
      execFileSync('tshark', ['-n', '-r', path(file), '-T', 'fields', ...fields.flatMap((f) => ['-e', f])], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).split('\n');
    for (const form of [
      { format: 'pcap', bigEndian: true, nanoseconds: true },
      { format: 'pcapng', bigEndian: false, nanoseconds: true },
    ] as const) {
      writeFileSync(path('in'), writeCapture(every, form));
      const files = ['--in', 'in', '--out', form.format];
      expect(psp(['encrypt', ...files, ...keys, ...spi]).status).toBe(0);
      const told = read('in', 'frame.time_epoch').map((time) => (time === '' ? '' : `${time}\t1000\t63`));
      expect(told).toHaveLength(frames.length + 1);
      expect(read(form.format, 'frame.time_epoch', 'udp.dstport', 'ip.ttl')).toEqual(told);
    }
  });
});
