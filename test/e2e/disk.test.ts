// SPDX-License-Identifier: Apache-2.0
// Failures of the disk under `stateDir`: full, read-only, hanging and lost. Key exchange depends on none of it:
// unused flows are keyed throughout. Audit resumes by itself once the disk is back, and reports the events that it
// lost.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { expectSchema } from '../json_schema.js';
import { Disk } from './disk.js';
import { signal, until } from './namespace.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

const pairs = 100;
const stateBytes = 24 << 20;
let net: Topology;
let disk: Disk;
let used: number;
beforeEach(async () => {
  net = await Topology.create();
  net.addAddresses(pairs);
  used = 0;
  disk = new Disk(join(net.folder, 'state-a'), stateBytes);
});
afterEach(async () => {
  disk?.unmount();
  await net?.close();
});

/** Sends on a flow that was not used before. */
async function newTunnel(): Promise<string> {
  const i = used++;
  const [source, to] = [`10.1.0.${100 + i}`, `10.2.0.${100 + i}`];
  const { received } = await ping(net.host1.namespace, to, { source, waitS: 3 });
  expect(received, `${source} reaches ${to}`).toBe(1);
  return source;
}

/** Uses new flows one after another for this long, and until a condition holds. */
async function newTunnels(
  seconds: number,
  also: () => boolean | Promise<boolean> = () => true,
): Promise<void> {
  const begin = performance.now();
  const nats = net.a.pidOf('nats-server');
  do {
    await newTunnel();
    await sleep(1000);
  } while (performance.now() < begin + 1000 * seconds || !(await also()));
  expect(net.a.pidOf('nats-server')).toBe(nats);
}

/** Tunnel events are recorded again, and every gap has a reason. */
async function auditIsWhole(): Promise<void> {
  // The first event may fall into the second in which a spool does not retry its disk after a failure.
  const sources: string[] = [];
  await until(
    'a new tunnel is in the audit',
    async () => {
      sources.push(await newTunnel());
      await sleep(2000);
      const { code, stdout } = await net.a.ask('audit', '--json');
      return code === 0 && sources.some((source) => stdout.includes(`"local":"${source}"`));
    },
    90_000,
  );
  await until('no audit is in trouble', async () => {
    return (await net.a.numbers()).health.every((line) => !line.includes('audit'));
  });
  const { code, stdout, stderr } = await net.a.psp('audit', 'verify', '--json');
  expect(stderr).toBe('');
  const verdict = JSON.parse(stdout);
  expectSchema('audit_verify', verdict);
  expect([verdict.whole, code], stdout).toEqual([true, 0]);
}

const tellsOfAudit = async () => (await net.a.numbers()).health.some((line) => line.includes('audit'));

describe('key exchange continues, and audit resumes by itself', () => {
  it('when the disk is full', async () => {
    await net.start();
    await newTunnels(2);
    disk.fill();
    await newTunnels(30, tellsOfAudit);
    disk.clear();
    await auditIsWhole();
  });

  it('when the disk is full or read-only at the start', async () => {
    await net.start();
    await newTunnel();
    await net.a.stop();
    disk.fill();
    await net.a.start();
    await newTunnels(5, tellsOfAudit);
    await net.a.stop();
    disk.makeReadOnly();
    await net.a.start();
    await newTunnels(5, tellsOfAudit);
    disk.makeWritable(net.a.pid);
    disk.clear();
    await auditIsWhole();
  });

  it('when the audit server hangs', async () => {
    await net.start();
    await newTunnel();
    const hung = net.a.pidOf('nats-audit') as number;
    signal(hung, 'SIGSTOP');
    const isAnother = () => ![hung, undefined].includes(net.a.pidOf('nats-audit'));
    await newTunnels(5, isAnother);
    await auditIsWhole();
  });

  it('when the disk is lost and comes back empty', async () => {
    await net.start();
    await newTunnels(2);
    disk.unmount();
    await newTunnels(10);
    disk.mount();
    await newTunnels(5);
    await auditIsWhole();
  });

  it('when all files on the disk are removed', async () => {
    await net.start();
    await newTunnels(2);
    for (const name of readdirSync(disk.folder)) rmSync(join(disk.folder, name), { recursive: true });
    await newTunnels(10);
    await auditIsWhole();
  });
});
