// SPDX-License-Identifier: Apache-2.0
// Requests one tunnel from a gateway with its peer's identity, several times, with its offers in turn, and prints the
// last result as one JSON line: { spi, version, key }, the key in hex. For tests only: it prints a key. Argument: as
// JSON a TunnelRequest with `offers`, keys in hex, and `times`.
import { requestTunnel, type TunnelRequest } from './tunnel_request.js';

type Argument = Omit<TunnelRequest, 'spi' | 'key'> & {
  offers: { spi: number; key: string }[];
  times: number;
};

const { times, offers, ...request } = JSON.parse(process.argv[2] ?? '') as Argument;
let given: Awaited<ReturnType<typeof requestTunnel>>['given'] | undefined;
for (let i = 0; i < times; i++) {
  const { spi, key } = offers[i % offers.length] as (typeof offers)[number];
  ({ given } = await requestTunnel({ ...request, spi, key: Buffer.from(key, 'hex') }));
}
if (given !== undefined) {
  const { spi, pspVersion, encryptionKey } = given;
  const hex = Buffer.from(encryptionKey).toString('hex');
  process.stdout.write(`${JSON.stringify({ spi, version: pspVersion, key: hex })}\n`);
}
