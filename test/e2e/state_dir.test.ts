// SPDX-License-Identifier: Apache-2.0
// One `stateDir` belongs to one node: a second node is refused before it changes anything, and a process that died
// leaves no lock.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { signal, until } from './namespace.js';
import { Topology } from './topology.js';

const psp = fromPackageRoot('dist/cli/psp.js');
let net: Topology;
let stateDir: string;
beforeAll(async () => {
  net = await Topology.create();
  stateDir = join(net.folder, 'state-a');
  const file = join(net.b.files, 'node.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replace(join(net.folder, 'state-b'), stateDir));
  await net.a.start();
});
afterAll(() => net?.close());

it('a second node is refused in one line that names the folder and the process', async () => {
  const args = [psp, 'up', '-c', join(net.b.files, 'node.yaml')];
  const { code, stdout, stderr } = await net.b.namespace.try(process.execPath, args);
  expect([code, stdout, stderr]).toEqual([
    1,
    '',
    `psp: STATE_DIR_TAKEN: stateDir ${stateDir} is in use by another node (process ${net.a.pid}); stop it or give each its own\n`,
  ]);
  expect(net.b.namespace.processes()).toEqual([]);
  expect((await net.a.psp('status')).code).toBe(0);
  expect((await net.a.psp('audit', 'verify')).code).toBe(0);
});

it('a node that was killed leaves no lock, and no other user can hold one', async () => {
  signal(net.a.pid, 'SIGKILL');
  await until('all is gone', () => net.a.namespace.processes().length === 0);
  const as = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
  const squat = ['flock', '--exclusive', '--nonblock', join(stateDir, 'lock'), 'true'];
  const { code, stderr } = await net.a.namespace.try('setpriv', [...as, ...squat]);
  expect(code).not.toBe(0);
  expect(stderr).toContain('Permission denied');
  // A user who may open the folder may lock it, but that is not the node's lock.
  const squatter = net.a.namespace.spawn('setpriv', [...as, 'flock', stateDir, 'sleep', '600']);
  await until('the folder is locked', () => net.a.namespace.processes().length > 1);
  await net.a.start();
  squatter.kill('SIGKILL');
  for (const pid of net.a.namespace.processes()) {
    if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('sleep')) signal(pid, 'SIGKILL');
  }
  await until('what the first left is published', async () => {
    const { code, stdout } = await net.a.psp('audit', 'verify', '--json');
    return code === 0 && JSON.parse(stdout).producers.length === 8;
  });
});
