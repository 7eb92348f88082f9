// SPDX-License-Identifier: Apache-2.0
// The rate of `psp pcap` in frames per second, encrypting and decrypting a generated capture of frames of 1400 octets
// through the command's own function. The rate is that of one core: frames over the processor time of this process.
// It is compared, in alternation, with a plain copy of the file by reading and writing, and with the AEAD alone, both
// for the same octets.
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { transcode } from '../cli/capture/pcap.js';
import { hostPacket, hostUdp } from '../test/vectors/cases.js';
import { exact, type Figure, perSecond, row } from './shared/figure.js';
import { runNative } from './shared/programs.js';
import { endByGoals, optionsOf, report } from './shared/result.js';

/** Millions of frames per second. */
const reach = 0.3;
const frameOctets = 1400;
const frames = 300_000;
const rounds = 5;
const chunkOctets = 256 * 1024;

const { json } = optionsOf({});
const folder = mkdtempSync(join(tmpdir(), 'psp-bench-'));
const path = (name: string) => join(folder, name);

function makeCapture(file: string): void {
  const ipAndUdp = 28;
  const packet = hostPacket('v4', hostUdp('v4', frameOctets - 14 - ipAndUdp));
  const frame = Buffer.concat([Buffer.alloc(12, 2), Buffer.from('0800', 'hex'), packet]);
  const little = (...words: number[]) => Buffer.from(Uint32Array.from(words).buffer);
  const record = Buffer.concat([little(1, 2, frame.length, frame.length), frame]);
  const many = Buffer.concat(Array.from({ length: 1000 }, () => record));
  const descriptor = openSync(file, 'wx');
  writeSync(descriptor, little(0xa1b2c3d4, 2 | (4 << 16), 0, 0, 65_535, 1));
  for (let written = 0; written < frames; written += 1000) writeSync(descriptor, many);
  closeSync(descriptor);
}

function copy(file: string, out: string): void {
  const [input, output] = [openSync(file, 'r'), openSync(out, 'wx')];
  const chunk = Buffer.alloc(chunkOctets);
  for (let got = -1; got !== 0; ) {
    got = readSync(input, chunk);
    writeSync(output, chunk, 0, got);
  }
  closeSync(input);
  closeSync(output);
}

/** Nanoseconds of processor time per frame. The output of the last round stays. */
async function nsOf(out: string, work: () => Promise<unknown> | unknown): Promise<number> {
  rmSync(path(out), { force: true });
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1e3) / frames;
}

const keys = () => Uint8Array.from({ length: 64 }, (_, i) => i);
const seal = { spi: 0x1a345678, mode: 'tunnel', version: 0, cryptOffset: 0, iv: 1n } as const;
try {
  makeCapture(path('clear'));
  const ns = { encrypt: [] as number[], decrypt: [] as number[], copy: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const [clear, sealed, back, copied] = ['clear', 'sealed', 'back', 'copy'].map(path) as [
      string,
      string,
      string,
      string,
    ];
    ns.encrypt.push(
      await nsOf('sealed', () => transcode(clear, sealed, { masterKeys: keys(), encrypt: seal })),
    );
    ns.decrypt.push(await nsOf('back', () => transcode(sealed, back, { masterKeys: keys() })));
    ns.copy.push(await nsOf('copy', () => copy(clear, copied)));
  }
  const [alone] = runNative<{ library: string; ns: number[] }>('aead', [`${frameOctets - 14}`]);
  const beside: [string, Figure, { reach?: number }][] = [
    ['the bound', exact(reach), { reach: 1 }],
    ['copy of the file', perSecond(ns.copy), {}],
    ['AEAD alone', perSecond((alone as { ns: number[] }).ns), {}],
  ];
  const rows = (['encrypt', 'decrypt'] as const).flatMap((direction) =>
    beside.map(([name, against, terms]) =>
      row({ direction, beside: name }, perSecond(ns[direction]), against, terms),
    ),
  );
  report(
    {
      bench: 'pcap',
      unit: 'million frames a second on one core',
      against: 'what the row names',
      rows,
      notes: [`${frames} frames of ${frameOctets} octets; the AEAD alone: ${alone?.library}`],
    },
    json,
  );
  endByGoals(rows);
} finally {
  rmSync(folder, { recursive: true });
}
