// SPDX-License-Identifier: Apache-2.0
// The supervisor of `psp up` with small real children, and the errors of `psp up` before it starts any.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ChildSpec, type Ended, Supervisor } from '../../../cli/node/supervisor.js';
import { run } from '../../../cli/program.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { freePort } from '../shared/nats_server.js';
import { longMs } from '../shared/waiting.js';

let dir: string;
let supervisor: Supervisor | undefined;
const ended: (Ended & { restartMs: number })[] = [];
const failed: Ended[] = [];
const lines: string[] = [];
const silent: string[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'psp-up-'));
  ended.length = 0;
  lines.length = 0;
  silent.length = 0;
  failed.length = 0;
});
afterEach(async () => {
  vi.restoreAllMocks();
  await supervisor?.stop();
  supervisor = undefined;
  rmSync(dir, { recursive: true });
});

const story = () => join(dir, 'story');
const told = (): string[] => (existsSync(story()) ? readFileSync(story(), 'utf8').trim().split('\n') : []);
/** A shell as child that records its events in the log of the test. */
const shell = (name: string, script: string, stopMs = 3000): ChildSpec => ({
  name,
  command: '/bin/sh',
  args: ['-c', `say() { echo "${name} $1" >> ${story()}; }; ${script}`],
  stopMs,
  silentProbes: 3,
  firstAnswerMs: 60_000,
  channel: false,
  stdout: 'stderr',
});
const orderly = 'trap "say stops; exit 0" TERM; say starts; while :; do sleep 0.02; done';

function supervise(...specs: ChildSpec[]): Supervisor {
  supervisor = new Supervisor(specs, {
    onEnded: (each, restartMs) => ended.push({ ...each, restartMs }),
    onSilent: (name) => silent.push(name),
    onFailed: (each) => failed.push(each),
    onLine: (name, line) => lines.push(`${name}: ${line}`),
  });
  supervisor.start();
  return supervisor;
}
const alive = (pid: number): boolean => {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};

describe('the supervisor', () => {
  it('stops children in reverse order, each only when the one before has ended', async () => {
    const slow = 'trap "sleep 0.3; say stops; exit 0" TERM; say starts; while :; do sleep 0.02; done';
    const children = supervise(shell('first', orderly), shell('second', orderly), shell('third', slow));
    await expect.poll(told).toHaveLength(3);
    await children.stop();
    expect(told().slice(3)).toEqual(['third stops', 'second stops', 'first stops']);
    expect(children.pids).toEqual({});
    expect(ended).toEqual([]);
  });

  it('kills a child that does not stop in time, together with the processes that it started', async () => {
    const deaf = 'trap "" TERM; sleep 60 & echo $! > ' + '"$0"' + '; say starts; while :; do sleep 1; done';
    const spec = shell('deaf', deaf, 200);
    const children = supervise({ ...spec, args: [...spec.args, join(dir, 'grandchild')] });
    await expect.poll(told).toHaveLength(1);
    const pids = [children.pids.deaf as number, Number(readFileSync(join(dir, 'grandchild'), 'utf8'))];
    expect(pids.every(alive)).toBe(true);
    await children.stop();
    await expect.poll(() => pids.some(alive)).toBe(false);
  });

  it('restarts a child that a signal or an exit ends, with growing delays while it keeps ending', async () => {
    const children = supervise(shell('flaky', 'say starts; exit 7'), shell('steady', orderly));
    await expect.poll(() => ended.length).toBe(4);
    expect(ended.map(({ name, code, restartMs }) => [name, code, restartMs])).toEqual([
      ['flaky', 7, 100],
      ['flaky', 7, 200],
      ['flaky', 7, 400],
      ['flaky', 7, 800],
    ]);
    const { steady } = children.pids;
    process.kill(steady as number, 'SIGKILL');
    await expect.poll(() => children.pids.steady !== undefined && children.pids.steady !== steady).toBe(true);
    expect(ended.at(-1)).toMatchObject({ name: 'steady', code: null, signal: 'SIGKILL', restartMs: 100 });
    expect(failed).toEqual([]);
  });

  it('never waits longer than 5 s for a restart', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    supervise(shell('flaky', 'exit 7'));
    try {
      for (let n = 1; n <= 8; n++) {
        await vi.waitUntil(() => ended.length === n, { timeout: longMs });
        vi.advanceTimersByTime(5000);
      }
    } finally {
      vi.useRealTimers();
    }
    expect(ended.map(({ restartMs }) => restartMs)).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  });

  it('takes exit code 1 before the child was ever ready as final', async () => {
    supervise(shell('wrong', 'say starts; exit 1'), shell('other', orderly));
    await expect.poll(() => failed).toEqual([{ name: 'wrong', code: 1, signal: null }]);
    await delay(300);
    expect(ended).toEqual([]);
    expect(told().filter((line) => line === 'wrong starts')).toHaveLength(1);
  });

  it('restarts after exit code 1 once the child was ready, or when it is not its first start', async () => {
    const children = supervise(
      shell('late', 'sleep 0.2; exit 1'),
      shell('second', `[ -e ${story()} ] && exit 1; say starts; exit 9`),
    );
    children.probed('late', 'answered');
    await expect.poll(() => ended.filter(({ code }) => code === 1).length).toBeGreaterThan(2);
    expect(new Set(ended.map(({ name }) => name))).toEqual(new Set(['late', 'second']));
    expect(failed).toEqual([]);
  });

  it('receives through the channel why a child cannot start', async () => {
    const script = "process.send({ code: 'X', message: 'y' }); process.exit(1)";
    supervise({ ...shell('wordy', ''), command: process.execPath, args: ['-e', script], channel: true });
    await expect
      .poll(() => failed)
      .toEqual([{ name: 'wordy', code: 1, signal: null, startFailure: { code: 'X', message: 'y' } }]);
  });

  it('reports a command that cannot be run', async () => {
    supervise({ ...shell('none', ''), command: join(dir, 'none') });
    await expect.poll(() => failed[0]?.error?.message).toContain('ENOENT');
  });

  it('gives its stdout to the child that requests it, and to no other', async () => {
    const opens = 'to=$(readlink /proc/$$/fd/1); echo "$to" > "$0"; say starts';
    const spec = (name: string, stdout: ChildSpec['stdout']): ChildSpec => {
      const { args, ...rest } = shell(name, `${opens}; ${orderly}`);
      return { ...rest, args: [...args, join(dir, name)], stdout };
    };
    supervise(spec('speaker', 'stdout'), spec('logger', 'stderr'));
    await expect.poll(told).toHaveLength(4);
    const target = readlinkSync('/proc/self/fd/1');
    expect(readFileSync(join(dir, 'speaker'), 'utf8').trim()).toBe(target);
    expect(readFileSync(join(dir, 'logger'), 'utf8').trim()).not.toBe(target);
  });

  it('reads the output of children line by line, including a last line without a line feed', async () => {
    const long = 'x'.repeat(200_000);
    const children = supervise(
      shell('talker', `echo out; printf 'to be '; sleep 0.1; echo 'joined' >&2; printf last >&2; exit 7`),
      shell('endless', `printf '%0200000d' 0 >&2; say starts; ${orderly}`),
    );
    await expect.poll(() => lines.filter((line) => line === 'talker: last').length).toBeGreaterThan(0);
    expect(lines).toEqual(expect.arrayContaining(['talker: out', 'talker: to be', 'talker: joined']));
    const cut = () => lines.filter((line) => line.startsWith('endless: ')).map((line) => line.length - 9);
    await expect.poll(cut).toContain(65_536);
    await children.stop();
    expect(cut().reduce((sum, length) => sum + length, 0)).toBe(long.length);
  });

  it('reports to a child with a channel how many of its lines were dropped, and to no other', async () => {
    const script = `process.on('message', ({ logDropped }) => console.error('dropped', logDropped));
      console.error('up')`;
    const wordy = { ...shell('wordy', ''), command: process.execPath, args: ['-e', script], channel: true };
    const children = supervise(wordy, shell('mute', orderly));
    await expect.poll(() => lines).toContain('wordy: up');
    children.reportDropped('wordy', 7);
    children.reportDropped('mute', 7);
    await expect.poll(() => lines).toContain('wordy: dropped 7');
  });

  it('ends and restarts a child that answers no probes, also one that only SIGKILL ends', async () => {
    const children = supervise(shell('frozen', orderly, 300), shell('other', orderly));
    await expect.poll(told).toHaveLength(2);
    const { frozen, other } = children.pids;
    for (const name of ['frozen', 'other']) children.probed(name, 'answered');
    process.kill(frozen as number, 'SIGSTOP');
    const miss = (times: number) => {
      for (let i = 0; i < times; i++) children.probed('frozen', 'away');
    };
    miss(2);
    children.probed('frozen', 'answered');
    miss(2);
    expect(silent).toEqual([]);
    miss(1);
    expect(silent).toEqual(['frozen']);
    await expect.poll(() => children.pids.frozen !== undefined && children.pids.frozen !== frozen).toBe(true);
    expect(ended).toMatchObject([{ name: 'frozen', signal: 'SIGKILL', restartMs: 100 }]);
    expect(children.pids.other).toBe(other);
    expect(failed).toEqual([]);
  });

  it('counts a child as silent if it is reached or has answered before, not while it starts, and restarts one that keeps falling silent with growing delays', async () => {
    const children = supervise(shell('slow', orderly, 300));
    for (let start = 1; start <= 3; start++) {
      await expect.poll(told).toHaveLength(2 * start - 1);
      for (let i = 0; i < 5; i++) children.probed('slow', 'away');
      expect(silent).toHaveLength(start - 1);
      if (start > 1) children.probed('slow', 'answered');
      for (let i = 0; i < 3; i++) children.probed('slow', start > 1 ? 'away' : 'silent');
      expect(silent).toHaveLength(start);
      await expect.poll(() => ended.length).toBe(start);
    }
    expect(ended.map(({ restartMs }) => restartMs)).toEqual([100, 200, 400]);
  });

  it('restarts a child that the node can run without even if it never started', async () => {
    supervise({ ...shell('spare', 'say starts; exit 1'), isOptional: true }, shell('other', orderly));
    await expect.poll(() => ended.length).toBeGreaterThan(2);
    expect(failed).toEqual([]);
  });

  it('passes open files to a child', async () => {
    const file = join(dir, 'open');
    writeFileSync(file, 'by descriptor');
    const descriptor = openSync(file, 'r');
    rmSync(file);
    supervise({ ...shell('reader', 'cat /proc/self/fd/3; exit 7'), descriptors: [descriptor] });
    await expect.poll(() => lines).toContain('reader: by descriptor');
    closeSync(descriptor);
  });

  it('starts no child again once it stops', async () => {
    const children = supervise(shell('flaky', 'say starts; exit 7'));
    await expect.poll(() => ended.length).toBe(2);
    await children.stop();
    const before = told().length;
    await delay(900);
    expect(told()).toHaveLength(before);
  });

  it('gives each child its own session, out of reach of the terminal’s Ctrl-C', async () => {
    const children = supervise(shell('first', orderly), shell('second', orderly));
    await expect.poll(told).toHaveLength(2);
    const session = (pid: number) =>
      execFileSync('ps', ['-o', 'sid=', '-p', `${pid}`], { encoding: 'utf8' }).trim();
    const { first, second } = children.pids as Record<'first' | 'second', number>;
    expect([session(first), session(second)]).toEqual([`${first}`, `${second}`]);
  });
});

describe('a service', () => {
  const waiting = 'setInterval(() => undefined, 1000)';
  const parents: ChildProcess[] = [];
  let compiled: string;
  let parentModule: string;
  beforeAll(() => {
    compiled = mkdtempSync(join(tmpdir(), 'psp-parent-'));
    parentModule = join(compiled, 'parent.js');
    const options = ['--outDir', compiled, '--module', 'nodenext', '--target', 'es2023', '--types', 'node'];
    const source = fromPackageRoot('services/shared/process/parent.ts');
    execFileSync(fromPackageRoot('node_modules/.bin/tsc'), [...options, '--ignoreConfig', source]);
    writeFileSync(join(compiled, 'package.json'), '{ "type": "module" }');
  });
  afterEach(() => {
    for (const parent of parents.splice(0)) parent.kill('SIGKILL');
  });
  afterAll(() => rmSync(compiled, { recursive: true }));
  /** A parent that starts a child with a channel, prints its id and waits. */
  const parentOf = async (child: string): Promise<{ parent: ChildProcess; pid: number }> => {
    writeFileSync(join(dir, 'child.mjs'), `import { endWithParent } from '${parentModule}';\n${child}`);
    const script = `
      const child = require('node:child_process').spawn(process.execPath, ['${join(dir, 'child.mjs')}'], {
        detached: true, stdio: ['ignore', 'pipe', 2, 'ipc'],
      });
      child.stdout.once('data', () => console.log(child.pid));
      ${waiting};`;
    const parent = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    parents.push(parent);
    const [pid] = await once(parent.stdout as NonNullable<typeof parent.stdout>, 'data');
    return { parent, pid: Number(pid) };
  };

  it('ends when its parent is killed, even after it has dropped root', async () => {
    const { parent, pid } = await parentOf(
      `endWithParent(); process.setgid(70001); process.setuid(70001); console.log('up'); ${waiting};`,
    );
    expect(alive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await expect.poll(() => alive(pid)).toBe(false);
  });

  it('stops in order when its parent is killed', async () => {
    const { parent, pid } = await parentOf(`
      import { writeFileSync } from 'node:fs';
      endWithParent();
      process.once('SIGTERM', () => { writeFileSync('${story()}', 'stopped'); process.exit(0); });
      console.log('up'); ${waiting};`);
    parent.kill('SIGKILL');
    await expect.poll(() => alive(pid)).toBe(false);
    expect(told()).toEqual(['stopped']);
  });

  it('ends if its parent was gone before it checked', async () => {
    const go = join(dir, 'go');
    const { parent, pid } = await parentOf(`
      import { existsSync } from 'node:fs';
      const look = setInterval(() => {
        if (!existsSync('${go}')) return;
        clearInterval(look);
        endWithParent();
      }, 20);
      console.log('up'); ${waiting};`);
    const gone = once(parent, 'exit');
    parent.kill('SIGKILL');
    await gone;
    await delay(250);
    expect(alive(pid)).toBe(true);
    writeFileSync(go, '');
    await expect.poll(() => alive(pid)).toBe(false);
  });

  it('is killed if it does not stop in time', async () => {
    const { parent, pid } = await parentOf(
      `endWithParent(); process.on('SIGTERM', () => undefined); console.log('up'); ${waiting};`,
    );
    parent.kill('SIGKILL');
    await expect.poll(() => alive(pid)).toBe(false);
  });

  it('is not kept alive by the channel, and does not need one', async () => {
    writeFileSync(
      join(dir, 'alone.mjs'),
      `import { endWithParent } from '${parentModule}'; endWithParent();`,
    );
    for (const stdio of [['ignore', 'inherit', 'inherit', 'ipc'], 'inherit'] as const) {
      const child = spawn(process.execPath, [join(dir, 'alone.mjs')], { stdio: stdio as 'inherit' });
      expect(await once(child, 'exit')).toEqual([0, null]);
    }
  });
});

describe('psp up', () => {
  it('reports which address is taken, and starts nothing', async () => {
    let stderr = '';
    vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
      stderr += chunk;
      return true;
    });
    const listen = `127.0.0.1:${await freePort()}`;
    const example = readFileSync(fromPackageRoot('deploy/examples/two-nodes/a.yaml'), 'utf8');
    const settings = `bus: { listen: "${listen}" }\nstateDir: ${join(dir, 'state')}\n`;
    writeFileSync(join(dir, 'a.yaml'), example + settings);
    expect(await run(['init', 'a', '--dir', dir, '--from', dir])).toBe(0);
    const { hostname: host, port } = new URL(`tcp://${listen}`);
    const holder = createServer().listen(Number(port), host);
    await once(holder, 'listening');
    expect(await run(['up', '-c', join(dir, 'a/node.yaml')])).toBe(1);
    holder.close();
    expect(stderr).toBe(
      `psp: ADDRESS_TAKEN: ${listen} is in use by another process; free it or change bus.listen\n`,
    );
    expect(statSync(join(dir, 'state'), { throwIfNoEntry: false })).toBeUndefined();
  });
});
