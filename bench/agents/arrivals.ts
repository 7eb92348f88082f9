// SPDX-License-Identifier: Apache-2.0
// Notes when datagrams of each flow arrive, and prints that on SIGTERM as JSON: a list of Unix times in milliseconds by
// index of the flow. Argument: the port.
import { createSocket } from 'node:dgram';

const arrivals: number[][] = [];
const socket = createSocket({ type: 'udp4', recvBufferSize: 16 << 20 });
socket.on('message', (message) => {
  const flow = message.readUInt32BE(0);
  const times = arrivals[flow] ?? [];
  arrivals[flow] = times;
  times.push(Math.round(10 * (performance.timeOrigin + performance.now())) / 10);
});
socket.bind(Number(process.argv[2]), '0.0.0.0', () => process.stdout.write('listening\n'));
process.on('SIGTERM', () => {
  socket.close();
  process.stdout.write(`${JSON.stringify(Array.from(arrivals, (times) => times ?? []))}\n`);
});
