// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: sends one datagram and prints the text of the first answer. Arguments: the
// address, the port (its own as well), the text.
import { createSocket } from 'node:dgram';

const [address, port, text] = process.argv.slice(2) as [string, string, string];
const socket = createSocket('udp4');
socket.once('message', (message) => {
  process.stdout.write(message.toString('latin1'));
  socket.close();
});
socket.bind(Number(port), () => socket.send(text, Number(port), address));
