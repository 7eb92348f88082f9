// SPDX-License-Identifier: Apache-2.0
// A minimal peer that uses only proto/psp_gateway.proto and the packet format, and no code of this gateway. In the
// namespace of gateway b, with b's certificate, it requests a tunnel from gateway a, seals one datagram with the key
// that it receives, sends it from the wire, and opens the answer with the key that it offered. Arguments: folder of
// the certificates, a's endpoint, PSP version. Prints one JSON line. For tests only: it prints keys.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { requestTunnel } from './tunnel_request.js';

const [tls, endpoint, versionText] = process.argv.slice(2) as [string, string, string];
const version = Number(versionText);
const own = {
  address: '192.0.2.2',
  inner: '10.2.0.2',
  spi: 0x1234_5678,
  key: randomBytes(version === 0 ? 16 : 32),
};
const question = 'a packet made by hand';
const udpPort = 7777;

const asked = await requestTunnel({
  tls,
  endpoint,
  version,
  source: own.inner,
  destination: '10.1.0.2',
  mac: readFileSync('/sys/class/net/veth-wire/address', 'utf8').trim(),
  address: own.address,
  spi: own.spi,
  key: own.key,
});
const { given } = asked;

const cipherOf = (key: Uint8Array) => (key.length === 16 ? 'aes-128-gcm' : 'aes-256-gcm');

/** PSP header without cookie, then the sealed inner packet and its ICV (PSP specification, "Packet Format"). */
function sealed(spi: number, key: Uint8Array, inner: Buffer): Buffer {
  const header = Buffer.from([4, 1, 0, (version << 2) | 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  header.writeUInt32BE(spi, 4);
  const cipher = createCipheriv(cipherOf(key), key, header.subarray(4, 16), { authTagLength: 16 });
  cipher.setAAD(header);
  return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
}

function opened(packet: Buffer, key: Uint8Array): Buffer {
  const decipher = createDecipheriv(cipherOf(key), key, packet.subarray(4, 16), { authTagLength: 16 });
  decipher.setAAD(packet.subarray(0, 16));
  decipher.setAuthTag(packet.subarray(-16));
  return Buffer.concat([decipher.update(packet.subarray(16, -16)), decipher.final()]);
}

/** IPv4 and UDP around a text; the UDP checksum is 0 (none). */
function datagram(source: string, destination: string, port: number, text: string): Buffer {
  const packet = Buffer.alloc(28 + text.length);
  packet.writeUInt8(0x45, 0);
  packet.writeUInt16BE(packet.length, 2);
  packet.writeUInt8(64, 8);
  packet.writeUInt8(17, 9);
  packet.set(source.split('.').map(Number), 12);
  packet.set(destination.split('.').map(Number), 16);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += packet.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  packet.writeUInt16BE(~sum & 0xffff, 10);
  packet.writeUInt16BE(port, 20);
  packet.writeUInt16BE(port, 22);
  packet.writeUInt16BE(8 + text.length, 24);
  packet.write(text, 28, 'latin1');
  return packet;
}

const socket = createSocket('udp4');
socket.bind(1000, own.address);
await once(socket, 'listening');
const inner = datagram(own.inner, '10.1.0.2', udpPort, question);
socket.send(sealed(given.spi, given.encryptionKey, inner), 1000, given.ipAddr);
// The host behind a answers by itself; the first packet back is enough.
const [back] = (await once(socket, 'message')) as [Buffer];
socket.close();
process.stdout.write(
  `${JSON.stringify({
    requestId: Number(asked.requestId),
    given: {
      version: given.pspVersion,
      spi: given.spi,
      ip: given.ipAddr,
      mac: given.macAddr,
      cookie: Number(given.virtCookie),
    },
    keys: [Buffer.from(given.encryptionKey).toString('hex'), own.key.toString('hex')],
    backSpi: back.readUInt32BE(4),
    backVersion: ((back[3] ?? 0) >> 2) & 15,
    back: opened(back, own.key).subarray(28).toString('latin1'),
  })}\n`,
);
