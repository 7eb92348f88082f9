// SPDX-License-Identifier: Apache-2.0
// Certificates, their authority and the bus secrets are replaced by an operator's commands while two whole nodes, which have
// dropped their privileges, exchange keys and carry a transfer: no exchange fails and no packet is lost.
import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { type Gateway, unhurried } from './gateway.js';
import { until } from './namespace.js';
import { newDrops } from './numbers.js';
import { Topology } from './topology.js';
import { ping, startTransfer } from './traffic.js';

let net: Topology;

beforeAll(async () => {
  net = await Topology.create({ edit: unhurried });
  await net.start();
  expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
});
afterAll(() => net?.close());

const path = (file: string) => join(net.a.files, '..', file);
const psp = (...args: string[]) =>
  execFileSync(process.execPath, [fromPackageRoot('dist/cli/psp.js'), ...args, '--dir', path('.')], {
    stdio: 'pipe',
  });
/** Replaces the file as an operator does who knows that it is in use. */
const put = (file: string, content: string) => {
  writeFileSync(path(`${file}.new`), content);
  renameSync(path(`${file}.new`), path(file));
};

const shown = async (gateway: Gateway) =>
  JSON.parse((await gateway.psp('certs', 'show', '--json')).stdout) as {
    certificates: { kind: string; fingerprint: string; inUse: boolean }[];
    peers: { name: string; certificate: { fingerprint: string } }[];
  };
/** Both nodes use every certificate of their files, so many in all. */
const inUse = (count: number) =>
  until('both nodes use their files', async () => {
    const each = await Promise.all([shown(net.a), shown(net.b)]);
    return each.every(
      ({ certificates }) => certificates.length === count && certificates.every((one) => one.inUse),
    );
  });

/** Both services of each node use a new bus secret. */
const secretsReplaced = () =>
  until('dataplane and key exchange of both nodes use the new bus secret', () =>
    [net.a, net.b].every((gateway) => gateway.log().match(/"msg":"bus secret replaced"/g)?.length === 2),
  );

it('a new authority and new bus secrets replace the old ones live', async () => {
  const before = await Promise.all([net.a.numbers(), net.b.numbers()]);
  const running = await startTransfer(net.host1.namespace, net.host2.namespace, net.host2.v4, {
    bytes: 96 << 20,
    rate: 2 << 20,
  });
  // Each rotation makes an exchange in the other direction necessary; one that is refused comes later.
  let isRotating = true;
  const rotations = (async () => {
    while (isRotating) for (const gateway of [net.a, net.b]) await gateway.ask('rotate');
  })();
  const old = readFileSync(path('ca/ca.crt'), 'utf8');
  renameSync(path('ca'), path('ca-old'));
  psp('init', 'a', 'b');
  psp('init', 'a', 'b', '--rotate-bus-secret');
  const next = readFileSync(path('ca/ca.crt'), 'utf8');
  for (const node of ['a', 'b']) put(`${node}/tls/ca.crt`, old + next);
  await inUse(3);
  psp('certs', 'renew');
  await inUse(3);
  for (const node of ['a', 'b']) put(`${node}/tls/ca.crt`, next);
  await inUse(2);
  const own = (await shown(net.b)).certificates[0]?.fingerprint;
  await until('a has seen the new certificate of b', async () =>
    (await shown(net.a)).peers.some(
      ({ name, certificate }) => name === 'b' && certificate.fingerprint === own,
    ),
  );
  await secretsReplaced();
  isRotating = false;
  await rotations;
  running.release();
  expect((await running.done).equal).toBe(true);
  for (const [i, gateway] of [net.a, net.b].entries()) {
    const after = await gateway.numbers();
    const first = before[i] as typeof after;
    expect(after.generation).toBeGreaterThan(first.generation + 2);
    expect(newDrops(first, after)).toEqual({});
    const { keyExchange, health } = JSON.parse((await gateway.psp('status', '--json')).stdout);
    expect(health).toEqual([]);
    expect(keyExchange[0].peers[0]).toMatchObject({ failed: 0, refused: 0, link: 'connected' });
    expect(gateway.log()).not.toContain('SEAL_INVALID');
  }
});
