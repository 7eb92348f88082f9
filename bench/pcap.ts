// SPDX-License-Identifier: Apache-2.0
// How many frames a second `psp pcap` encrypts and decrypts: a capture of frames of 1400 octets, made here, through
// the same function as the command's, best of several rounds. The rate is of one core: frames over the processor
// time of this process. Beside it are a plain copy of the file by reading and writing, and the AEAD by itself, both
// of the same octets. A rate below the one to reach ends with exit code 1; `--json FILE` writes what is printed.
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { transcode } from '../cli/pcap.js';
import { hostPacket, hostUdp } from '../test/vectors/cases.js';
import { nativeBench } from './shared/bench.js';

const reachPerS = 300_000;
const frameOctets = 1400;
const frames = 300_000;
const rounds = 3;
const chunkOctets = 256 * 1024;

const { values: options } = parseArgs({ options: { json: { type: 'string' } } });
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

/** Frames a second of processor time, the best round. The last round's output stays. */
async function rateOf(out: string, work: () => Promise<unknown> | unknown): Promise<number> {
  let best = 0;
  for (let round = 0; round < rounds; round++) {
    rmSync(path(out), { force: true });
    const before = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(before);
    best = Math.max(best, frames / ((user + system) / 1e6));
  }
  return Math.round(best);
}

function aeadAlone(): { library: string; perS: number } {
  const args = [String(frameOctets - 14)];
  const [library = '', perS] = execFileSync(nativeBench('aead'), args, { encoding: 'utf8' }).split('\n');
  return { library, perS: Number(perS) };
}

const keys = () => Uint8Array.from({ length: 64 }, (_, i) => i);
const seal = { spi: 0x1a345678, mode: 'tunnel', version: 0, cryptOffset: 0, iv: 1n } as const;
try {
  makeCapture(path('clear'));
  const encrypt = await rateOf('sealed', () =>
    transcode(path('clear'), path('sealed'), { masterKeys: keys(), encrypt: seal }),
  );
  const decrypt = await rateOf('back', () => transcode(path('sealed'), path('back'), { masterKeys: keys() }));
  const copied = await rateOf('copy', () => copy(path('clear'), path('copy')));
  const { library, perS: aead } = aeadAlone();
  const of = (rate: number, other: number) => `${((100 * rate) / other).toFixed(0)} %`;
  const perS = (rate: number) => `${rate.toLocaleString('en')} frames/s`;
  console.log(`${frames} frames of ${frameOctets} octets, ${statSync(path('clear')).size} octets in all`);
  console.log(`${cpus()[0]?.model}, Linux ${release()}, Node ${process.version}, ${library}`);
  for (const [name, rate] of [
    ['encrypt', encrypt],
    ['decrypt', decrypt],
  ] as const)
    console.log(
      `${name}: ${perS(rate)}, ${of(rate, copied)} of the copy, ${of(rate, aead)} of the AEAD alone`,
    );
  console.log(`copy of the file: ${perS(copied)}; AEAD alone: ${perS(aead)}`);
  const reached = Math.min(encrypt, decrypt) >= reachPerS;
  console.log(`${reached ? 'reaches' : 'does not reach'} ${perS(reachPerS)}`);
  const result = { frames, frameOctets, encrypt, decrypt, copied, aead, library, reachPerS, reached };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
  if (!reached) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
