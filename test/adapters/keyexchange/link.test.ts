// SPDX-License-Identifier: Apache-2.0
// The link to a peer between real services: connected without traffic, failed as soon as the peer is gone, and never
// a delay for wants.
import { once } from 'node:events';
import { connect as connectTo, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, vi } from 'vitest';
import { until } from '../../e2e/namespace.js';
import { freePort } from '../shared/nats_server.js';
import { eventually } from '../shared/waiting.js';
import { exposed, startServed } from '../stats/rig.js';
import type { Authority } from './certificates.js';
import { nodeOfEachTest } from './node_of_each_test.js';
import { flowOf, startNode, type TestNode } from './rig.js';

// A command to the dataplane has a timeout of 300 ms; here it is longer, so that a busy machine does not decide the
// result.
vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  shortestCommandMs: 2000,
}));

let authority: Authority;
let ports: Record<string, number>;
let a: TestNode;
const closing = nodeOfEachTest((made) => {
  ({ authority, ports, a } = made);
});

const peer = async (node = a, name = 'b') => {
  const { peers, health } = await node.status();
  return {
    ...peers.find((each) => each.name === name),
    health: health.filter(({ part }) => part.startsWith('peer ')),
  };
};
const link = async (node?: TestNode, name?: string) => (await peer(node, name)).link;
const startB = async () => {
  const b = await startNode('b', authority, { ports });
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopped ??= b.stop();
    return stopped;
  };
  closing.push(stop);
  return { ...b, stop };
};

it('distinguishes an idle peer from one that is down, in status, health and metrics', async () => {
  const stats = await startServed(a.nats, ['b']);
  closing.push(() => stats.stop());
  const connected = async () => {
    const { series } = exposed((await stats.get('/metrics')).body);
    return Object.entries(series).find(([key]) => key.startsWith('psp_peer_connected{peer="b"'))?.[1];
  };
  const b = await startB();
  await eventually(async () => expect(await connected()).toBe(1));
  const { linkSinceMs } = await peer();
  await sleep(6000);
  expect(await peer()).toMatchObject({ link: 'connected', linkSinceMs, exchanges: 0n, health: [] });
  expect(await peer(b, 'a')).toMatchObject({ link: 'connected', exchanges: 0n });
  expect(await connected()).toBe(1);

  const before = Date.now();
  await b.stop();
  await eventually(async () => expect(await link()).toBe('failed'));
  await eventually(async () => expect(await connected()).toBe(0));
  const down = await peer();
  expect(Number(down.linkSinceMs)).toBeGreaterThanOrEqual(before);
  expect(down.breaker).toBe('closed');
  expect(down.health).toEqual([
    {
      part: 'peer b',
      message: expect.stringMatching(
        `^no connection to 127.0.0.1:${ports.b}: PEER_DOWN: .*; check that its key exchange runs`,
      ),
      sinceMs: down.linkSinceMs,
    },
  ]);

  await startB();
  await eventually(async () => expect(await link()).toBe('connected'));
  await eventually(async () => expect(await connected()).toBe(1));
  expect(await peer()).toMatchObject({ breaker: 'closed', exchanges: 0n, failed: 0n, health: [] });
});

it('is connected before the first want, and the duration of that is counted', async () => {
  await startB();
  await eventually(async () => expect(await link()).toBe('connected'));
  a.dataplane.announce();
  a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.7')]);
  await eventually(() => expect(a.dataplane.installs).toHaveLength(1));
  const stats = await startServed(a.nats, ['b']);
  closing.push(() => stats.stop());
  await eventually(async () => {
    const { series } = exposed((await stats.get('/metrics')).body);
    const count = Object.entries(series).find(([key]) =>
      key.startsWith('psp_exchange_duration_seconds_count'),
    );
    expect(count?.[1]).toBe(1);
  });
});

it('is established again at once for wants of a peer that just came up', async () => {
  await eventually(async () => expect(await link()).toBe('failed'));
  await sleep(1500);
  await startB();
  a.dataplane.announce();
  a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.7')]);
  await eventually(() => expect(a.dataplane.installs).toHaveLength(1));
});

it('has failed once a peer that disappeared silently did not answer a probe', async () => {
  const port = await freePort();
  const b = await startNode('b', authority, { ports: { ...ports, b: port } });
  closing.push(() => b.stop());
  const pairs: [Socket, Socket][] = [];
  const between = createServer((near) => {
    const far = connectTo(port, '127.0.0.1');
    pairs.push([near, far]);
    for (const socket of [near, far]) socket.on('error', () => undefined);
    near.pipe(far).pipe(near);
  }).listen(ports.b, '127.0.0.1');
  await once(between, 'listening');
  closing.push(() => {
    between.close();
    for (const socket of pairs.flat()) socket.destroy();
  });
  await eventually(async () => expect(await link()).toBe('connected'));
  for (const [near, far] of pairs) {
    near.unpipe().pause();
    far.unpipe().pause();
  }
  between.close();
  // It is probed after 20 s and has 5 s to answer.
  await until('the link has failed', async () => (await link()) === 'failed', 60_000, 500);
});

it('to a peer that is down is tried about once a second, whatever the peer does to connections', async () => {
  const sockets = new Set<Socket>();
  let attempts = 0;
  const rude = createServer((socket) => {
    attempts++;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.destroy();
  }).listen(ports.b, '127.0.0.1');
  await once(rude, 'listening');
  closing.push(() => rude.close());
  await eventually(() => expect(attempts).toBeGreaterThanOrEqual(2));
  attempts = 0;
  const startMs = performance.now();
  await eventually(() => expect(attempts).toBeGreaterThanOrEqual(5));
  expect(attempts).toBeLessThanOrEqual(2 + (performance.now() - startMs) / 500);
  expect(await peer()).toMatchObject({ link: 'failed', breaker: 'closed', exchanges: 0n });
});

it('has failed if a peer accepts connections and sends nothing, and is tried again every few seconds', async () => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  }).listen(ports.b, '127.0.0.1');
  await once(silent, 'listening');
  closing.push(() => {
    silent.close();
    for (const socket of sockets) socket.destroy();
  });
  await eventually(async () => expect(await link()).toBe('failed'));
  const startMs = performance.now();
  await eventually(() => expect(sockets.size).toBeGreaterThanOrEqual(3));
  expect(sockets.size).toBeLessThanOrEqual(4 + (performance.now() - startMs) / 2000);
});
