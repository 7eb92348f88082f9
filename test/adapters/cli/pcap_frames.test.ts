// SPDX-License-Identifier: Apache-2.0
// `psp pcap` over frames that simple tools damage: IP after layers other than VLAN tags, fields that a host leaves to
// its interface, frame check sequences, octets that no length field covers. tshark and a separate implementation read
// the result.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../../cli/program.js';
import { expectSchema } from '../../json_schema.js';
import { hostPacket, hostUdp } from '../../vectors/cases.js';
import { fromMasterKeys } from '../../vectors/derivation.js';
import { protocol } from '../../vectors/ip.js';
import { openPacket } from '../../vectors/packet.js';
import { keepPrinted } from '../shared/printed.js';
import { type CaptureForm, type CaptureFrame, readCapture, writeCapture } from './pcap_files.js';

const masters = [Buffer.alloc(32, 0x3a), Buffer.alloc(32, 0x51)] as const;
const keyOf = fromMasterKeys(masters);
const keys = ['--master-key0', masters[0].toString('hex'), '--master-key1', masters[1].toString('hex')];

let folder: string;
const said = keepPrinted();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-pcap-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

function write(frames: readonly (Buffer | CaptureFrame)[], form?: CaptureForm): void {
  const all = frames.map((frame) => (Buffer.isBuffer(frame) ? { octets: frame } : frame));
  writeFileSync(path('clear'), writeCapture(all, form));
}

/** Runs `psp pcap`. @returns its exit code, and its output without the folder. */
async function pcap(direction: 'encrypt' | 'decrypt', input: string, out: string, ...args: string[]) {
  said.stdout = said.stderr = '';
  const spi = direction === 'encrypt' ? ['--spi', '1a345678'] : [];
  const code = await run([
    ...['pcap', direction, '--in', path(input), '--out', path(out), ...keys, ...spi, ...args],
  ]);
  const plain = (text: string) => text.replaceAll(`${folder}/`, '');
  return { code, stdout: plain(said.stdout), stderr: plain(said.stderr) };
}

/** The same with --json, which must succeed. */
async function counted(direction: 'encrypt' | 'decrypt', input: string, out: string, ...args: string[]) {
  const { code, stdout, stderr } = await pcap(direction, input, out, '--json', ...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const printed = JSON.parse(stdout) as Record<string, unknown>;
  expectSchema(`pcap_${direction}`, printed);
  return printed;
}

/** Fields of every frame as tshark reads them; undefined if tshark is not available. */
function shark(file: string, fields: string[], ...args: string[]): string[] | undefined {
  if (spawnSync('tshark', ['--version']).error) return undefined;
  const asked = [
    '-n',
    '-r',
    path(file),
    '-T',
    'fields',
    ...fields.flatMap((field) => ['-e', field]),
    ...args,
  ];
  const text = execFileSync('tshark', asked, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return text.split('\n').slice(0, -1);
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const u16 = (value: number) => Buffer.from([value >> 8, value & 0xff]);
const addresses = hex('020000000002 020000000001');
const packet = hostPacket('v4', hostUdp('v4', 64));
const packet6 = hostPacket('v6', hostUdp('v6', 64));
const ethernet = (octets: Buffer) =>
  Buffer.concat([addresses, hex(octets.readUInt8(0) >> 4 === 4 ? '0800' : '86dd'), octets]);
const layered = {
  snap: Buffer.concat([addresses, u16(packet.length + 8), hex('aaaa03 000000 0800'), packet]),
  'tag 0x9200': Buffer.concat([addresses, hex('9200 0007 0800'), packet]),
  pppoe: Buffer.concat([addresses, hex('8864 1100 0001'), u16(packet.length + 2), hex('0021'), packet]),
  'pppoe, IPv6': Buffer.concat([
    addresses,
    hex('8864 1100 0001'),
    u16(packet6.length + 2),
    hex('0057'),
    packet6,
  ]),
  mpls: Buffer.concat([addresses, hex('8847 00010140'), packet]),
  'mpls, explicit null': Buffer.concat([addresses, hex('8847 00010040 00000140'), packet]),
};
const names = Object.keys(layered) as (keyof typeof layered)[];
const inTheClear = packet.subarray(28);

describe('IP after other layers', () => {
  it.each(['tunnel', 'transport'])('is encrypted in %s mode, and comes back', async (mode) => {
    write(Object.values(layered));
    const printed = await counted('encrypt', 'clear', 'sealed', '--mode', mode);
    expect(printed).toMatchObject({
      frames: names.length,
      encrypted: names.length,
      copied: 0,
      copiedKinds: [],
    });
    for (const frame of readCapture(path('sealed'))) expect(frame.includes(inTheClear)).toBe(false);
    await counted('decrypt', 'sealed', 'back');
    expect(readCapture(path('back'))).toEqual(Object.values(layered));
  });

  it('is where tshark finds PSP, with lengths that tshark accepts, in the family of the outer addresses', async ({
    skip,
  }) => {
    write(Object.values(layered));
    const asked = ['frame.protocols', 'udp.dstport'];
    const ends = ['--outer-source', '2001:db8::1', '--outer-destination', '2001:db8::2'];
    for (const [out, version, outer] of [
      ['own', '', []],
      ['others', 'v6', ends],
    ] as const) {
      await counted('encrypt', 'clear', out, ...outer);
      const read = shark(
        out,
        asked,
        '-d',
        'ethertype==0x9200,vlan',
        '-Y',
        '!_ws.malformed && !eth.len.past_end',
      );
      if (read === undefined) return skip('tshark is not installed');
      const stack = (layers: string, own: string) =>
        `${layers}:${outer.length > 0 ? 'ipv6' : own}:udp:data\t1000`;
      expect(read, version).toEqual([
        stack('eth:llc', 'ip'),
        stack('eth:ethertype:vlan:ethertype', 'ip'),
        stack('eth:ethertype:pppoes:ppp', 'ip'),
        stack('eth:ethertype:pppoes:ppp', 'ipv6'),
        stack('eth:ethertype:mpls', 'ip'),
        stack('eth:ethertype:mpls', 'ip'),
      ]);
      await counted('decrypt', out, `${out}-back`);
      expect(readCapture(path(`${out}-back`))).toEqual(Object.values(layered));
    }
  });

  it('that cannot be rewritten is refused with the number of its frame', async () => {
    const inPbb = Buffer.concat([addresses, hex('88e7 00000007'), ethernet(packet)]);
    const inPseudowire = Buffer.concat([addresses, hex('8847 00010140 00000000'), ethernet(packet)]);
    for (const [frame, kind] of [
      [inPbb, 'PBB'],
      [inPseudowire, 'an MPLS pseudowire with IP'],
    ] as const) {
      write([ethernet(packet), frame]);
      expect(await pcap('encrypt', 'clear', 'out')).toEqual({
        code: 1,
        stdout: '',
        stderr: `psp: FRAME_NOT_ENCRYPTED: frame 2 of clear cannot be encrypted: it is ${kind}, which may contain IP that cannot be encrypted\n`,
      });
    }
  });
});

describe('frames copied in plaintext', () => {
  const arp = Buffer.concat([addresses, hex('0806'), Buffer.alloc(46, 1)]);
  const unknown = Buffer.concat([addresses, hex('88b5'), Buffer.alloc(46, 1)]);

  it('are counted by kind, the most frequent first', async () => {
    write([unknown, ethernet(packet), arp, arp]);
    expect(await counted('encrypt', 'clear', 'sealed')).toMatchObject({
      encrypted: 1,
      copied: 3,
      copiedKinds: [
        { kind: 'ARP', frames: 2 },
        { kind: 'EtherType 0x88b5', frames: 1 },
      ],
    });
    const { stdout } = await pcap('encrypt', 'clear', 'again');
    expect(stdout).toContain('4 frames, 1 encrypted, 3 copied in plaintext (2 ARP, 1 EtherType 0x88b5)\n');
  });

  it('are refused with --strict', async () => {
    write([ethernet(packet), arp]);
    const { code, stderr } = await pcap('encrypt', 'clear', 'out', '--strict');
    expect(code).toBe(1);
    expect(stderr).toBe(
      'psp: FRAME_NOT_ENCRYPTED: frame 2 of clear cannot be encrypted: it has no IP (ARP) and would be copied in the clear\n',
    );
  });
});

describe('lengths and checksums', () => {
  const tcp = (family: 'v4' | 'v6') => {
    const header = hex('9c40 0050 00000001 00000001 5018 0200 0000 0000');
    const octets = Buffer.concat([header, Buffer.alloc(400, 'PAYLOAD-')]);
    return hostPacket(family, { protocol: protocol.tcp, octets });
  };

  it('that a host left to its interface are completed, which is reported, and no octet is lost', async () => {
    const whole = [tcp('v6'), tcp('v4'), tcp('v4')] as const;
    const [six, four, sum] = whole.map((octets) => Buffer.from(octets)) as [Buffer, Buffer, Buffer];
    six.writeUInt16BE(0, 4);
    four.writeUInt16BE(0, 2);
    four.writeUInt16BE(0, 10);
    sum.writeUInt16BE(0, 10);
    write([six, four, sum].map(ethernet));
    expect(await counted('encrypt', 'clear', 'sealed')).toMatchObject({ encrypted: 3, completed: 3 });
    const opened = readCapture(path('sealed')).map((frame) =>
      openPacket(frame.subarray(14), keyOf, 'tunnel'),
    );
    expect(opened.map((one) => one.packet)).toEqual(whole);
    const { stdout } = await pcap('encrypt', 'clear', 'again');
    expect(stdout).toContain('\n3 completed: an IPv4 checksum or an IP length was left to the interface');
  });

  it('that are shorter than the frame are refused', async () => {
    const six = Buffer.from(packet6);
    six.writeUInt16BE(8, 4);
    write([ethernet(six)]);
    const { code, stderr } = await pcap('encrypt', 'clear', 'out');
    expect(code).toBe(1);
    expect(stderr).toContain('frame 1 of clear cannot be encrypted: 64 octets follow its IP packet');
  });

  it('of link padding are counted', async () => {
    const short = ethernet(hostPacket('v4', hostUdp('v4', 1)));
    write([Buffer.concat([short, Buffer.alloc(60 - short.length)])]);
    expect(await counted('encrypt', 'clear', 'sealed')).toMatchObject({ paddingOctets: 60 - short.length });
    const { stdout } = await pcap('encrypt', 'clear', 'again');
    expect(stdout).toContain(`\n${60 - short.length} octets of link padding left out\n`);
  });
});

describe('a frame check sequence in the flags of a frame', () => {
  it('is removed, and the frame no longer declares it', async ({ skip }) => {
    const withFcs = (frame: Buffer) => Buffer.concat([frame, hex('deadbeef')]);
    const arp = Buffer.concat([addresses, hex('0806 0001 0800 0604 0001'), Buffer.alloc(38, 1)]);
    const inbound = 1;
    const flags = (4 << 5) | inbound;
    const frames = [ethernet(packet), arp].map((frame) => ({ octets: withFcs(frame), flags }));
    write(frames, { format: 'pcapng', bigEndian: false, nanoseconds: false });
    await counted('encrypt', 'clear', 'sealed');
    await counted('decrypt', 'sealed', 'back');
    expect(readCapture(path('back'))).toEqual([ethernet(packet), arp]);
    const asked = ['eth.fcs', 'frame.packet_flags_fcs_length', 'frame.packet_flags_direction'];
    const before = shark('clear', asked);
    if (before === undefined) return skip('tshark is not installed');
    expect(before).toEqual(['0xdeadbeef\t4\t0x00000001', '0xdeadbeef\t4\t0x00000001']);
    for (const file of ['sealed', 'back'])
      expect(shark(file, asked)).toEqual(['\t0\t0x00000001', '\t0\t0x00000001']);
  });
});

describe('--skip-bad', () => {
  it('leaves out invalid frames, reports which and why, and continues', async () => {
    const wrong = Buffer.from(packet);
    wrong.writeUInt16BE(0x1234, 10);
    write([ethernet(packet), ethernet(wrong), ethernet(packet6)]);
    expect((await pcap('encrypt', 'clear', 'out')).code).toBe(1);
    const skippedFrames = [{ frame: 2, detail: 'its IPv4 header checksum is wrong' }];
    const counts = { frames: 3, encrypted: 2, skipped: 1, skippedFrames, nextIv: '0x0000000000000003' };
    expect(await counted('encrypt', 'clear', 'sealed', '--skip-bad')).toMatchObject(counts);
    const { code, stdout } = await pcap('encrypt', 'clear', 'again', '--skip-bad');
    expect(code).toBe(0);
    expect(stdout).toContain('\nframe 2 left out: its IPv4 header checksum is wrong\n');

    const sealed = readCapture(path('sealed')).map((octets) => ({ octets: Buffer.from(octets) }));
    const first = sealed[0]?.octets as Buffer;
    first.writeUInt8(first.readUInt8(first.length - 1) ^ 1, first.length - 1);
    writeFileSync(path('changed'), writeCapture(sealed));
    const back = await counted('decrypt', 'changed', 'back', '--skip-bad');
    expect(back).toMatchObject({ frames: 2, decrypted: 1, skipped: 1, skippedFrames: [{ frame: 1 }] });
    expect(readCapture(path('back'))).toEqual([ethernet(packet6)]);
  });
});
