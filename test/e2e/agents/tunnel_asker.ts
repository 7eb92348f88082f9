// SPDX-License-Identifier: Apache-2.0
// Asks a gateway for one tunnel in the name of its peer, so many times with one offer, and prints what it was given last
// as one JSON line: { spi, version, key }, the key in hex. For tests only: it prints a key. Argument: a TunnelRequest as
// JSON with its key in hex, and times.
import { requestTunnel, type TunnelRequest } from './tunnel_request.js';

type Argument = Omit<TunnelRequest, 'key'> & { key: string; times: number };

const { times, key, ...request } = JSON.parse(process.argv[2] ?? '') as Argument;
let given: Awaited<ReturnType<typeof requestTunnel>>['given'] | undefined;
for (let i = 0; i < times; i++) {
  ({ given } = await requestTunnel({ ...request, key: Buffer.from(key, 'hex') }));
}
if (given !== undefined) {
  const { spi, pspVersion, encryptionKey } = given;
  const hex = Buffer.from(encryptionKey).toString('hex');
  process.stdout.write(`${JSON.stringify({ spi, version: pspVersion, key: hex })}\n`);
}
