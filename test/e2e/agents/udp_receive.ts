// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: receives datagrams on a port of every address and prints each as one JSON line:
// { from, text }. The first line is "listening". Ends on SIGTERM. Argument: port.
import { createSocket } from 'node:dgram';

const socket = createSocket({ type: 'udp6', recvBufferSize: 4 << 20 });
socket.on('message', (message, { address }) => {
  const from = address.replace(/^::ffff:/, '');
  process.stdout.write(`${JSON.stringify({ from, text: message.toString('latin1') })}\n`);
});
socket.bind(Number(process.argv[2]), '::', () => process.stdout.write('listening\n'));
process.on('SIGTERM', () => socket.close());
