// SPDX-License-Identifier: Apache-2.0
// Sample files on a real disk: tshark reads them, they stay within their limit across restarts and beside other
// replicas, and a full disk or vanished files cause the smallest possible loss.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Sample } from '../../../proto/gen/bus.js';
import { prepareFolder, SampleFiles } from '../../../services/sampler/adapters/sample_files.js';
import { Backlog } from '../../../services/shared/backlog.js';
import { Pump } from '../../../services/shared/process/outlet.js';
import { packetLength, writePacket } from '../../../services/shared/samples/pcapng.js';
import { packetOf, samplesHeader } from '../../../services/shared/samples/samples.js';
import { atUs, dissect, egressSample, flowOf, ingressSample, numbersIn, sampleFiles } from './rig.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-samples-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** The part of a sampler that writes to the disk, without the sampler. */
function writer(ring: { count: number; bytes: number }, limitBytes = 1e6) {
  const files = new SampleFiles(folder, ring, samplesHeader('a', 128, '0.1.0'));
  const backlog = new Backlog(limitBytes, Math.min(files.longestChunk, 65_536));
  const states: (string | undefined)[] = [];
  const pump = new Pump(backlog, files, { retryMs: 20, onState: (code) => states.push(code) });
  const write = async (...samples: Sample[]) => {
    for (const sample of samples) {
      const packet = packetOf(sample);
      const room = backlog.reserve(packetLength(packet));
      if (room) writePacket(room.octets, room.at, packet);
    }
    pump.kick();
  };
  const written = async (...samples: Sample[]) => {
    const before = pump.written;
    await write(...samples);
    await expect.poll(() => pump.written).toBe(before + samples.length);
  };
  return { files, backlog, pump, states, write, written };
}
const ring = { count: 3, bytes: 65_536 };

describe('a file', () => {
  it('is read by tshark: interfaces, time, lengths, comment, direction, PSP and its content', async () => {
    const { written, files } = writer(ring);
    const v6 = flowOf('2001:db8::1', '2001:db8::2');
    await written(egressSample(0x80000001), ingressSample(2), ingressSample(3, { flow: v6 }));
    await files.close();
    const [file = ''] = sampleFiles(folder);
    const common = ['frame.interface_name', 'frame.time_epoch', 'frame.cap_len', 'frame.len'];
    const rows = dissect(file, ...common, 'frame.comment', 'frame.packet_flags_direction', 'frame.protocols');
    const second = Number(atUs / 1_000_000n);
    expect(rows).toEqual([
      [
        'egress_sealed',
        `${second + 2147}.483655000`,
        '128',
        '1500',
        'peer b, SPI 0x80000001, point egress_sealed, rate 1/16',
        '0x00000002',
        expect.stringMatching(/^eth:ethertype:ip:udp/),
      ],
      [
        'ingress_opened',
        `${second}.000008000`,
        '100',
        '100',
        'peer b, SPI 0x00000002, point ingress_opened',
        '0x00000001',
        expect.stringMatching(/^raw:ip:udp/),
      ],
      expect.arrayContaining(['peer b, SPI 0x00000003, point ingress_opened']),
    ]);
    const addresses = dissect(file, 'eth.dst', 'ip.src', 'ip.dst', 'udp.srcport', 'udp.dstport');
    expect(addresses.slice(0, 2)).toEqual([
      ['02:00:00:00:00:0b', '192.0.2.1', '192.0.2.2', '49152', '1000'],
      ['', '10.2.0.5', '10.1.0.7', '5353', '5001'],
    ]);
    // Next header IPv4, crypt offset 0, S, version 0, then the SPI.
    const [[payload = ''] = []] = dissect(file, 'udp.payload');
    expect(payload).toMatch(/^0401004180000001/);
  });

  it('names its writer and the contents of its interfaces', async () => {
    const { written, files } = writer(ring);
    await written(egressSample(1));
    await files.close();
    const text = execFileSync('capinfos', sampleFiles(folder), { encoding: 'utf8' });
    expect(text).toMatch(/Capture application:\s+psp \d/);
    expect(text).toMatch(/samples of PSP gateway a/);
    expect(text).toMatch(/Name = egress_sealed\s[\s\S]*Encapsulation = Ethernet[\s\S]*Capture length = 128/);
    expect(text).toMatch(/Name = ingress_opened\s[\s\S]*Encapsulation = Raw IP/);
    expect(text).toMatch(/Time precision = microseconds/);
  });

  it('is created by the first packet, for its owner alone', async () => {
    const { written, files } = writer(ring);
    expect(readdirSync(folder)).toEqual([]);
    await written(egressSample(1));
    const [file = ''] = sampleFiles(folder);
    expect(statSync(file).mode & 0o777 & ~0o040).toBe(0o600);
    await files.close();
  });
});

describe('the folder', () => {
  it('is created for the sampler, and corrected if it exists', () => {
    const samples = join(folder, 'state/samples');
    const access = () => {
      const { uid, gid, mode } = statSync(samples);
      return [uid, gid, mode & 0o777];
    };
    const owner =
      process.geteuid?.() === 0
        ? { uid: 70_003, gid: 70_003 }
        : { uid: statSync(folder).uid, gid: statSync(folder).gid };
    prepareFolder(samples, owner);
    expect(access()).toEqual([owner.uid, owner.gid, 0o750]);
    chmodSync(samples, 0o777);
    prepareFolder(samples, owner);
    expect(access()).toEqual([owner.uid, owner.gid, 0o750]);
  });
});

describe('the ring', () => {
  /** Enough for more than two files. */
  const many = (first: number) => Array.from({ length: 800 }, (_, i) => egressSample(first + i));

  it('keeps number and size of files across restarts, and the newest packets', async () => {
    for (let start = 0; start < 4; start++) {
      const { written, files } = writer(ring);
      await written(...many(start * 800));
      await files.close();
      const left = sampleFiles(folder);
      expect(left.length).toBeLessThanOrEqual(3);
      for (const file of left) expect(statSync(file).size).toBeLessThanOrEqual(ring.bytes);
    }
    const numbers = numbersIn(sampleFiles(folder));
    const oldest = numbers[0] as number;
    expect(oldest).toBeGreaterThan(1600);
    expect(numbers).toEqual(Array.from({ length: 3200 - oldest }, (_, i) => oldest + i));
  });

  it('is shared by replicas that write at once, and leaves foreign files alone', async () => {
    writeFileSync(join(folder, 'mine.pcapng'), 'x');
    const replicas = [writer(ring), writer(ring), writer(ring), writer(ring)];
    await Promise.all(replicas.map(({ written }, i) => written(...many(i * 800))));
    await Promise.all(replicas.map(({ files }) => files.close()));
    const left = readdirSync(folder);
    expect(left).toContain('mine.pcapng');
    expect(left.length - 1).toBeLessThanOrEqual(3);
  });
});

describe('a file that vanishes', () => {
  it('is followed by a new one, which contains the packets after it', async () => {
    const { written, files } = writer(ring);
    await written(egressSample(1));
    for (const file of sampleFiles(folder)) unlinkSync(file);
    await delay(1100);
    await written(egressSample(2));
    await files.close();
    expect(files.counters).toEqual({ filesOpened: 2, filesRemoved: 0, filesVanished: 1 });
    expect(numbersIn(sampleFiles(folder))).toEqual([2]);
  });
});

describe.runIf(process.geteuid?.() === 0)('a full disk', () => {
  it('is reported, costs the packets that overflow meanwhile, leaves no packet incomplete, and is used again once there is space', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', folder]);
    try {
      const ballast = join(folder, 'ballast');
      writeFileSync(ballast, Buffer.alloc(416 * 1024));
      const { write, written, files, states, backlog, pump } = writer({ count: 9, bytes: 1 << 20 }, 200_000);
      const samples = Array.from({ length: 600 }, (_, i) => egressSample(i));
      await write(...samples);
      await expect.poll(() => states.length).toBeGreaterThan(2);
      expect(new Set(states)).toEqual(new Set(['ENOSPC']));
      await write(...samples.map((sample) => ({ ...sample, spi: sample.spi + 600 })));
      expect(backlog.dropped).toBeGreaterThan(10);
      const kept = pump.written + backlog.queuedEntries;
      unlinkSync(ballast);
      await expect.poll(() => pump.written).toBe(kept);
      expect(states.at(-1)).toBeUndefined();
      await written(egressSample(5000));
      await files.close();
      const numbers = numbersIn(sampleFiles(folder));
      expect(numbers).toHaveLength(kept + 1);
      expect(numbers.at(-1)).toBe(5000);
      expect(new Set(numbers).size).toBe(numbers.length);
    } finally {
      execFileSync('umount', ['-l', folder]);
    }
  });

  it('leaves only complete packets behind if the process ends before there is space', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
    try {
      const { write, written, files, pump, states } = writer({ count: 9, bytes: 1 << 20 });
      await written(egressSample(1));
      await write(...Array.from({ length: 300 }, (_, i) => egressSample(i)));
      await pump.finish();
      await files.close();
      expect(states[0]).toBe('ENOSPC');
      expect(numbersIn(sampleFiles(folder))).toHaveLength(pump.written);
      expect(pump.written).toBeLessThan(300);
    } finally {
      execFileSync('umount', ['-l', folder]);
    }
  });

  it('adds no file while old ones cannot be removed, and continues when they can', async () => {
    const stuck = ['20200101T000000000Z-00000000-1.pcapng', '20200101T000000000Z-00000000-2.pcapng'];
    for (const name of stuck) mkdirSync(join(folder, name));
    const { write, states, pump, files } = writer({ count: 2, bytes: 65_536 });
    const openFiles = () => readdirSync('/proc/self/fd').length;
    const before = openFiles();
    await write(egressSample(1));
    await expect.poll(() => states.length).toBeGreaterThan(5);
    expect(states[0]).toBe('ERR_FS_EISDIR');
    expect(openFiles()).toBeLessThanOrEqual(before + 1);
    expect(readdirSync(folder).length).toBeLessThanOrEqual(stuck.length + 1);
    for (const name of stuck) rmdirSync(join(folder, name));
    await expect.poll(() => pump.written).toBe(1);
    expect(states.at(-1)).toBeUndefined();
    await files.close();
  });

  it('leaves no file without a header behind', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
    try {
      writeFileSync(join(folder, 'ballast'), Buffer.alloc(64 * 1024));
      const { write, states, pump } = writer(ring);
      await write(egressSample(1));
      await expect.poll(() => states.length).toBeGreaterThan(2);
      await pump.finish();
      expect(readdirSync(folder)).toEqual(['ballast']);
    } finally {
      execFileSync('umount', ['-l', folder]);
    }
  });
});
