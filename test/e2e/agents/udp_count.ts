// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: receives datagrams on a port of every address and only counts them. The first
// line of its output is "listening"; on SIGTERM it prints the number and ends. Argument: port.
import { createSocket } from 'node:dgram';

const socket = createSocket({ type: 'udp6', recvBufferSize: 16 << 20 });
let received = 0;
socket.on('message', () => {
  received++;
});
socket.bind(Number(process.argv[2]), '::', () => process.stdout.write('listening\n'));
process.on('SIGTERM', () => {
  // What the socket has buffered is counted, too.
  setTimeout(() => {
    socket.close();
    process.stdout.write(`${received}\n`);
  }, 500);
});
