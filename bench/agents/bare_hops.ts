// SPDX-License-Identifier: Apache-2.0
// The bare hops of a key exchange: a round trip through a nats-server, and a unary gRPC call over mutual TLS 1.3, each between
// two processes, with the gateway's libraries and messages as long as those about one tunnel. Arguments: "answerBus" with
// address:port of the server; "answerGrpc" with address:port to listen on and the folder of the TLS files; "ask" with both
// addresses and the folder. The asking process prints the milliseconds of each round trip as one JSON line.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { connect } from 'nats';

/** Octets of flow.accept and of RequestMultipleTunnelParams for one tunnel. */
const busOctets = 320;
const grpcOctets = 160;
/** Round trips that are not measured, until all code is compiled. */
const warmUp = 1000;
const measured = 200;
/** Before each round trip, so that it begins with idle processes, as a first packet does. */
const pauseMs = 3;

const path = '/bench.Bare/Hop';
const same = (octets: Buffer): Buffer => octets;
const tlsOf = (folder: string) => {
  const read = (file: string) => readFileSync(join(folder, file));
  return { ca: read('ca.crt'), key: read('node.key'), certificate: read('node.crt') };
};

async function answerBus(address: string): Promise<void> {
  const connection = await connect({ servers: address, waitOnFirstConnect: true });
  connection.subscribe('hop', { callback: (_, message) => message.respond(Buffer.alloc(busOctets)) });
  await connection.flush();
}

async function answerGrpc(address: string, folder: string): Promise<void> {
  const { ca, key, certificate } = tlsOf(folder);
  const server = new Server();
  const hop = {
    ...{ path, requestStream: false, responseStream: false },
    ...{ requestSerialize: same, requestDeserialize: same },
    ...{ responseSerialize: same, responseDeserialize: same },
  };
  server.addService(
    { hop },
    {
      hop: (_: unknown, done: (error: null, answer: Buffer) => void) => done(null, Buffer.alloc(grpcOctets)),
    },
  );
  const own = ServerCredentials.createSsl(ca, [{ private_key: key, cert_chain: certificate }], true);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, own, (error) => (error === null ? resolve() : reject(error)));
  });
}

async function ask(busAddress: string, grpcAddress: string, folder: string): Promise<void> {
  const connection = await connect({ servers: busAddress });
  const { ca, key, certificate } = tlsOf(folder);
  const own = credentials.createSsl(ca, key, certificate, { checkServerIdentity: () => undefined });
  const client = new Client(grpcAddress, own);
  const hops = {
    bus: () => connection.request('hop', Buffer.alloc(busOctets), { timeout: 10_000 }),
    grpc: () =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, same, same, Buffer.alloc(grpcOctets), (error, answer) =>
          error === null ? resolve(answer) : reject(error),
        );
      }),
  };
  const times = { bus: [] as number[], grpc: [] as number[] };
  for (let i = 0; i < warmUp + measured; i++) {
    for (const name of ['bus', 'grpc'] as const) {
      if (i >= warmUp) await sleep(pauseMs);
      const startMs = performance.now();
      await hops[name]();
      if (i >= warmUp) times[name].push(performance.now() - startMs);
    }
  }
  console.log(JSON.stringify(times));
  client.close();
  await connection.close();
}

const [role, ...args] = process.argv.slice(2) as [string, string, string, string];
if (role === 'answerBus') await answerBus(args[0]);
else if (role === 'answerGrpc') await answerGrpc(args[0], args[1]);
else await ask(...args);
if (role !== 'ask') console.log('ready');
