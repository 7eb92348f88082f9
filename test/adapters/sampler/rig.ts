// SPDX-License-Identifier: Apache-2.0
// Shared by the sampler's tests: numbered samples, a node's files, and tshark as the reader of the files. The number
// of a sample is its SPI, so that it appears in the line, in the comment and in the packet itself.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sample, SampleBatch, SamplePoint } from '../../../proto/gen/bus.js';
import { parseAddress } from '../../../services/shared/address.js';
import type { NatsServer } from '../shared/nats_server.js';

/** Octets of the whole sealed frame, of which `sealedFrame` is the beginning. */
export const frameLength = 1500;

/** Ethernet, IPv4, UDP to port 1000, PSP with S set, and some octets of ciphertext. */
export function sealedFrame(spi: number, length = 128): Buffer {
  const frame = Buffer.alloc(length, 0xc5);
  frame.write('02000000000b' + '02000000000a' + '0800', 0, 'hex');
  frame.write('450005ce0000400040110000c0000201c0000202', 14, 'hex');
  frame.writeUInt16BE(ipChecksum(frame.subarray(14, 34)), 24);
  frame.write('c00003e805ba0000', 34, 'hex');
  // Next header IPv4, 1 word, offset 0, S, version 0.
  frame.write('04010041', 42, 'hex');
  frame.writeUInt32BE(spi, 46);
  frame.writeBigUInt64BE(7n, 50);
  return frame;
}

/** IPv4, UDP, as after opening. */
export function innerPacket(length = 100): Buffer {
  const packet = Buffer.alloc(length, 0x61);
  packet.write('450000640000400040110000', 0, 'hex');
  packet.writeUInt16BE(length, 2);
  packet.set(parseAddress('10.2.0.5'), 12);
  packet.set(parseAddress('10.1.0.7'), 16);
  packet.writeUInt16BE(ipChecksum(packet.subarray(0, 20)), 10);
  packet.write('14e91389', 20, 'hex');
  packet.writeUInt16BE(length - 20, 24);
  packet.writeUInt16BE(0, 26);
  return packet;
}

function ipChecksum(header: Buffer): number {
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += i === 10 ? 0 : header.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export const atUs = 1_767_323_045_000_006n;

export const octetsOf = (address: string): Buffer => Buffer.from(parseAddress(address));

export const flowOf = (source: string, destination: string) => ({
  source: octetsOf(source),
  destination: octetsOf(destination),
});

export const egressSample = (number: number, more: Partial<Sample> = {}): Sample => ({
  ...Sample.fromPartial({
    point: SamplePoint.SAMPLE_POINT_EGRESS_SEALED,
    atUs: atUs + BigInt(number),
    flow: flowOf('10.1.0.7', '10.2.0.5'),
    protocol: 17,
    sourcePort: 5001,
    destinationPort: 5353,
    peer: 'b',
    spi: number,
    rateLog2: 4,
    originalLength: frameLength,
    copy: sealedFrame(number),
  }),
  ...more,
});

export const ingressSample = (number: number, more: Partial<Sample> = {}): Sample => ({
  ...Sample.fromPartial({
    point: SamplePoint.SAMPLE_POINT_INGRESS_OPENED,
    atUs: atUs + BigInt(number),
    flow: flowOf('10.2.0.5', '10.1.0.7'),
    protocol: 17,
    sourcePort: 5353,
    destinationPort: 5001,
    peer: 'b',
    spi: number,
    originalLength: 100,
    copy: innerPacket(),
  }),
  ...more,
});

/** Samples with these numbers. */
export const batchOf = (first: number, count: number): SampleBatch =>
  SampleBatch.fromPartial({ samples: Array.from({ length: count }, (_, i) => egressSample(first + i)) });

/** A node's folder for the sampler and the operator. */
export function nodeFolder(
  server: NatsServer,
  sampling = '{}',
  audit = server.auditListen,
): { folder: string; file: string } {
  const folder = mkdtempSync(join(tmpdir(), 'psp-sampler-'));
  chmodSync(folder, 0o755);
  const file = join(folder, 'node.yaml');
  writeFileSync(
    file,
    `node: a
unsecured: { port: veth-host }
secured: { port: veth-wire, address: 192.0.2.1/24 }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24]
bus: { listen: "${server.listen}" }
audit: { listen: "${audit}" }
stateDir: ${join(folder, 'state')}
sampling: ${sampling}
`,
  );
  mkdirSync(join(folder, 'nats'));
  for (const user of ['sampler', 'operator'] as const) {
    writeFileSync(join(folder, `nats/${user}.password`), server.passwords[user], { mode: 0o640 });
  }
  return { folder, file };
}

/** Fields of every packet of a pcapng file, by tshark. */
export function dissect(file: string, ...fields: string[]): string[][] {
  const args = ['-n', '-r', file, '-T', 'fields', ...fields.flatMap((field) => ['-e', field])];
  const text = execFileSync('tshark', args, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => line.split('\t'));
}

/** The sample files of a folder, oldest first. */
export const sampleFiles = (folder: string): string[] =>
  readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));

/** Numbers of the samples in these files. */
export const numbersIn = (files: readonly string[]): number[] =>
  files.flatMap((file) =>
    dissect(file, 'frame.comment').map(([comment]) => Number(/SPI (0x[0-9a-f]{8})/.exec(comment ?? '')?.[1])),
  );

/** Numbers of the samples in these lines. */
export const numbersOf = (lines: string): number[] =>
  lines
    .split('\n')
    .slice(0, -1)
    .map((line) => Number((JSON.parse(line) as { spi: string }).spi));
