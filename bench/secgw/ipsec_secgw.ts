// SPDX-License-Identifier: Apache-2.0
// The program that the secgw bench compares with: DPDK's ipsec-secgw, built from the example sources of Debian's
// dpdk-doc with the one change that virtual devices need (they do not verify checksums), running on one lcore. It
// needs hugepages of 2 MiB, which are reserved here and released afterwards.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { install } from '../shared/programs.js';

const examples = '/usr/share/dpdk/examples';
const hugepages = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
const hugepagesNeeded = 512;
const hugepagesBefore = existsSync(hugepages) ? readFileSync(hugepages, 'utf8') : '0';

/** The reason why it cannot run here, or undefined; in that case the hugepages are reserved. */
export function peerMissing(): string | undefined {
  if (!install('dpdk-doc', join(examples, 'ipsec-secgw/ipsec-secgw.c'))) {
    return 'Debian’s dpdk-doc is not to be had';
  }
  if (!install('make', '/usr/bin/make')) return 'Debian’s make is not to be had';
  const wanted = String(Math.max(hugepagesNeeded, Number(hugepagesBefore)));
  try {
    writeFileSync(hugepages, wanted);
  } catch {
    return 'the kernel lets nobody set hugepages of 2 MiB';
  }
  const given = Number(readFileSync(hugepages, 'utf8'));
  return given < hugepagesNeeded
    ? `the kernel gives ${given} of ${hugepagesNeeded} hugepages of 2 MiB`
    : undefined;
}

export function putHugepagesBack(): void {
  if (existsSync(hugepages)) writeFileSync(hugepages, hugepagesBefore);
}

/** Builds it in a folder and writes its configuration there. Returns the path of the program. */
export function buildPeer(folder: string): string {
  const sources = join(folder, 'peer');
  cpSync(join(examples, 'ipsec-secgw'), sources, { recursive: true });
  const file = join(sources, 'ipsec-secgw.c');
  const source = readFileSync(file, 'utf8');
  const relaxed = source.replace('.offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM,', '.offloads = 0,');
  if (relaxed === source) throw new Error('ipsec-secgw: the demand for checksum offload is not where it was');
  writeFileSync(file, relaxed);
  execFileSync('make', ['-C', sources, 'shared'], { stdio: ['ignore', 'ignore', 'pipe'] });
  writeFileSync(join(folder, 'peer.cfg'), configuration());
  return join(sources, 'build/ipsec-secgw');
}

// One SA per direction, because the program requires both; traffic to 10.2.0.0/16 is protected in either.
function configuration(): string {
  const key = Array.from({ length: 20 }, (_, i) => (i + 1).toString(16).padStart(2, '0')).join(':');
  const sa = (way: string, spi: number, from: string, to: string) =>
    `sa ${way} ${spi} aead_algo aes-128-gcm aead_key ${key} mode ipv4-tunnel src ${from} dst ${to}`;
  const ports = 'sport 0:65535 dport 0:65535';
  return `${[
    `sp ipv4 out esp protect 5 pri 1 dst 10.2.0.0/16 ${ports}`,
    `sp ipv4 in esp protect 5 pri 1 dst 10.2.0.0/16 ${ports}`,
    sa('out', 5, '192.0.2.1', '192.0.2.2'),
    sa('in', 5, '192.0.2.1', '192.0.2.2'),
    'rt ipv4 dst 192.0.2.2/32 port 1',
    'rt ipv4 dst 10.2.0.0/16 port 1',
  ].join('\n')}\n`;
}

interface Work {
  program: string;
  /** The folder in which it was built. */
  folder: string;
  core: string;
  direction: string;
  /** The devices. The first one is on the unprotected side when it decrypts. */
  from: string;
  to: string;
}

/** The running program: its reports, once a second, of all packets sent and of the processor time used so far. */
export class Peer {
  readonly readings: { sent: number; ns: number }[] = [];
  readonly child: ChildProcess;
  private told = '';
  /** The number of reports. */
  private totals = 0;

  constructor({ program, folder, core, direction, from, to }: Work) {
    const eal = ['-l', core, '--no-pci', '--in-memory', '--no-telemetry'];
    const devices = ['--vdev', from, '--vdev', to, '--vdev', 'crypto_aesni_gcm0'];
    const unprotected = direction === 'encrypt' ? '0x2' : '0x1';
    const ports = `(0,0,${core}),(1,0,${core})`;
    const own = ['-p', '0x3', '-P', '-u', unprotected, '-l', `--config=${ports}`, '-t', '1'];
    const args = [...eal, ...devices, '--', ...own, '-f', join(folder, 'peer.cfg')];
    // Line-buffered, otherwise the output would arrive every few seconds.
    this.child = spawn('stdbuf', ['-oL', program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => this.read(chunk.toString()));
    }
  }

  private read(chunk: string): void {
    this.told += chunk;
    const sent = [...this.told.matchAll(/Total packets sent: *(\d+)\n/g)];
    if (sent.length === this.totals) return;
    this.totals = sent.length;
    // Processor time of the polling thread, which is the first one.
    const { pid } = this.child;
    const [ns] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ');
    this.readings.push({ sent: Number(sent.at(-1)?.[1]), ns: Number(ns) });
  }

  /** Nanoseconds of the polling thread per packet sent, from one report to the next, for the last `seconds`. */
  async nsOver(seconds: number): Promise<number[]> {
    // The first seconds belong to its start, or were not read.
    const first = this.readings.length + 1;
    await this.until(() => this.readings.length > first + seconds);
    return this.readings.slice(first + 1).map(({ sent, ns }, i) => {
      const before = this.readings[first + i] as { sent: number; ns: number };
      return (ns - before.ns) / (sent - before.sent);
    });
  }

  async until(enough: () => boolean): Promise<void> {
    for (let left = 300; !enough(); left--) {
      if (left === 0 || this.child.exitCode !== null) {
        throw new Error(`ipsec-secgw: ${this.told.slice(-2000)}`);
      }
      await delay(100);
    }
  }

  async end(): Promise<void> {
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    if (this.child.exitCode === null) this.child.kill('SIGTERM');
    await Promise.race([gone, delay(5000)]);
    this.child.kill('SIGKILL');
  }
}
