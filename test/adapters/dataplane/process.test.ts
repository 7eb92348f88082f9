// SPDX-License-Identifier: Apache-2.0
// The dataplane as a process: what it gives up, and how it ends when it cannot start.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from './compiled.js';

let folder: string;
beforeAll(() => {
  folder = compile('services/dataplane/main.ts');
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('giving up root', () => {
  const drop = (service: string, wrap: string[] = [], before = '') => {
    const script = `
      const { dropPrivileges } = await import('${folder}/services/shared/process/privileges.js');
      ${before}
      let answer;
      try { answer = dropPrivileges('${service}'); } catch ({ code }) { answer = code; }
      let back = true;
      try { process.setuid(0); } catch { back = false; }
      const ids = [process.getuid(), process.geteuid(), process.getgid(), process.getgroups(), back];
      console.log(JSON.stringify([answer, ...ids]));`;
    const [command, ...args] = [...wrap, process.execPath, '--input-type=module', '-e', script];
    const { stdout, stderr } = spawnSync(command as string, args, { encoding: 'utf8' });
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as unknown[];
  };

  it.each([
    ['dataplane', 70_001, [70_000, 70_001]],
    ['keyexchange', 70_002, [70_000, 70_002]],
    ['nats-server', 70_005, [70_005]],
  ])('makes %s its own user for good', (service, id, groups) => {
    const [answer, uid, euid, gid, found, back] = drop(service);
    expect(answer).toEqual({ dropped: true });
    expect([uid, euid, gid, back]).toEqual([id, id, id, false]);
    expect(new Set(found as number[])).toEqual(new Set(groups));
  });

  it('says why privileges were kept when it was not root', () => {
    // Not before: the sources may lie where only root can read them.
    const [answer, uid] = drop('dataplane', [], 'process.setuid(65534);');
    expect([answer, uid]).toEqual([{ dropped: false, reason: 'started as user 65534, not as root' }, 65_534]);
  });

  it('fails with a code when the kernel does not let it', () => {
    const [answer, uid] = drop('dataplane', ['setpriv', '--bounding-set=-setuid', '--inh-caps=-setuid']);
    expect([answer, uid]).toEqual(['RIGHTS_MISSING', 0]);
  });
});

describe('a dataplane that cannot start', () => {
  const start = (file: string) => {
    const main = join(folder, 'services/dataplane/main.js');
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, '--config', join(folder, file)], {
      encoding: 'utf8',
    });
    return { status, stdout, lines: stderr.trim().split('\n') };
  };
  const node = (more: string) =>
    `{ node: a, unsecured: { port: net_null0 }, secured: { port: net_null1, address: 192.0.2.1/24 },
       keyExchange: { listen: "127.0.0.1:1" }, vips: [10.1.0.0/24] ${more} }`;
  beforeAll(() => {
    writeFileSync(join(folder, 'good.yaml'), node(''));
    writeFileSync(join(folder, 'bad.yaml'), node(', colour: red, stateDir: 7'));
    mkdirSync(join(folder, 'nats'));
    writeFileSync(join(folder, 'nats/dataplane.password'), 'password-of-dataplane\n', { mode: 0o640 });
    writeFileSync(join(folder, 'bus.secret'), 'not hex\n');
    chmodSync(join(folder, 'bus.secret'), 0o600);
  });

  it.each([
    ['none.yaml', 'FILE_UNREADABLE', 'psp init'],
    ['bad.yaml', 'CONFIG_INVALID', 'colour'],
    ['good.yaml', 'FILE_UNREADABLE', 'bus.secret'],
  ])('for %s says why in one line with its code, and exits 1', (file, code, word) => {
    const { status, stdout, lines } = start(file);
    expect([status, stdout, lines.length]).toEqual([1, '', 1]);
    const line = JSON.parse(lines[0] as string) as Record<string, string>;
    expect(line).toMatchObject({
      level: 'fatal',
      service: 'dataplane',
      code,
      err: expect.stringContaining(word),
    });
  });
});
