// SPDX-License-Identifier: Apache-2.0
// The log as a process writes it: whatever stderr is, and even if no process reads it, the process continues, and
// every line is either read or counted.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compile } from '../dataplane/compiled.js';

/** Far more than a pipe and the backlog hold: about 4 MB. */
const lines = 20_000;

let compiled: string;
let dir: string;
let child: ChildProcess | undefined;
beforeAll(() => {
  compiled = compile('services/shared/process/log.ts');
});
afterAll(() => rmSync(compiled, { recursive: true }));
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'psp-log-'));
  // Logs from a timer, and reports its progress in a file.
  writeFileSync(
    join(dir, 'agent.mjs'),
    `import { writeFileSync, renameSync } from 'node:fs';
     import { createLogger, flushLog, logCounters } from '${compiled}/services/shared/process/log.js';
     const log = createLogger('agent', 'a', 'info');
     let n = 0;
     const timer = setInterval(() => {
       for (let i = 0; i < 500; i++) log.info({ n: n++, pad: 'x'.repeat(100) }, 'line');
       const [{ value }] = logCounters();
       writeFileSync('${dir}/new', JSON.stringify({ n, dropped: Number(value) }));
       renameSync('${dir}/new', '${dir}/report');
       if (n === ${lines}) clearInterval(timer);
     }, 5);
     process.on('SIGTERM', () => flushLog(300).then(() => process.exit(0)));
     process.on('SIGUSR2', () => { log.info('last words'); throw new Error('a crash'); });
     setInterval(() => undefined, 1000);`,
  );
});
afterEach(() => {
  child?.kill('SIGKILL');
  child = undefined;
  rmSync(dir, { recursive: true });
});

const agent = () => [join(dir, 'agent.mjs')];
const report = (): { n: number; dropped: number } => {
  try {
    return JSON.parse(readFileSync(join(dir, 'report'), 'utf8'));
  } catch {
    return { n: 0, dropped: 0 };
  }
};

/** The read output: numbers of the agent's lines, and its reports of dropped lines. */
function reading(stream: Readable) {
  const numbers: number[] = [];
  const notices: number[] = [];
  createInterface({ input: stream }).on('line', (text) => {
    const line = JSON.parse(text);
    if (line.msg === 'line') numbers.push(line.n);
    else notices.push(line.dropped);
  });
  return { numbers, notices };
}

describe('stderr that no process reads', () => {
  const stalls = async (read: () => Readable) => {
    await expect.poll(() => report().n).toBe(lines);
    expect(report().dropped).toBeGreaterThan(1000);
    const { numbers, notices } = reading(read());
    await expect.poll(() => notices.length).toBeGreaterThan(0);
    const { dropped } = report();
    expect(notices.reduce((sum, each) => sum + each)).toBe(dropped);
    await expect.poll(() => numbers.length).toBe(lines - dropped);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect([...numbers].sort((one, other) => one - other)).toEqual(numbers);
  };

  it('delays nothing if it is a pipe, and every line is read or counted', async () => {
    const fifo = join(dir, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const [read, write] = [openSync(fifo, constants.O_RDWR), openSync(fifo, constants.O_WRONLY)];
    child = spawn(process.execPath, agent(), { stdio: ['ignore', 'ignore', write] });
    const cat = () => {
      const reader = spawn('cat', { stdio: [read, 'pipe', 'ignore'] });
      child?.once('exit', () => reader.kill('SIGKILL'));
      return reader.stdout as Readable;
    };
    await stalls(cat);
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('delays nothing if it is a socket, and every line is read or counted', async () => {
    child = spawn(process.execPath, agent(), { stdio: ['ignore', 'ignore', 'pipe'] });
    const { stderr } = child;
    await stalls(() => stderr as Readable);
  });

  it('delays nothing if it is a terminal', async () => {
    // The agent starts once the terminal has stopped.
    const command = `while [ ! -e ${dir}/go ]; do sleep 0.05; done; exec ${process.execPath} ${agent()}`;
    child = spawn('script', ['-qfec', command, '/dev/null'], { stdio: ['ignore', 'pipe', 'ignore'] });
    await expect
      .poll(() => readFileSync(`/proc/${child?.pid}/task/${child?.pid}/children`, 'utf8'))
      .not.toBe('');
    const inside = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8'));
    child.kill('SIGSTOP');
    writeFileSync(join(dir, 'go'), '');
    try {
      await expect.poll(() => report().n).toBe(lines);
      expect(report().dropped).toBeGreaterThan(1000);
    } finally {
      process.kill(inside, 'SIGKILL');
      child.kill('SIGCONT');
    }
  });

  it('does not keep the process from ending', async () => {
    child = spawn(process.execPath, agent(), { stdio: ['ignore', 'ignore', 'pipe'] });
    await expect.poll(() => report().n).toBe(lines);
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('that is closed costs lines only', async () => {
    child = spawn(process.execPath, agent(), { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr?.destroy();
    await expect.poll(() => report().n).toBe(lines);
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});

describe('the last lines', () => {
  it.each([
    ['a socket', 'SIGTERM'],
    ['a socket', 'SIGUSR2'],
    ['a file', 'SIGTERM'],
    ['a file', 'SIGUSR2'],
  ] as const)('of a process with %s that ends by %s are all there', async (kind, signal) => {
    const file = join(dir, 'log');
    const stderr = kind === 'a file' ? openSync(file, 'w') : 'pipe';
    child = spawn(process.execPath, agent(), { stdio: ['ignore', 'ignore', stderr] });
    let text = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    await expect.poll(() => report().n).toBe(lines);
    child.kill(signal);
    await once(child, 'close');
    if (kind === 'a file') text = readFileSync(file, 'utf8');
    const { dropped } = report();
    expect(text.match(/"msg":"line"/g)).toHaveLength(lines - dropped);
    if (signal === 'SIGUSR2') expect(text).toContain('"msg":"last words"');
  });

  it('go through a socket as those of the journal', async () => {
    const path = join(dir, 'journal');
    let socket: Socket | undefined;
    let text = '';
    const server = createServer((made) => {
      socket = made;
      made.on('data', (chunk) => {
        text += chunk.toString();
      });
    }).listen(path);
    await once(server, 'listening');
    const connect = `
      import socket, os, sys
      s = socket.socket(socket.AF_UNIX); s.connect('${path}'); os.dup2(s.fileno(), 2)
      os.execv('${process.execPath}', ['node', '${agent()}'])`;
    child = spawn('python3', ['-c', connect.replace(/^\s+/gm, '')], { stdio: 'ignore' });
    await expect.poll(() => report().n).toBe(lines);
    child.kill('SIGTERM');
    await once(child, 'exit');
    await expect.poll(() => socket?.closed ?? false).toBe(true);
    server.close();
    expect(text.match(/"msg":"line"/g)?.length).toBe(lines - report().dropped);
  });
});
