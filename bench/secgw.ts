// SPDX-License-Identifier: Apache-2.0
// Our engine against DPDK's own IPsec gateway: the same virtual devices on one lcore each (frames from a file over
// and over, out into nothing), ESP with AES-128-GCM in tunnel mode against PSP version 0 in tunnel mode, in turns.
// Rates are packets sent per second of the polling thread's processor time. The peer is built from the example
// sources of Debian's dpdk-doc in a temporary folder, with the one change that virtual devices need: they do not
// check checksums. It runs on 2 MiB hugepages, which are set here and put back; ours runs without. With `--profile`
// instead where both spend their time.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { figure, perSecond, type Row, row } from './shared/figure.js';
import { type Profile, perfMissing, profile } from './shared/profile.js';
import { install, nativeBench } from './shared/programs.js';
import { optionsOf, report, versionOf } from './shared/result.js';

const turns = 3;
const directions = ['encrypt', 'decrypt'];
const mixes = ['64', 'imix', '1420'];
const reach = 1.2;
const examples = '/usr/share/dpdk/examples';
const hugepages = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
const hugepagesNeeded = 512;
const core = String(cpus().length - 1);
const result = {
  bench: 'secgw',
  unit: 'million packets a second on one core',
  against: 'DPDK ipsec-secgw',
};

const { json, profile: profiles } = optionsOf({ profile: { type: 'boolean' } });
const ours = nativeBench('secgw');
const folder = mkdtempSync(join(tmpdir(), 'psp-secgw-'));
const path = (name: string) => join(folder, name);
const children = new Set<ChildProcess>();

function build(): string {
  cpSync(join(examples, 'ipsec-secgw'), path('peer'), { recursive: true });
  const file = path('peer/ipsec-secgw.c');
  const source = readFileSync(file, 'utf8');
  const relaxed = source.replace('.offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM,', '.offloads = 0,');
  if (relaxed === source) throw new Error('ipsec-secgw: the demand for checksum offload is not where it was');
  writeFileSync(file, relaxed);
  execFileSync('make', ['-C', path('peer'), 'shared'], { stdio: ['ignore', 'ignore', 'pipe'] });
  return path('peer/build/ipsec-secgw');
}

// One SA each way, because the peer wants both; traffic to 10.2.0.0/16 is what is protected either way.
function configure(): string {
  const key = Array.from({ length: 20 }, (_, i) => (i + 1).toString(16).padStart(2, '0')).join(':');
  const sa = (way: string, spi: number, from: string, to: string) =>
    `sa ${way} ${spi} aead_algo aes-128-gcm aead_key ${key} mode ipv4-tunnel src ${from} dst ${to}`;
  const ports = 'sport 0:65535 dport 0:65535';
  writeFileSync(
    path('peer.cfg'),
    `${[
      `sp ipv4 out esp protect 5 pri 1 dst 10.2.0.0/16 ${ports}`,
      `sp ipv4 in esp protect 5 pri 1 dst 10.2.0.0/16 ${ports}`,
      sa('out', 5, '192.0.2.1', '192.0.2.2'),
      sa('in', 5, '192.0.2.1', '192.0.2.2'),
      'rt ipv4 dst 192.0.2.2/32 port 1',
      'rt ipv4 dst 10.2.0.0/16 port 1',
    ].join('\n')}\n`,
  );
  return path('peer.cfg');
}

/** The peer at work: what it says each second of all packets that it sent, and of its processor time by then. */
class Peer {
  readonly readings: { sent: number; ns: number }[] = [];
  /** Nanoseconds of the polling thread for each packet sent, second by second, once it is under way. */
  get ns(): number[] {
    return this.readings.slice(2).map(({ sent, ns }, i) => {
      const before = this.readings[i + 1] as { sent: number; ns: number };
      return (ns - before.ns) / (sent - before.sent);
    });
  }
  private told = '';
  private readonly child: ChildProcess;

  /** The first device is on the side that is named unprotected when it decrypts. */
  constructor(program: string, direction: string, from: string, to: string) {
    const eal = ['-l', core, '--no-pci', '--in-memory', '--no-telemetry'];
    const devices = ['--vdev', from, '--vdev', to, '--vdev', 'crypto_aesni_gcm0'];
    const unprotected = direction === 'encrypt' ? '0x2' : '0x1';
    const ports = `(0,0,${core}),(1,0,${core})`;
    const own = ['-p', '0x3', '-P', '-u', unprotected, '-l', `--config=${ports}`, '-t', '1'];
    const args = [...eal, ...devices, '--', ...own, '-f', path('peer.cfg')];
    // Line by line, or it would speak every few seconds.
    this.child = spawn('stdbuf', ['-oL', program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => this.read(chunk.toString()));
    }
  }

  private read(chunk: string): void {
    this.told += chunk;
    const sent = [...this.told.matchAll(/Total packets sent: *(\d+)\n/g)];
    if (sent.length <= this.readings.length) return;
    // Processor time of the polling thread, the first one.
    const { pid } = this.child;
    const [ns] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ');
    this.readings.push({ sent: Number(sent.at(-1)?.[1]), ns: Number(ns) });
  }

  get pid(): number {
    return this.child.pid as number;
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
    children.delete(this.child);
  }
}

const replayed = (file: string) => `net_pcap0,rx_pcap=${file},infinite_rx=1`;
const inputOf = (whose: 'ours' | 'peer', direction: string, mix: string) =>
  path(`${direction === 'encrypt' ? 'clear' : whose === 'ours' ? 'sealed' : 'esp'}-${mix}.pcap`);

const startPeer = (program: string, direction: string, mix: string) =>
  new Peer(program, direction, replayed(inputOf('peer', direction, mix)), 'net_null0,no-rx=1');

async function measurePeer(program: string, direction: string, mix: string): Promise<number[]> {
  const peer = startPeer(program, direction, mix);
  await peer.until(() => peer.readings.length >= 5);
  await peer.end();
  return peer.ns;
}

/** What the peer seals of the clear frames, for it to open. */
async function sealByPeer(program: string, mix: string): Promise<void> {
  const [clear, sealed] = [path(`clear-${mix}.pcap`), path(`esp-${mix}.pcap`)];
  const peer = new Peer(program, 'encrypt', `net_pcap0,rx_pcap=${clear}`, `net_pcap1,tx_pcap=${sealed}`);
  await peer.until(() => (peer.readings.at(-1)?.sent ?? 0) > 0 && peer.readings.length >= 2);
  await peer.end();
}

const startOurs = (direction: string, mix: string) =>
  spawn('taskset', ['-c', core, ours, direction, inputOf('ours', direction, mix)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });

/** Nanoseconds of our polling thread for each packet sent, round by round. */
async function nsOfOurs(child: ReturnType<typeof startOurs>): Promise<number[]> {
  children.add(child);
  const printed = await text(child.stdout);
  children.delete(child);
  return (JSON.parse(printed) as { ns: number[] }).ns;
}

/** Why there is no peer here, or nothing. */
function peerMissing(): string | undefined {
  if (!install('dpdk-doc', join(examples, 'ipsec-secgw/ipsec-secgw.c'))) {
    return 'Debian’s dpdk-doc is not to be had';
  }
  if (!install('make', '/usr/bin/make')) return 'Debian’s make is not to be had';
  try {
    writeFileSync(hugepages, String(Math.max(hugepagesNeeded, Number(hugepagesBefore))));
  } catch {
    // As if it gave none.
  }
  const given = existsSync(hugepages) ? Number(readFileSync(hugepages, 'utf8')) : 0;
  return given < hugepagesNeeded
    ? `the kernel gives no ${hugepagesNeeded} hugepages of 2 MiB, but ${given}`
    : undefined;
}

/** Builds the peer and makes what both are to be given; returns the peer's program. */
async function prepare(): Promise<string> {
  const program = build();
  configure();
  execFileSync(ours, ['make', folder]);
  for (const mix of mixes) await sealByPeer(program, mix);
  return program;
}

async function measure(program: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (const direction of directions) {
    for (const mix of mixes) {
      const own: number[] = [];
      const peer: number[] = [];
      for (let turn = 0; turn < turns; turn++) {
        own.push(...(await nsOfOurs(startOurs(direction, mix))));
        peer.push(...(await measurePeer(program, direction, mix)));
      }
      rows.push(row({ direction, packets: mix }, perSecond(own), perSecond(peer), { reach }));
    }
  }
  return rows;
}

/** Both at work on the shortest and the longest packets. */
async function profileBoth(program: string): Promise<Profile[]> {
  const found: Profile[] = [];
  for (const direction of directions) {
    for (const mix of ['64', '1420']) {
      const own = startOurs(direction, mix);
      await delay(700);
      const seen = profile(`this gateway, ${direction}, ${mix} octets`, [own.pid as number], 1);
      found.push({ ...seen, nsPerPacket: figure(await nsOfOurs(own)).median });

      const peer = startPeer(program, direction, mix);
      await peer.until(() => peer.readings.length >= 2);
      const seenOfPeer = profile(`ipsec-secgw, ${direction}, ${mix} octets`, [peer.pid], 2);
      await peer.until(() => peer.readings.length >= 5);
      await peer.end();
      found.push({ ...seenOfPeer, nsPerPacket: figure(peer.ns).median });
    }
  }
  return found;
}

const hugepagesBefore = existsSync(hugepages) ? readFileSync(hugepages, 'utf8') : '0';
function cleanUp(): void {
  for (const child of children) child.kill('SIGKILL');
  if (existsSync(hugepages)) writeFileSync(hugepages, hugepagesBefore);
  rmSync(folder, { recursive: true, force: true });
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    cleanUp();
    process.exit(1);
  });
}
try {
  const skipped = peerMissing() ?? (profiles === true ? perfMissing() : undefined);
  if (skipped !== undefined) report({ ...result, rows: [], skipped }, json);
  else {
    const program = await prepare();
    const versions = { dpdkExamples: versionOf('dpdk-doc') };
    if (profiles === true) {
      report({ ...result, rows: [], profiles: await profileBoth(program), versions }, json);
    } else {
      const notes = ['packets: octets of the IP packet; imix: seven of 64, four of 576, one of 1420'];
      report({ ...result, rows: await measure(program), notes, versions }, json);
    }
  }
} finally {
  cleanUp();
}
