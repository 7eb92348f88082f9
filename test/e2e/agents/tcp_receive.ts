// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: accepts one TCP connection and reports the received data. Arguments: address,
// port. Prints "listening" once it listens, and ends after the connection.
import { createHash } from 'node:crypto';
import { createServer } from 'node:net';

const [address, port] = process.argv.slice(2) as [string, string];
const server = createServer({ allowHalfOpen: true }, (socket) => {
  server.close();
  const hash = createHash('sha256');
  let bytes = 0;
  socket.on('data', (chunk) => {
    hash.update(chunk);
    bytes += chunk.length;
  });
  socket.on('end', () => {
    process.stdout.write(`${JSON.stringify({ bytes, sha256: hash.digest('hex') })}\n`);
    socket.end();
  });
});
server.listen(Number(port), address, () => process.stdout.write('listening\n'));
