// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of the Wireshark dissector: frames sealed by the vectors' own implementation, and a real tshark
// with the dissector loaded.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { parseAddress } from '../../../services/shared/address.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { ipPacket, protocol, udp } from '../../vectors/ip.js';
import { type PspFields, sealPsp } from '../../vectors/psp.js';

const dissector = fromPackageRoot('docs/wireshark/psp.lua');

/** A captured frame: Ethernet, and its length on the wire if it was cut. */
export interface Captured {
  octets: Buffer;
  length?: number;
}

/** A file of frames, in classic pcap. */
export function capture(frames: readonly Captured[]): Buffer {
  const little = (...words: number[]) => Buffer.from(Uint32Array.from(words).buffer);
  // Magic number, version 2.4, no zone, octets kept, Ethernet.
  const head = little(0xa1b2c3d4, 2 | (4 << 16), 0, 0, 65535, 1);
  const records = frames.flatMap(({ octets, length }) => [
    little(0, 0, octets.length, length ?? octets.length),
    octets,
  ]);
  return Buffer.concat([head, ...records]);
}

/** The output of tshark for a file. Fails if tshark fails, or prints anything except that it runs as root. */
export function tshark(file: Buffer, ...args: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'psp-wireshark-'));
  const path = join(folder, 'capture');
  writeFileSync(path, file);
  const all = ['-n', '-X', `lua_script:${dissector}`, '-r', path, ...args];
  const { status, signal, stdout, stderr } = spawnSync('tshark', all, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  rmSync(folder, { recursive: true });
  const said = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('Running as user'));
  expect({ status, signal, said }).toEqual({ status: 0, signal: null, said: [] });
  expect(stdout).not.toContain('Lua Error');
  return stdout;
}

/** Fields of every frame; several values of one field in a frame are separated by commas. */
export const fieldsOf = (
  file: Buffer,
  names: readonly string[],
  ...args: string[]
): Record<string, string>[] =>
  tshark(file, ...args, '-T', 'fields', ...names.flatMap((name) => ['-e', name]))
    .split('\n')
    .slice(0, -1)
    .map((line) => Object.fromEntries(line.split('\t').map((value, i) => [names[i], value])));

/** The expert information of each frame, separated by commas. */
export const expertsOf = (frames: readonly Captured[]): string[] =>
  fieldsOf(capture(frames), ['_ws.expert.message', '_ws.lua.error']).map((row) => {
    expect(row['_ws.lua.error']).toBe('');
    return row['_ws.expert.message'] as string;
  });

const ends = (source: string, destination: string) => ({
  source: Buffer.from(parseAddress(source)),
  destination: Buffer.from(parseAddress(destination)),
  trafficClass: 0,
  hopLimit: 64,
});
export const gateways = { 4: ends('192.0.2.1', '192.0.2.2'), 6: ends('2001:db8::1', '2001:db8::2') };
const hosts = { 4: ends('10.1.0.7', '10.2.0.5'), 6: ends('fd00:1::7', 'fd00:2::5') };

/** A frame of a datagram with this payload. */
export function frameOf(payload: Buffer, port = 1000, family: 4 | 6 = 4, source = 0xc001): Captured {
  const packet = ipPacket(gateways[family], udp(source, port, payload, gateways[family]));
  const ethertype = family === 4 ? '0800' : '86dd';
  return { octets: Buffer.concat([Buffer.from(`02000000000b02000000000a${ethertype}`, 'hex'), packet]) };
}

/** Packets of the hosts: a datagram of each family. */
export const inner = { 4: innerOf(4), 6: innerOf(6) };
function innerOf(family: 4 | 6): Buffer {
  return ipPacket(hosts[family], udp(5001, 5002, Buffer.from('in the clear'), hosts[family]));
}

const plain: PspFields = {
  nextHeader: protocol.ipv4,
  cryptOffset: 0,
  sample: false,
  drop: false,
  version: 0,
  spi: 0x80000001,
  iv: 0x0102030405060708n,
  cookie: undefined,
  extension: Buffer.alloc(0),
  reserved: 0,
};
export const cookie = Buffer.from('c0c1c2c3c4c5c6c7', 'hex');
export const keyOf = (version: number): Buffer => Buffer.alloc(version % 2 === 0 ? 16 : 32, 0x5a);
/** PSP header, payload and ICV. */
export const sealed = (fields: Partial<PspFields> = {}, payload: Buffer = inner[4]): Buffer =>
  sealPsp({ ...plain, ...fields }, keyOf(fields.version ?? 0), payload);
