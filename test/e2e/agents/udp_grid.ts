// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: sends datagrams of 100 octets from each of a range of its addresses to each of a
// range of the other host's, over all pairs in turns, spread evenly over the time of a turn. Arguments, as JSON: { host: 1 or 2, sources: [first, count],
// destinations: [first, count], turns, everyMs, port }. Prints { sent, failed }.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

interface Grid {
  host: 1 | 2;
  sources: [first: number, count: number];
  destinations: [first: number, count: number];
  turns: number;
  everyMs: number;
  port: number;
}

const { host, sources, destinations, turns, everyMs, port } = JSON.parse(process.argv[2] ?? '') as Grid;
const range = ([first, count]: [number, number]) => Array.from({ length: count }, (_, i) => first + i);
const sockets: Socket[] = [];
for (const source of range(sources)) {
  const socket = createSocket('udp4');
  socket.bind({ address: `10.${host}.0.${source}` });
  await once(socket, 'listening');
  sockets.push(socket);
}
const payload = Buffer.alloc(100, 'rotation');
let sent = 0;
let failed = 0;
const startMs = performance.now();
for (let turn = 0; turn < turns; turn++) {
  for (const [i, socket] of sockets.entries()) {
    await Promise.all(
      range(destinations).map(
        (destination) =>
          new Promise<void>((resolve) => {
            socket.send(payload, port, `10.${3 - host}.0.${destination}`, (error) => {
              if (error) failed++;
              else sent++;
              resolve();
            });
          }),
      ),
    );
    const waitMs = startMs + (turn + (i + 1) / sockets.length) * everyMs - performance.now();
    if (waitMs >= 1) await sleep(waitMs);
  }
}
for (const socket of sockets) socket.close();
process.stdout.write(`${JSON.stringify({ sent, failed })}\n`);
