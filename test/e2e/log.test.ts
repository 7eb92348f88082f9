// SPDX-License-Identifier: Apache-2.0
// The log of a node consists of JSON lines only, including those of nats-server, and a reader that stalls stops
// nothing.
import { closeSync, constants, createReadStream, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { run, until } from './namespace.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

interface Line {
  level: string;
  service?: string;
  msg: string;
}

let net: Topology;
beforeAll(async () => {
  net = await Topology.create({ log: 'debug' });
  await net.b.start();
});
afterAll(() => net?.close());

it('a reader that stalls delays neither the start nor a key, and reads JSON lines once it continues', async () => {
  const fifo = join(net.folder, 'log');
  run('mkfifo', fifo);
  const held = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  fill(held);
  net.a.launch(fifo);
  await net.a.ready();
  const reached = async () => (await ping(net.host1.namespace, net.host2.v4, { waitS: 2 })).received === 1;
  expect(await reached()).toBe(true);
  await net.a.rotate();
  await until('the peer answers the rotation', reached);

  const lines: Line[] = [];
  const reader = createReadStream('', { fd: openSync(fifo, constants.O_RDONLY) });
  createInterface({ input: reader }).on('line', (text) => {
    if (!text.startsWith('#')) lines.push(JSON.parse(text));
  });
  await until('the log is read', () => lines.some(({ msg }) => msg === 'key exchange started'));
  expect(lines.some(({ service, msg }) => service === 'nats-server' && msg === 'Server is ready')).toBe(true);
  await net.a.stop();
  closeSync(held);
  await until('all services said that they stop', () =>
    ['dataplane stopped', 'key exchange stopped', 'sampler stopped', 'stats stopped'].every((text) =>
      lines.some(({ msg }) => msg === text),
    ),
  );
}, 180_000);

it('contains only JSON lines', async () => {
  const lines = net.b.log().trim().split('\n');
  expect(lines.length).toBeGreaterThan(5);
  const services = new Set(lines.map((line) => (JSON.parse(line) as Line).service));
  expect(services).toEqual(
    new Set(['nats-server', 'nats-audit', 'dataplane', 'keyexchange', 'sampler', 'stats']),
  );
});

/** Writes comment lines until the pipe accepts no further octet. */
function fill(fifo: number): void {
  for (const line of [`#${'x'.repeat(4094)}\n`, '#\n', '\n'])
    try {
      for (;;) writeSync(fifo, line);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
}
