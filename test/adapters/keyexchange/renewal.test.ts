// SPDX-License-Identifier: Apache-2.0
// Connections between gateways that have reached their age while exchanges run: they are replaced, and no exchange fails.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { expect, it, vi } from 'vitest';
import { until } from '../../e2e/namespace.js';
import { freePort } from '../shared/nats_server.js';
import { eventually } from '../shared/waiting.js';
import type { Authority } from './certificates.js';
import { nodeOfEachTest } from './node_of_each_test.js';
import { PlainClient, type PlainRequest } from './peer.js';
import { flowOf, startNode, type TestNode, unhurried } from './rig.js';

// Minutes become seconds: clients renew after 2 s, the server ends connections of others after 20 s.
vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  clientAgeMs: 2000,
  serverAgeMs: 20_000,
  serverGraceMs: 1000,
  longestAgeMs: 12_000,
  renewalRetryMs: 3000,
  shortestCommandMs: 2000,
}));

let authority: Authority;
let ports: Record<string, number>;
let a: TestNode;
const closing = nodeOfEachTest((made) => {
  ({ authority, ports, a } = made);
});

const peerOf = async (node: TestNode) => (await node.status()).peers[0];

/** Passes connections on to a port. */
async function between(listen: number, port: number) {
  const pairs: [Socket, Socket][] = [];
  const state = { accepted: 0, open: 0, isRefusing: false };
  const server = createServer((near) => {
    if (state.isRefusing) {
      near.destroy();
      return;
    }
    const far = connect(port, '127.0.0.1');
    pairs.push([near, far]);
    state.accepted++;
    state.open++;
    near.once('close', () => far.destroy());
    far.once('close', () => {
      state.open--;
      near.destroy();
    });
    for (const socket of [near, far]) socket.on('error', () => undefined);
    near.pipe(far).pipe(near);
  }).listen(listen, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.close();
    for (const socket of pairs.flat()) socket.destroy();
  });
  return state;
}

it('are replaced by the client before the server ends them, and no exchange of either side fails', async () => {
  const port = await freePort();
  const b = await startNode('b', authority, { ports: { ...ports, b: port }, times: unhurried });
  closing.push(() => b.stop());
  const state = await between(ports.b as number, port);
  await eventually(async () => expect((await peerOf(a))?.link).toBe('connected'));
  const linkSinceMs = (await peerOf(a))?.linkSinceMs;
  const wants = setInterval(() => {
    a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.7')]);
    b.dataplane.want('a', [flowOf('10.2.0.7', '10.1.0.5')]);
  }, 25);
  closing.push(() => clearInterval(wants));
  await until('five connections, one after another', () => state.accepted >= 5, 100_000, 100);
  clearInterval(wants);
  for (const node of [a, b]) {
    const counted = async (...names: string[]) => {
      const { counters } = await node.status();
      return names.reduce(
        (sum, name) => sum + Number(counters.find((row) => row.name === name)?.value ?? 0n),
        0,
      );
    };
    await eventually(async () =>
      expect(await counted('tunnelsInstalled', 'wantsExpired')).toBe(await counted('wants')),
    );
    expect(await peerOf(node)).toMatchObject({ failed: 0n, refused: 0n, link: 'connected', lastCode: '' });
    expect(await node.counter('tunnelsInstalled')).toBeGreaterThan(20);
  }
  expect((await peerOf(a))?.linkSinceMs).toBe(linkSinceMs);
  await until('replaced connections have ended', () => state.accepted - state.open >= 3, 100_000, 100);
});

it('stay in use while they cannot be replaced, and end at their greatest age', async () => {
  const port = await freePort();
  const b = await startNode('b', authority, { ports: { ...ports, b: port }, times: unhurried });
  closing.push(() => b.stop());
  const state = await between(ports.b as number, port);
  await eventually(async () => expect((await peerOf(a))?.link).toBe('connected'));
  state.isRefusing = true;
  await until(
    'the only connection was renewed or ended',
    async () => (await peerOf(a))?.link === 'failed',
    60_000,
    100,
  );
  await eventually(() => expect(state.open).toBe(0));
  state.isRefusing = false;
  await eventually(async () => expect((await peerOf(a))?.link).toBe('connected'));
});

it('of a client that never renews are ended by the server with GOAWAY, and its calls succeed', async () => {
  const port = await freePort();
  const state = await between(port, ports.a as number);
  const pair = await authority.gateway('spiffe://psp/gateway/b');
  const client = new PlainClient(port, authority.certificate, pair);
  closing.push(() => client.close());
  const request: PlainRequest = {
    requestId: 7,
    versions: [0],
    tunnels: [{ source: '10.2.0.7', destination: '10.1.0.5', innerType: 4 }],
  };
  await until(
    'a second connection',
    async () => {
      expect(await client.request(request)).toMatchObject({ requestId: 7 });
      return state.accepted === 2;
    },
    60_000,
    10,
  );
});
