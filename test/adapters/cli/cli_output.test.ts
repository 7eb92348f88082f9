// SPDX-License-Identifier: Apache-2.0
// The output of a command: a full disk fails the command, a reader that goes away ends it silently, and with --json a
// failure is JSON too. The commands run as separate processes.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { until } from '../../e2e/namespace.js';
import { expectSchema } from '../../json_schema.js';
import { hostPacket, hostUdp } from '../../vectors/cases.js';
import { AuditRig } from '../shared/audit_rig.js';
import { writeCapture } from './pcap_files.js';

const psp = fromPackageRoot('dist/cli/psp.js');
let folder: string;
/** A file system of 64 KiB. */
let small: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-output-'));
  small = join(folder, 'small');
  mkdirSync(small);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]);
});
afterAll(() => {
  execFileSync('umount', ['--lazy', small]);
  rmSync(folder, { recursive: true });
});

/** Runs a command whose standard output goes to a file or device. */
function into(file: string, args: string[]): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync(process.execPath, [psp, ...args], {
    stdio: ['ignore', openSync(file, 'w'), 'pipe'],
    encoding: 'utf8',
  });
  return { status, stderr };
}

describe('standard output on a full disk', () => {
  const full = /^psp: FILE_UNWRITABLE: standard output cannot be written \(ENOSPC\).*incomplete\n$/;

  it('fails every command, whatever it prints', () => {
    for (const args of [['--help'], ['--version'], ['status', '--help']]) {
      const { status, stderr } = into('/dev/full', args);
      expect([args.join(' '), status]).toEqual([args.join(' '), 1]);
      expect(stderr).toMatch(full);
    }
  });

  it('fails a command if the disk accepts only the first part of its output', () => {
    const rest = join(small, 'rest');
    // All but half a page is used, so that the kernel cuts the write short before it refuses one.
    writeFileSync(rest, Buffer.alloc(60 * 1024));
    const out = join(small, 'out');
    const files = Array.from({ length: 100 }, (_, i) => `node-${i}`);
    const { status, stderr } = into(out, ['init', ...files, '--dir', join(folder, 'nodes'), '--json']);
    expect([status, stderr]).toEqual([1, expect.stringMatching(full)]);
    expect(statSync(out).size).toBeLessThanOrEqual(4096);
    rmSync(rest);
    rmSync(out);
  });

  it('writes everything if there is space', () => {
    const out = join(small, 'out');
    expect(into(out, ['--help'])).toEqual({ status: 0, stderr: '' });
    expect(readFileSync(out, 'utf8')).toBe(
      execFileSync(process.execPath, [psp, '--help'], { encoding: 'utf8' }),
    );
    rmSync(out);
  });
});

describe('a file on a full disk', () => {
  const run = (...args: string[]) => spawnSync(process.execPath, [psp, ...args], { encoding: 'utf8' });

  it('fails a capture that is written there, and leaves no part of it', () => {
    const packet = hostPacket('v4', hostUdp('v4', 1400));
    const octets = Buffer.concat([Buffer.alloc(12, 2), Buffer.from('0800', 'hex'), packet]);
    writeFileSync(join(folder, 'clear'), writeCapture(Array.from({ length: 100 }, () => ({ octets }))));
    const keys = ['--master-key0', '0f'.repeat(32), '--master-key1', 'a5'.repeat(32), '--spi', '1a345678'];
    const out = join(small, 'sealed');
    const { status, stderr } = run('pcap', 'encrypt', '--in', join(folder, 'clear'), '--out', out, ...keys);
    expect([status, stderr]).toEqual([
      1,
      `psp: FILE_UNWRITABLE: ${out} cannot be written (ENOSPC); check that its folder exists and that its disk has space\n`,
    ]);
    expect(readdirSync(small)).toEqual([]);
  });

  it('fails `psp init`, which names the file', () => {
    const names = Array.from({ length: 40 }, (_, i) => `node-${i}`);
    const { status, stderr } = run('init', ...names, '--dir', join(small, 'nodes'));
    expect(status).toBe(1);
    expect(stderr).toMatch(/^psp: FILE_UNWRITABLE: \S+\/small\/nodes\S* cannot be written \(ENOSPC\)/);
    rmSync(join(small, 'nodes'), { recursive: true });
  });
});

describe('a reader that goes away', () => {
  it.each([
    ['before the first octet', ['--help'], ''],
    ['with the error line unread', ['status', '-c', '/nonexistent'], '2>&1'],
  ])('%s ends the command without a word', async (_, args, both) => {
    const line = `${process.execPath} ${psp} ${args.join(' ')} ${both}`;
    // The reader has closed its end before the command starts.
    const script = `set -o pipefail; { sleep 0.2; ${line}; } | true`;
    const { status, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(both === '' ? 141 : 1);
  });
});

describe('the audit trail', () => {
  let rig: AuditRig;
  let config: string;
  const events = 3000;

  beforeAll(async () => {
    rig = await AuditRig.start();
    config = rig.operatorFile(folder);
    const producer = await rig.producer('dataplane', { spoolBytes: 16 * 1024 * 1024 });
    producer.record(events);
    await until('the stream has all events', async () => (await rig.events()).length === events);
  });
  afterAll(() => rig?.end());

  it('fails if the disk has no space for all of it', () => {
    const out = join(small, 'audit');
    const { status, stderr } = into(out, ['audit', '--json', '-c', config]);
    expect(stderr).toMatch(/^psp: FILE_UNWRITABLE: standard output cannot be written \(ENOSPC\)/);
    expect(status).toBe(1);
    rmSync(out);
  });

  it('ends when its reader has read enough', async () => {
    const line = `${process.execPath} ${psp} audit -c ${config}`;
    const child = spawn('bash', ['-c', `${line} | head -n 2; echo "\${PIPESTATUS[0]}"`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const printed: Buffer[] = [];
    const complained: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => printed.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => complained.push(chunk));
    await once(child, 'close');
    expect(Buffer.concat(complained).toString()).toBe('');
    const lines = Buffer.concat(printed).toString().trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    expect(lines.at(-1)).toBe('141');
  });
});

it('npm run psp is the tool of this clone, and adds nothing to its output', () => {
  const root = fromPackageRoot('.');
  const printed = (program: string, args: string[]) =>
    execFileSync(program, args, { cwd: root, encoding: 'utf8' });
  expect(printed('npm', ['run', '--silent', 'psp', '--', '--version'])).toBe(
    printed(process.execPath, [psp, '--version']),
  );
});

describe('--json', () => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [psp, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

  it('prints a failure as JSON too, beside the line on standard error', () => {
    const { status, stdout, stderr } = run('status', '-c', '/nonexistent/node.yaml', '--json');
    expect(status).toBe(1);
    expect(stderr).toMatch(/^psp: FILE_UNREADABLE: .*\n$/);
    const told = JSON.parse(stdout) as { error: { code: string; message: string } };
    expectSchema('error', told);
    expect(stderr).toBe(`psp: ${told.error.code}: ${told.error.message}\n`);
  });

  it('prints wrong usage as JSON too, without what may be a key', () => {
    const { status, stdout } = run('--json', 'pcap', 'encrypt', '--master-key9=abcdef');
    expect(status).toBe(2);
    const told = JSON.parse(stdout);
    expectSchema('error', told);
    expect(told.error.code).toBe('USAGE');
    expect(stdout).not.toContain('abcdef');
  });

  it('leaves standard output to a capture if that was requested', () => {
    const { status, stdout } = run('tap', 'samples', '-w', '-', '--json', '-c', '/nonexistent/node.yaml');
    expect([status, stdout]).toEqual([1, '']);
  });
});
