// SPDX-License-Identifier: Apache-2.0
// The sampler as a process: the effect of its standard output, its user, and that stopping and killing replicas under
// load loses no accepted sample.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ServiceStatus } from '../../../proto/gen/bus.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { contracts } from '../../../services/shared/contracts.js';
import { compile } from '../dataplane/compiled.js';
import { NatsServer } from '../shared/nats_server.js';
import { longMs } from '../shared/waiting.js';
import { batchOf, nodeFolder, numbersIn, numbersOf, sampleFiles } from './rig.js';

let compiled: string;
let server: NatsServer;
let dataplane: Bus;
let operator: Bus;
let node: { folder: string; file: string };
let children: ChildProcess[] = [];
beforeAll(async () => {
  compiled = compile('services/sampler/main.ts');
  server = await NatsServer.start('a');
  dataplane = await server.connect('dataplane');
  operator = await server.connect('operator');
});
afterAll(async () => {
  await Promise.all([dataplane.close(), operator.close()]);
  await server.remove();
  rmSync(compiled, { recursive: true });
});
beforeEach(() => {
  node = nodeFolder(server);
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  children = [];
  rmSync(node.folder, { recursive: true });
});

/** @param stdout a pipe that the test reads or not, or a descriptor. */
async function start(stdout: 'pipe' | number = 'pipe'): Promise<ChildProcess> {
  const main = join(compiled, 'services/sampler/main.js');
  const child = spawn(process.execPath, [main, '--config', node.file], { stdio: ['ignore', stdout, 'pipe'] });
  children.push(child);
  let log = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      log += chunk.toString();
      if (log.includes('sampler started')) resolve();
    });
    child.once('exit', () => reject(new Error(`the sampler ended: ${log}`)));
  });
  return child;
}

async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
  const ended = once(child, 'exit');
  child.kill(signal);
  return (await ended)[0] as number | null;
}

const take = (first: number, samples: number) =>
  dataplane.request(contracts.sampleEgress, batchOf(first, samples), longMs);
const statuses = (): Promise<ServiceStatus[]> =>
  operator.requestAll(contracts.samplerStatus, {}, 200, longMs);
const count = async (name: string): Promise<number> =>
  (await statuses())
    .flatMap(({ counters }) => counters)
    .filter((each) => each.name === name)
    .reduce((sum, { value }) => sum + Number(value), 0);
const samples = () => join(node.folder, 'state/samples');

describe('standard output', () => {
  /** More than a pipe and the backlog hold: about 10 MB of lines. */
  const flood = async () => {
    for (let i = 0; i < 160; i++) await take(i * 256, 256);
  };

  it('that is a pipe which no process reads delays nothing, including the end', async () => {
    const child = await start();
    await flood();
    await expect.poll(() => count('packetsWritten')).toBe(160 * 256);
    expect(await count('linesDropped')).toBeGreaterThan(1000);
    expect(await stop(child)).toBe(0);
  });

  it('that is closed costs lines only', async () => {
    const child = await start();
    child.stdout?.destroy();
    await delay(100);
    await take(0, 256);
    await take(256, 256);
    await expect.poll(() => count('packetsWritten')).toBe(512);
    await expect.poll(() => count('linesDropped')).toBe(512);
    expect((await statuses())[0]?.health).toMatchObject([{ part: 'stdout' }]);
    expect(await stop(child)).toBe(0);
  });

  it('that is a file contains every line', async () => {
    const path = join(node.folder, 'lines');
    const file = openSync(path, 'w', 0o666);
    const child = await start(file);
    closeSync(file);
    for (let i = 0; i < 5; i++) {
      await take(i * 40, 40);
      await expect.poll(() => count('linesWritten')).toBe((i + 1) * 40);
    }
    expect(await stop(child)).toBe(0);
    const expected = Array.from({ length: 200 }, (_, i) => i);
    expect(numbersOf(readFileSync(path, 'latin1'))).toEqual(expected);
  });

  it('that is a terminal shows the lines', async () => {
    const main = join(compiled, 'services/sampler/main.js');
    const command = `exec ${process.execPath} ${main} --config ${node.file}`;
    const child = spawn('script', ['-qfec', command, '/dev/null'], { stdio: ['ignore', 'pipe', 'ignore'] });
    children.push(child);
    let shown = '';
    child.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString('latin1');
    });
    await expect.poll(() => shown).toContain('sampler started');
    await take(1, 3);
    await expect.poll(() => shown.match(/"spi":"0x0000000[123]"/g)).toHaveLength(3);
    await stop(child);
  });

  it.runIf(existsSync('/dev/full'))('that is a full disk is reported, and the write is retried', async () => {
    const full = openSync('/dev/full', 'w');
    const child = await start(full);
    closeSync(full);
    await take(1, 10);
    await expect
      .poll(async () => (await statuses())[0]?.health)
      .toMatchObject([{ part: 'stdout', message: expect.stringContaining('ENOSPC') }]);
    expect(await count('packetsWritten')).toBe(10);
    expect(await stop(child)).toBe(0);
  });
});

describe.runIf(process.geteuid?.() === 0)('privileges', () => {
  it('are dropped for its own user, who alone reads the samples', async () => {
    const child = await start();
    await take(1, 1);
    await expect.poll(() => count('packetsWritten')).toBe(1);
    const lines = readFileSync(`/proc/${child.pid}/status`, 'utf8').split('\n');
    const ids = (name: string) =>
      lines
        .find((line) => line.startsWith(name))
        ?.split(/\s+/)
        .slice(1, 5);
    expect(ids('Uid:')).toEqual(Array(4).fill('70003'));
    expect(ids('Gid:')).toEqual(Array(4).fill('70003'));
    const access = (path: string) => [statSync(path).uid, statSync(path).mode & 0o777];
    expect(access(samples())).toEqual([70_003, 0o750]);
    for (const file of sampleFiles(samples())) expect(access(file)).toEqual([70_003, 0o640]);
  });
});

describe('samplers that are restarted in turn under load', () => {
  it('write every accepted sample exactly once, as line and as packet', async () => {
    let output = '';
    const join = async () => {
      const child = await start();
      child.stdout?.on('data', (chunk: Buffer) => {
        output += chunk.toString('latin1');
      });
      return child;
    };
    const replicas = [await join(), await join()];
    const answered: number[] = [];
    const unanswered: number[] = [];
    let next = 0;
    let isOver = false;
    const publish = async () => {
      while (!isOver) {
        const first = next;
        next += 10;
        await take(first, 10).then(
          () => answered.push(...Array.from({ length: 10 }, (_, i) => first + i)),
          () => unanswered.push(first),
        );
        await delay(5);
      }
    };
    const publishers = Array.from({ length: 4 }, publish);
    for (const turn of [0, 1, 0, 1]) {
      await delay(200);
      expect(await stop(replicas[turn] as ChildProcess)).toBe(0);
      replicas[turn] = await join();
    }
    await expect.poll(() => answered.length).toBeGreaterThan(1000);
    isOver = true;
    await Promise.all(publishers);
    for (const replica of replicas) await stop(replica);
    const written = numbersOf(output);
    expect(unanswered).toEqual([]);
    expect(new Set(written).size).toBe(written.length);
    const lines = new Set(written);
    expect(answered.filter((number) => !lines.has(number))).toEqual([]);
    const packets = numbersIn(sampleFiles(samples()));
    expect(packets.sort((a, b) => a - b)).toEqual(written.sort((a, b) => a - b));
  });
});
