// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: sends datagrams at full speed in the order of its plan. Arguments: the plan, as
// JSON: [{ source, destination, port, count, from?, hex? }], whose rows take turns, and optionally the number of
// milliseconds to wait after each turn. The text of a datagram is "source destination number", or the octets of hex.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

interface Row {
  source?: string;
  destination: string;
  port: number;
  count: number;
  /** First number. */
  from?: number;
  hex?: string;
}

const plan = JSON.parse(process.argv[2] ?? '[]') as Row[];
const everyMs = Number(process.argv[3] ?? 0);
const sockets = new Map<string, Socket>();
for (const { source = '', destination } of plan) {
  const key = `${source} ${destination.includes(':')}`;
  if (sockets.has(key)) continue;
  const socket = createSocket(destination.includes(':') ? 'udp6' : 'udp4');
  socket.bind(source === '' ? {} : { address: source });
  await once(socket, 'listening');
  sockets.set(key, socket);
}
let sent = 0;
let failed = 0;
const most = Math.max(...plan.map((row) => row.count));
for (let turn = 0; turn < most; turn++) {
  const batch: Promise<void>[] = [];
  for (const row of plan) {
    if (turn >= row.count) continue;
    const { source = '', destination, port } = row;
    const text = `${source} ${destination} ${(row.from ?? 0) + turn}`;
    const payload = row.hex === undefined ? Buffer.from(text) : Buffer.from(row.hex, 'hex');
    const socket = sockets.get(`${source} ${destination.includes(':')}`) as Socket;
    batch.push(
      new Promise((resolve) => {
        socket.send(payload, port, destination, (error) => {
          if (error) failed++;
          else sent++;
          resolve();
        });
      }),
    );
    if (batch.length >= 256) await Promise.all(batch.splice(0));
  }
  await Promise.all(batch);
  if (everyMs > 0) await sleep(everyMs);
}
for (const socket of sockets.values()) socket.close();
process.stdout.write(`${JSON.stringify({ sent, failed })}\n`);
