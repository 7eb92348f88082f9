// SPDX-License-Identifier: Apache-2.0
// An idle peer that is a stock gRPC server: it is probed repeatedly, and has no reason to end the connection with
// GOAWAY too_many_pings.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { until } from '../../e2e/namespace.js';
import { freePort } from '../shared/nats_server.js';
import { eventually } from '../shared/waiting.js';
import { Authority, writeTls } from './certificates.js';
import { freePorts, startNode } from './rig.js';

// As often as the link is checked, so that a test of minutes takes seconds.
vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  idleMs: 100,
}));

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

it('answers every probe on one connection', async () => {
  const authority = await Authority.create();
  const ports = await freePorts('a', 'b');
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'psp-stock-'));
  closing.push(() => rmSync(folder, { recursive: true }));
  writeTls(folder, authority.certificate, await authority.gateway('spiffe://psp/gateway/b'));
  const script = fromPackageRoot('test/adapters/keyexchange/stock_server.py');
  const server: ChildProcess = spawn('/usr/bin/python3', [script, join(folder, 'tls'), `${port}`]);
  closing.push(() => server.kill('SIGKILL'));
  let printed = '';
  server.stdout?.on('data', (text) => {
    printed += text;
  });
  await eventually(() => expect(printed).toContain('listening\n'));
  let connections = 0;
  const sockets = new Set<Socket>();
  const between = createServer((near) => {
    connections++;
    const far = connect(port, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }
    near.pipe(far).pipe(near);
  }).listen(ports.b, '127.0.0.1');
  await once(between, 'listening');
  closing.push(() => {
    between.close();
    for (const socket of sockets) socket.destroy();
  });
  const a = await startNode('a', authority, { ports });
  closing.push(() => a.stop());
  const probes = () => printed.split('\n').filter((line) => line === '/grpc.health.v1.Health/Check').length;
  await until('ten signs of life', () => probes() >= 10, 60_000, 100);
  const [peer] = (await a.status()).peers;
  expect(peer).toMatchObject({ link: 'connected', exchanges: 0n, failed: 0n, lastCode: '' });
  expect(connections).toBe(1);
});
