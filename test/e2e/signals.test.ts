// SPDX-License-Identifier: Apache-2.0
// Signals that an operator or a log rotation commonly sends: a node must neither open a debugger nor stop.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { services } from '../../services/shared/contracts.js';
import { signal, until } from './namespace.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

let net: Topology;
beforeAll(async () => {
  net = await Topology.create();
  await net.start();
});
afterAll(() => net?.close());

/** Signals that the process handles or ignores, so that the kernel does not end it (SigCgt and SigIgn). */
function survives(pid: number, number: number): boolean {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mask = (name: string) =>
    BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1]}`);
  return (((mask('SigCgt') | mask('SigIgn')) >> BigInt(number - 1)) & 1n) === 1n;
}

it('SIGHUP, which reloads the node file, SIGUSR1 and SIGUSR2 leave psp up and every service running, without an inspector', async () => {
  const pids = () => [net.a.pid, ...services.map((service) => net.a.pidOf(service))] as number[];
  const before = pids();
  expect(before.every((pid) => [1, 10, 12].every((number) => survives(pid, number)))).toBe(true);
  for (const name of ['SIGUSR1', 'SIGUSR2', 'SIGHUP'] as const) for (const pid of before) signal(pid, name);
  await until('psp up reloads the node file, which has not changed', () =>
    net.a
      .log()
      .includes('"by":"SIGHUP","applied":[],"restartKeys":[],"waiting":[],"msg":"node file reloaded"'),
  );
  expect((await ping(net.host1.namespace, net.host2.v4, { waitS: 5 })).received).toBe(1);
  expect((await net.a.psp('status')).code).toBe(0);
  expect(pids()).toEqual(before);
  // 9229 (0x240d) is the inspector's port, in state 0A: listening.
  const listening = net.a.namespace.run('cat', '/proc/net/tcp').split('\n').slice(1);
  expect(listening.filter((line) => /:240D [0-9A-F]+:0000 0A/.test(line))).toEqual([]);
  expect(net.a.log()).not.toMatch(/Debugger listening|inspector/i);
}, 120_000);
