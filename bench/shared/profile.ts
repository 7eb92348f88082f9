// SPDX-License-Identifier: Apache-2.0
// Shows where running processes spend their processor time, with perf's samples at even intervals of it: nothing is
// added to the packet path. A sample in our own code counts for the .cc file that it belongs to, even if the compiler
// inlined one function into another: each pipe is one file. Other samples count for their library, or for the kernel.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { install } from './programs.js';

export interface Profile {
  name: string;
  /** Sorted by size. */
  parts: { part: string; percent: number }[];
  samples: number;
  /** The total of all parts, if known. */
  nsPerPacket?: number;
}

interface Sample {
  program: string;
  /** In the object, in hexadecimal digits. */
  address: string;
  /** The function, and those of the kernel that called it. */
  symbols: string[];
  /** The file that contains the code. */
  object: string;
}

const samplesPerS = 4999;
const packetMemory = 'packet memory (DPDK)';

/** The reason why perf cannot be used here, or undefined. */
export function perfMissing(): string | undefined {
  if (!install('linux-perf', '/usr/bin/perf')) return 'Debian’s linux-perf is not to be had';
  try {
    perf('record', '-q', '-e', 'cpu-clock', '-o', '/dev/null', '--', 'true');
    return undefined;
  } catch {
    return 'the kernel lets perf take no samples';
  }
}

const perf = (...args: string[]): string =>
  execFileSync('perf', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 30 });

/** Samples processes, or the whole machine, for some seconds. */
function record(pids: readonly number[] | 'all', seconds: number): Sample[] {
  const folder = mkdtempSync(join(tmpdir(), 'psp-perf-'));
  const file = join(folder, 'perf.data');
  try {
    const whom = pids === 'all' ? ['-a'] : ['-p', pids.join(',')];
    const how = ['-e', 'cpu-clock', '-F', `${samplesPerS}`, '-g'];
    perf('record', '-q', ...how, ...whom, '-o', file, '--', 'sleep', `${seconds}`);
    const printed = perf('script', '-i', file, '-F', 'comm,pid,ip,sym,dso');
    return printed.split('\n\n').flatMap(sampleOf);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A line with program and process, then one per function, the innermost first. */
function sampleOf(block: string): Sample[] {
  const [, program = ''] = /^\s*(.+?)\s+\d+\s*$/m.exec(block) ?? [];
  const frames = [...block.matchAll(/^\s+([0-9a-f]+) (.*) \(([^()]*)\)$/gm)];
  const [, address, , object = ''] = frames[0] ?? [];
  if (address === undefined) return [];
  const symbols = frames.filter(([, , , of]) => of === object).map(([, , symbol = '']) => symbol);
  return [{ program, address, symbols, object }];
}

/** The .cc file of each sample of an object with our code, from the debugger's information. */
function roomsOf(samples: readonly Sample[]): Map<Sample, string> {
  const rooms = new Map<Sample, string>();
  const ours = samples.filter(({ object }) => /_bench$|psp_addon\.node$/.test(object));
  for (const object of new Set(ours.map((sample) => sample.object))) {
    const own = ours.filter((sample) => sample.object === object);
    const printed = execFileSync('addr2line', ['-a', '-i', '-e', object], {
      input: own.map(({ address }) => address).join('\n'),
      encoding: 'utf8',
      maxBuffer: 1 << 30,
    });
    // A block per address, which has the files from the innermost function outward.
    printed
      .split(/^0x/m)
      .slice(1)
      .forEach((block, i) => {
        const paths = block.split('\n').slice(1);
        const home = paths.find((path) => /\/native\/.*\.cc:|\/bench\//.test(path)) ?? '';
        rooms.set(own[i] as Sample, home.replace(/:.*/, ''));
      });
  }
  return rooms;
}

/** The part of the work that a sample counts for. */
function partOf({ symbols, object }: Sample, room: string | undefined): string {
  // Functions of DPDK's headers that were not inlined.
  if (room === '') return packetMemory;
  if (room !== undefined) return room.includes('/bench/') ? 'ports in memory' : basename(room, '.cc');
  if (object.includes('libIPSec_MB')) {
    return /keyexp|_pre/.test(symbols[0] ?? '') ? 'key expansion: libipsec-mb' : 'AEAD: libipsec-mb';
  }
  if (object.includes('libcrypto')) return 'AEAD: libcrypto';
  const driver = /librte_net_([a-z_]+)/.exec(object)?.[1];
  if (driver !== undefined) return `driver: ${driver}`;
  if (object.includes('librte_')) return packetMemory;
  if (object.startsWith('[kernel') || object.startsWith('[vdso')) return kernelPart(symbols);
  return object.startsWith('/') ? basename(object).replace(/[-.](so|shared|\d).*/, '') : 'other';
}

/** By system call, and by what the kernel does meanwhile on behalf of the receiver. */
function kernelPart(symbols: readonly string[]): string {
  if (symbols.includes('net_rx_action')) return 'kernel: delivery';
  const call = symbols[symbols.indexOf('do_syscall_64') - 1];
  if (call === undefined) return 'kernel: no system call';
  const copies = /copy|memcpy|rep_movs/.test(symbols[0] ?? '');
  return `kernel: ${call.replace(/^(__x64_sys_|__do_sys_|__se_sys_|__sys_|ksys_|do_)/, '')}${copies ? ', copies' : ''}`;
}

function programOf({ program, object }: Sample): string {
  if (program.startsWith('swapper')) return 'idle';
  return `${program}${object.startsWith('[kernel') ? ', in the kernel' : ''}`;
}

/**
 * A profile of processes by part; with `all`, of the whole machine by program, with the kernel's share of each listed
 * separately.
 */
export function profile(name: string, pids: readonly number[] | 'all', seconds: number): Profile {
  const samples = record(pids, seconds);
  if (samples.length === 0) throw new Error(`perf saw nothing of ${name}`);
  const rooms = pids === 'all' ? new Map<Sample, string>() : roomsOf(samples);
  const counts = new Map<string, number>();
  for (const sample of samples) {
    const part = pids === 'all' ? programOf(sample) : partOf(sample, rooms.get(sample));
    counts.set(part, (counts.get(part) ?? 0) + 1);
  }
  const share = (count: number) => Number(((100 * count) / samples.length).toFixed(1));
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const large = sorted.filter(([, count]) => share(count) >= 1);
  const rest = samples.length - large.reduce((sum, [, count]) => sum + count, 0);
  const parts = large.map(([part, count]) => ({ part, percent: share(count) }));
  if (rest > 0) parts.push({ part: 'the rest', percent: share(rest) });
  return { name, parts, samples: samples.length };
}
