// SPDX-License-Identifier: Apache-2.0
// Round trips of datagrams between two hosts, one after another, each of a pair of addresses. Arguments: "answer", the port and
// the addresses to answer from; or "ask", the port and the pairs as JSON. The asking process prints the milliseconds of each
// round trip as one JSON line, null without an answer in time.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

const answerMs = 20_000;
/** Before each round trip, so that it begins with idle processes. */
const pauseMs = 3;

async function socketAt(address: string, port: number): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind({ address, port });
  await once(socket, 'listening');
  return socket;
}

async function answer(port: number, addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    const socket = await socketAt(address, port);
    socket.on('message', (octets, from) => socket.send(octets, from.port, from.address));
  }
  console.log('ready');
}

async function ask(port: number, pairs: readonly (readonly [string, string])[]): Promise<void> {
  const sockets = new Map<string, Socket>();
  const times: (number | null)[] = [];
  for (const [source, destination] of pairs) {
    const socket = sockets.get(source) ?? (await socketAt(source, 0));
    sockets.set(source, socket);
    await sleep(pauseMs);
    const startMs = performance.now();
    socket.send('psp', port, destination);
    const waiting = AbortSignal.timeout(answerMs);
    const isAnswered = await once(socket, 'message', { signal: waiting }).then(
      () => true,
      () => false,
    );
    times.push(isAnswered ? performance.now() - startMs : null);
  }
  console.log(JSON.stringify(times));
  for (const socket of sockets.values()) socket.close();
}

const [role, port, ...args] = process.argv.slice(2);
if (role === 'answer') await answer(Number(port), args);
else await ask(Number(port), JSON.parse(args[0] ?? '[]'));
