// SPDX-License-Identifier: Apache-2.0
// `psp tap samples --wireshark` as a process on a real nats-server, with a real tshark in place of Wireshark: it is
// started the same way, receives the same octets, and prints what Wireshark would show.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { contracts } from '../../../services/shared/contracts.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { compile } from '../dataplane/compiled.js';
import { batchOf, nodeFolder } from '../sampler/rig.js';
import { asService, NatsServer } from '../shared/nats_server.js';

let compiled: string;
let server: NatsServer;
let dataplane: Bus;
let sampler: Bus;
let node: { folder: string; file: string };
let taps: ChildProcess[] = [];
beforeAll(async () => {
  compiled = compile('cli/psp.ts');
  symlinkSync(fromPackageRoot('docs'), join(compiled, 'docs'));
  server = await NatsServer.start('a');
  dataplane = await server.connect('dataplane');
  sampler = await server.connect('sampler', asService);
  sampler.respond(contracts.sampleEgress, () => ({}));
  await sampler.flush();
});
afterAll(async () => {
  await Promise.all([dataplane.close(), sampler.close()]);
  await server.remove();
  rmSync(compiled, { recursive: true });
});
beforeEach(() => {
  node = nodeFolder(server);
});
afterEach(() => {
  for (const each of taps) each.kill('SIGKILL');
  taps = [];
  rmSync(node.folder, { recursive: true });
});

function launch(args: string[], env = process.env) {
  const psp = join(compiled, 'cli/psp.js');
  const child = spawn(process.execPath, [psp, 'tap', '-c', node.file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  });
  taps.push(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return { child, out: () => out, err: () => err, ended };
}

/** A program of the user's own. @returns its path */
function scriptNamed(name: string, text: string): string {
  const path = join(node.folder, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}

const samplesSent = async (first: number, count: number) =>
  void (await dataplane.request(contracts.sampleEgress, batchOf(first, count), 2000));

/** SPIs in the lines of packets. */
const spisIn = (text: string): number[] =>
  [...text.matchAll(/ PSP 1500 SPI (0x[0-9a-f]{8}), AES-GCM-128, IPv4$/gm)].map(([, spi]) => Number(spi));

describe('psp tap samples --wireshark', () => {
  it('shows samples as they arrive, dissected, and all of them once the tap has ended', async () => {
    const pid = join(node.folder, 'pid');
    const program = scriptNamed('tshark-noted', `echo $$ >'${pid}'; exec tshark "$@"`);
    const running = launch(['samples', '--wireshark', program]);
    await expect.poll(running.err, { timeout: 20_000 }).toContain('listening on');
    await samplesSent(1, 3);
    await expect.poll(() => spisIn(running.out()), { timeout: 20_000 }).toEqual([1, 2, 3]);
    await samplesSent(4, 2);
    running.child.kill('SIGINT');
    await once(running.child, 'exit');
    expect(existsSync(`/proc/${readFileSync(pid, 'utf8').trim()}`)).toBe(false);
    expect([await running.ended, spisIn(running.out())]).toEqual([0, [1, 2, 3, 4, 5]]);
    expect(running.err()).not.toContain('Lua');
  });

  it('ends when the program ends', async () => {
    const program = scriptNamed('tshark-of-two', 'exec tshark -c 2 "$@"');
    const running = launch(['samples', '--wireshark', program]);
    await expect.poll(running.err, { timeout: 20_000 }).toContain('listening on');
    await samplesSent(1, 2);
    expect([await running.ended, spisIn(running.out())]).toEqual([0, [1, 2]]);
  });

  it('fails if the program fails, and reports how', async () => {
    const program = scriptNamed('tshark-of-none', 'exec tshark --no-such-option');
    const running = launch(['samples', '--wireshark', program]);
    expect(await running.ended).toBe(1);
    expect(running.err()).toMatch(/psp: \S+tshark-of-none ended with exit code \d+\n$/);
  });

  it('reports in one line what is missing, and the alternative', async () => {
    const running = launch(['samples', '--wireshark'], { PATH: node.folder });
    expect(await running.ended).toBe(1);
    const [line, ...more] = running.err().trimEnd().split('\n');
    expect(more).toEqual([]);
    expect(line).toMatch(
      /^psp: FILE_UNREADABLE: wireshark cannot be read \(there is no such program\); install it/,
    );
    expect(line).toContain('apt install wireshark');
    const [, script] =
      /psp tap samples -w FILE, then wireshark -X lua_script:(\S+) FILE$/.exec(line ?? '') ?? [];
    expect(readFileSync(script ?? '', 'utf8')).toContain('Proto("psp_sec"');
  });

  it.each([
    ['without samples', ['--wireshark']],
    ['with -w', ['samples', '--wireshark', '-w', 'x.pcapng']],
  ])('is wrong usage %s', async (_, args) => {
    const running = launch(args);
    expect([await running.ended, running.err()]).toEqual([2, expect.stringContaining('psp: USAGE:')]);
  });
});
