// SPDX-License-Identifier: Apache-2.0
// Our engine compared with DPDK's own IPsec gateway. Both run on one lcore with the same virtual devices (frames from
// a file in a loop, output discarded), ESP with AES-128-GCM in tunnel mode against PSP version 0 in tunnel mode, in
// alternation. Rates are packets sent per second of the polling thread's processor time. With `--profile` it shows
// instead where both spend their time. Our engine runs without hugepages.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { buildPeer, Peer, peerMissing, putHugepagesBack } from './secgw/ipsec_secgw.js';
import { figure, perSecond, type Row, row } from './shared/figure.js';
import { type Profile, perfMissing, profile } from './shared/profile.js';
import { nativeBench } from './shared/programs.js';
import { optionsOf, report, versionOf } from './shared/result.js';

const turns = 3;
const directions = ['encrypt', 'decrypt'];
const mixes = ['64', 'imix', '1420'];
const reach = 1.2;
const core = String(cpus().length - 1);

const { json, profile: profiles } = optionsOf({ profile: { type: 'boolean' } });
const ours = nativeBench('secgw');
const folder = mkdtempSync(join(tmpdir(), 'psp-secgw-'));
const path = (name: string) => join(folder, name);
const children = new Set<ChildProcess>();

/** Builds the other program and creates the input of both. Returns the path of the other program. */
async function prepare(): Promise<string> {
  const program = buildPeer(folder);
  execFileSync(ours, ['make', folder]);
  // The frames that it encrypts from the plaintext frames, as its input to decrypt.
  for (const mix of mixes) {
    const [from, to] = [
      `net_pcap0,rx_pcap=${path(`clear-${mix}.pcap`)}`,
      `net_pcap1,tx_pcap=${path(`esp-${mix}.pcap`)}`,
    ];
    const peer = new Peer({ program, folder, core, direction: 'encrypt', from, to });
    children.add(peer.child);
    await peer.until(() => (peer.readings.at(-1)?.sent ?? 0) > 0 && peer.readings.length >= 2);
    await peer.end();
  }
  return program;
}

function startPeer(program: string, direction: string, mix: string): Peer {
  const file = path(`${direction === 'encrypt' ? 'clear' : 'esp'}-${mix}.pcap`);
  const from = `net_pcap0,rx_pcap=${file},infinite_rx=1`;
  const peer = new Peer({ program, folder, core, direction, from, to: 'net_null0,no-rx=1' });
  children.add(peer.child);
  return peer;
}

function startOurs(direction: string, mix: string) {
  const file = path(`${direction === 'encrypt' ? 'clear' : 'sealed'}-${mix}.pcap`);
  const child = spawn('taskset', ['-c', core, ours, direction, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.add(child);
  return child;
}

/** Nanoseconds of our polling thread per packet sent, round by round, after it has run to its end. */
const nsOfOurs = async (child: ReturnType<typeof startOurs>): Promise<number[]> =>
  (JSON.parse(await text(child.stdout)) as { ns: number[] }).ns;

async function measure(program: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (const direction of directions) {
    for (const mix of mixes) {
      const own: number[] = [];
      const peers: number[] = [];
      for (let turn = 0; turn < turns; turn++) {
        own.push(...(await nsOfOurs(startOurs(direction, mix))));
        const peer = startPeer(program, direction, mix);
        peers.push(...(await peer.nsOver(3)));
        await peer.end();
      }
      rows.push(row({ direction, packets: mix }, perSecond(own), perSecond(peers), { reach }));
    }
  }
  return rows;
}

/** Profiles both with the shortest and the longest packets. */
async function profileBoth(program: string): Promise<Profile[]> {
  const found: Profile[] = [];
  for (const direction of directions) {
    for (const mix of ['64', '1420']) {
      const own = startOurs(direction, mix);
      // By then it has started, and it runs for longer than the profile takes.
      await delay(700);
      const seen = profile(`this gateway, ${direction}, ${mix} octets`, [own.pid as number], 1);
      found.push({ ...seen, nsPerPacket: figure(await nsOfOurs(own)).median });

      const peer = startPeer(program, direction, mix);
      await peer.until(() => peer.readings.length >= 2);
      const pid = peer.child.pid as number;
      const seenOfPeer = profile(`ipsec-secgw, ${direction}, ${mix} octets`, [pid], 2);
      found.push({ ...seenOfPeer, nsPerPacket: figure(await peer.nsOver(3)).median });
      await peer.end();
    }
  }
  return found;
}

function cleanUp(): void {
  for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
  putHugepagesBack();
  rmSync(folder, { recursive: true, force: true });
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    cleanUp();
    process.exit(1);
  });
}
try {
  const result = {
    bench: 'secgw',
    unit: 'million packets a second on one core',
    against: 'DPDK ipsec-secgw',
    rows: [],
  };
  const skipped = peerMissing() ?? (profiles === true ? perfMissing() : undefined);
  if (skipped !== undefined) report({ ...result, skipped }, json);
  else {
    const program = await prepare();
    const versions = { dpdkExamples: versionOf('dpdk-doc') };
    if (profiles === true) report({ ...result, profiles: await profileBoth(program), versions }, json);
    else {
      const notes = ['packets: octets of the IP packet; imix: seven of 64, four of 576, one of 1420'];
      report({ ...result, rows: await measure(program), notes, versions }, json);
    }
  }
} finally {
  cleanUp();
}
