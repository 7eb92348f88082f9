// SPDX-License-Identifier: Apache-2.0
// Asks a gateway for one tunnel in the name of its peer, and prints what it is given as one JSON line: { spi, version,
// key }, the key in hex. For tests only: it prints a key. Arguments: folder of the peer's certificates, the gateway's
// endpoint, inner source and destination, the peer's outer address and MAC address.
import { randomBytes } from 'node:crypto';
import { requestTunnel } from './tunnel_request.js';

const [tls, endpoint, source, destination, address, mac] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string,
];
const offer = { address, mac, spi: 0x1234_5678, key: randomBytes(32) };
const { given } = await requestTunnel({ tls, endpoint, version: 1, source, destination, ...offer });
const { spi, pspVersion, encryptionKey } = given;
const key = Buffer.from(encryptionKey).toString('hex');
process.stdout.write(`${JSON.stringify({ spi, version: pspVersion, key })}\n`);
