// SPDX-License-Identifier: Apache-2.0
// Runs on a host of the test network: sends a number of octets over one TCP connection and reports the sent data.
// Arguments: address, port, octets, marker, and optionally a rate limit in octets per second until SIGUSR1 arrives.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { blocks } from './payload.js';

const [address, port, bytes, marker, perSecond] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string?,
];
let limit = perSecond === undefined ? Number.POSITIVE_INFINITY : Number(perSecond);
process.on('SIGUSR1', () => {
  limit = Number.POSITIVE_INFINITY;
});
const socket = connect(Number(port), address);
await once(socket, 'connect');
const hash = createHash('sha256');
const began = performance.now();
let sent = 0;
for (const block of blocks(Number(bytes), marker)) {
  hash.update(block);
  if (!socket.write(block)) await once(socket, 'drain');
  sent += block.length;
  const ahead = (sent / limit) * 1000 - (performance.now() - began);
  if (ahead > 5) await sleep(Math.min(ahead, 100));
}
socket.end();
socket.resume();
// The receiver closes when it has everything.
await once(socket, 'close');
process.stdout.write(
  `${JSON.stringify({ bytes: sent, sha256: hash.digest('hex'), ms: Math.round(performance.now() - began) })}\n`,
);
