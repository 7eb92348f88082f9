// SPDX-License-Identifier: Apache-2.0
// The demo after Ctrl-C: it reports the step that it was in, removes everything and exits with code 130. The demo
// checks its own statements, so this test does not.
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, until } from './namespace.js';

it.each([{ at: '1. Two hosts' }, { at: '4. 256 MiB over TCP' }])(
  'leaves nothing behind when interrupted at $at',
  async ({ at }) => {
    const folder = mkdtempSync(join(tmpdir(), 'psp-demo-test-'));
    // Services drop their privileges and must still be able to open their files.
    chmodSync(folder, 0o755);
    let demo: ChildProcess | undefined;
    try {
      demo = spawn(
        process.execPath,
        [fromPackageRoot('dist/scripts/demo.js'), '--json', join(folder, 'demo.json')],
        {
          env: { ...process.env, TMPDIR: folder },
          stdio: ['ignore', 'pipe', 'inherit'],
          // As at a terminal: the signal goes to the whole process group.
          detached: true,
        },
      );
      let said = '';
      demo.stdout?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      const [made] = await until('it has begun', () => {
        const names = readdirSync(folder).filter((name) => name.startsWith('psp-e2e-'));
        return names.length > 0 && names;
      });
      const id = made?.split('-')[2] as string;
      await until(`it is at ${at}`, () => said.includes(at), 120_000);
      await new Promise((resolve) => setTimeout(resolve, 1500));
      process.kill(-(demo.pid as number), 'SIGINT');
      await ended(demo);
      expect(demo.exitCode, said).toBe(130);
      expect(said).toMatch(/interrupted at ".*"; everything was removed/);
      expect(readdirSync('/run/netns').filter((name) => name.includes(id))).toEqual([]);
      expect(readdirSync(folder)).toEqual(['demo.json']);
      expect(JSON.parse(readFileSync(join(folder, 'demo.json'), 'utf8'))).toMatchObject({
        ok: false,
        failure: 'interrupted',
      });
      const running = readdirSync('/proc').filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(made as string);
        } catch {
          return false;
        }
      });
      expect(running).toEqual([]);
    } finally {
      if (demo?.exitCode === null) {
        process.kill(-(demo.pid as number), 'SIGTERM');
        await ended(demo);
      }
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
