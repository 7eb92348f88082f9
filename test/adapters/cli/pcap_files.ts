// SPDX-License-Identifier: Apache-2.0
// Captures written and read by a separate implementation: pcap and pcapng, either byte order, micro- and nanoseconds,
// with one Ethernet interface.
import { readFileSync } from 'node:fs';

export interface CaptureFrame {
  octets: Buffer;
  /** Its length on the wire in octets, if it was cut. */
  original?: number;
  /** Units of its time, as the file counts. */
  fraction?: number;
  /** epb_flags, in pcapng. */
  flags?: number;
}

export interface CaptureForm {
  format: 'pcap' | 'pcapng';
  bigEndian: boolean;
  nanoseconds: boolean;
}

export const captureForms: CaptureForm[] = (['pcap', 'pcapng'] as const).flatMap((format) =>
  [false, true].flatMap((bigEndian) =>
    [false, true].map((nanoseconds) => ({ format, bigEndian, nanoseconds })),
  ),
);

const usualForm: CaptureForm = { format: 'pcap', bigEndian: false, nanoseconds: false };

const seconds = 1_700_000_000;
const ethernet = 1;

const numbers = (bigEndian: boolean) => ({
  u16: (value: number): Buffer => {
    const octets = Buffer.alloc(2);
    bigEndian ? octets.writeUInt16BE(value) : octets.writeUInt16LE(value);
    return octets;
  },
  u32: (value: number): Buffer => {
    const octets = Buffer.alloc(4);
    bigEndian ? octets.writeUInt32BE(value) : octets.writeUInt32LE(value);
    return octets;
  },
});

const padded = (octets: Buffer): Buffer => Buffer.concat([octets, Buffer.alloc(-octets.length & 3)]);

export function writeCapture(frames: readonly CaptureFrame[], form: CaptureForm = usualForm): Buffer {
  return form.format === 'pcap' ? pcap(frames, form) : pcapng(frames, form);
}

function pcap(frames: readonly CaptureFrame[], { bigEndian, nanoseconds }: CaptureForm): Buffer {
  const { u16, u32 } = numbers(bigEndian);
  const magic = nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4;
  return Buffer.concat([
    ...[u32(magic), u16(2), u16(4), u32(0), u32(0), u32(9018), u32(ethernet)],
    ...frames.flatMap(({ octets, original, fraction }, at) => [
      ...[u32(seconds + at), u32(fraction ?? at), u32(octets.length), u32(original ?? octets.length)],
      octets,
    ]),
  ]);
}

function pcapng(frames: readonly CaptureFrame[], { bigEndian, nanoseconds }: CaptureForm): Buffer {
  const { u16, u32 } = numbers(bigEndian);
  const block = (type: number, ...parts: Buffer[]): Buffer => {
    const body = padded(Buffer.concat(parts));
    const length = u32(body.length + 12);
    return Buffer.concat([u32(type), length, body, length]);
  };
  const option = (code: number, value: Buffer): Buffer =>
    Buffer.concat([u16(code), u16(value.length), padded(value)]);
  const end = option(0, Buffer.alloc(0));
  const resolution = option(9, Buffer.from([nanoseconds ? 9 : 6]));
  const comment = option(1, Buffer.from('a comment'));
  return Buffer.concat([
    block(0x0a0d0d0a, u32(0x1a2b3c4d), u16(1), u16(0), u32(0xffffffff), u32(0xffffffff)),
    block(1, u16(ethernet), u16(0), u32(9018), resolution, end),
    ...frames.map(({ octets, original, fraction, flags }, at) => {
      const time = BigInt(seconds + at) * (nanoseconds ? 10n ** 9n : 10n ** 6n) + BigInt(fraction ?? at);
      const times = [u32(Number(time >> 32n)), u32(Number(time & 0xffffffffn))];
      const lengths = [u32(octets.length), u32(original ?? octets.length)];
      const options = flags === undefined ? [comment, end] : [comment, option(2, u32(flags)), end];
      return block(6, u32(0), ...times, ...lengths, padded(octets), ...options);
    }),
    // Names of hosts: the tool does not need them.
    block(4, u16(0), u16(0)),
  ]);
}

/** Frames of a capture in the format of writeCapture. */
export function readCapture(file: string): Buffer[] {
  const octets = readFileSync(file);
  const frames: Buffer[] = [];
  if (octets.readUInt32LE(0) === 0x0a0d0d0a) {
    const bigEndian = octets.readUInt32LE(8) !== 0x1a2b3c4d;
    const u32 = (at: number) => (bigEndian ? octets.readUInt32BE(at) : octets.readUInt32LE(at));
    for (let at = 0; at < octets.length; at += u32(at + 4))
      if (u32(at) === 6) frames.push(octets.subarray(at + 28, at + 28 + u32(at + 20)));
    return frames;
  }
  const bigEndian = octets.readUInt8(0) === 0xa1;
  const u32 = (at: number) => (bigEndian ? octets.readUInt32BE(at) : octets.readUInt32LE(at));
  for (let at = 24; at < octets.length; at += 16 + u32(at + 8))
    frames.push(octets.subarray(at + 16, at + 16 + u32(at + 8)));
  return frames;
}
