// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: sends one datagram to each of the 65 536 addresses of an IPv4 /16, in ascending
// order. Argument: the prefix's two octets, as in "10.9". Prints the number of datagrams sent.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const prefix = process.argv[2] as string;
const socket = createSocket({ type: 'udp4', sendBufferSize: 1 << 20 });
socket.bind(0);
await once(socket, 'listening');
let sent = 0;
const one = (destination: string) =>
  new Promise<void>((resolve) => {
    socket.send('scan', 9, destination, (error) => {
      if (!error) sent++;
      resolve();
    });
  });
for (let third = 0; third < 256; third++) {
  await Promise.all(Array.from({ length: 256 }, (_, fourth) => one(`${prefix}.${third}.${fourth}`)));
}
socket.close();
process.stdout.write(`${sent}\n`);
