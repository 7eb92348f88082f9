// SPDX-License-Identifier: Apache-2.0
// Sends a datagram of every flow once in a period, evenly over the period, until SIGTERM; then prints how many it sent.
// Arguments: the flows as JSON, [[source, destination], ...]; the port; the period in milliseconds. A datagram contains
// the index of its flow.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

const flows = JSON.parse(process.argv[2] ?? '[]') as [string, string][];
const port = Number(process.argv[3]);
const periodMs = Number(process.argv[4]);
const tickMs = 5;

const sockets = new Map<string, Socket>();
for (const [source] of flows) {
  if (sockets.has(source)) continue;
  const socket = createSocket({ type: 'udp4', sendBufferSize: 4 << 20 });
  socket.bind({ address: source });
  await once(socket, 'listening');
  sockets.set(source, socket);
}
const payloads = flows.map((_, flow) => {
  const payload = Buffer.alloc(64);
  payload.writeUInt32BE(flow);
  return payload;
});

let [sent, failed, next] = [0, 0, 0];
const began = performance.now();
const ticks = setInterval(() => {
  const due = ((performance.now() - began) / periodMs) * flows.length;
  for (; next < due; next++) {
    const flow = next % flows.length;
    const [source, destination] = flows[flow] as [string, string];
    (sockets.get(source) as Socket).send(payloads[flow] as Buffer, port, destination, (error) => {
      if (error) failed++;
      else sent++;
    });
  }
}, tickMs);

process.on('SIGTERM', () => {
  clearInterval(ticks);
  setTimeout(() => {
    for (const socket of sockets.values()) socket.close();
    process.stdout.write(`${JSON.stringify({ sent, failed })}\n`);
  }, 200);
});
process.stdout.write('sending\n');
