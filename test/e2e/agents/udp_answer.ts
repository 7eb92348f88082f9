// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: answers each datagram with "answer to: " and its text. Argument: port.
import { createSocket } from 'node:dgram';

const port = Number(process.argv[2]);
const socket = createSocket('udp4');
socket.on('message', (message, sender) =>
  socket.send(`answer to: ${message.toString('latin1')}`, sender.port, sender.address),
);
socket.bind(port, () => process.stdout.write('listening\n'));
process.on('SIGTERM', () => socket.close());
