// SPDX-License-Identifier: Apache-2.0
// `psp pcap` on real files, compared with the vectors' own implementation of PSP in TypeScript, in both directions
// and over every axis; with google/psp's files if these are available beside the repository; and in every capture
// format.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { transcode } from '../../../cli/capture/pcap.js';
import { run } from '../../../cli/program.js';
import { loadAddon } from '../../../native/addon/load.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { expectSchema } from '../../json_schema.js';
import { families, hostPacket, hosts, hostUdp } from '../../vectors/cases.js';
import { fromMasterKeys } from '../../vectors/derivation.js';
import { type Mode, openPacket, sealPacket } from '../../vectors/packet.js';
import { keepPrinted } from '../shared/printed.js';
import { captureForms, readCapture, writeCapture } from './pcap_files.js';

const masters = [Buffer.alloc(32, 0x3a), Buffer.from(Array.from({ length: 32 }, (_, i) => i * 3))] as const;
const keyOf = fromMasterKeys(masters);
const keys = ['--master-key0', masters[0].toString('hex'), '--master-key1', masters[1].toString('hex')];

let folder: string;
const said = keepPrinted();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-pcap-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  for (const file of readdirSync(folder)) rmSync(join(folder, file));
});

const path = (name: string) => join(folder, name);

/** Runs `psp pcap`, which must succeed. @returns its output as JSON. */
async function pcap(direction: 'encrypt' | 'decrypt', input: string, out: string, ...args: string[]) {
  said.stdout = '';
  const code = await run(['pcap', direction, '--json', '--in', input, '--out', out, ...keys, ...args]);
  expect({ code, stderr: said.stderr }).toEqual({ code: 0, stderr: '' });
  const printed = JSON.parse(said.stdout) as Record<string, unknown>;
  expectSchema(`pcap_${direction}`, printed);
  return printed;
}

const ethernet = (packet: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from('020000000001020000000002', 'hex'),
    Buffer.from(packet.readUInt8(0) >> 4 === 4 ? '0800' : '86dd', 'hex'),
    packet,
  ]);
const ipOf = (frame: Buffer): Buffer => frame.subarray(14);
const arp = Buffer.concat([Buffer.alloc(12, 0xff), Buffer.from('0806', 'hex'), Buffer.alloc(28, 1)]);

const packets = families.flatMap((family) =>
  [0, 1, 24, 1400].map((length) => hostPacket(family, hostUdp(family, length))),
);
const frames = [...packets.map(ethernet), arp];

const modes: Mode[] = ['tunnel', 'transport'];
const axes = modes.flatMap((mode) =>
  [0, 1, 2, 3].flatMap((version) =>
    [undefined, 'c00c1e5500112233'].flatMap((vc) =>
      (version < 2 ? [0, 1, 2] : [0]).flatMap((offset) =>
        [0x1a345678, 0x9a345678].map((spi) => ({ mode, version, vc, offset, spi })),
      ),
    ),
  ),
);
const nameOf = ({ mode, version, vc, offset, spi }: (typeof axes)[number]) =>
  `${mode}_${version}${vc ? '_vc' : ''}_offset${offset}_key${spi >>> 31}`;

describe('psp pcap', () => {
  it.each(axes.map((axis) => [nameOf(axis), axis] as const))(
    '%s opens elsewhere, opens packets that were sealed elsewhere, and returns the original',
    async (_, { mode, version, vc, offset, spi }) => {
      writeFileSync(path('clear'), writeCapture(frames.map((octets) => ({ octets }))));
      const printed = await pcap(
        'encrypt',
        path('clear'),
        path('sealed'),
        ...['--spi', spi.toString(16), '--mode', mode, '--psp-version', String(version)],
        ...['--crypt-offset', String(offset), '--iv', '0xfffffffffffffff0', ...(vc ? ['--vc', vc] : [])],
      );
      const count = packets.length;
      expect(printed).toMatchObject({ frames: count + 1, encrypted: count, copied: 1, format: 'pcap' });
      expect(printed.nextIv).toBe('0xfffffffffffffff8');

      const sealed = readCapture(path('sealed'));
      expect(sealed[count]?.equals(arp)).toBe(true);
      packets.forEach((packet, at) => {
        const opened = openPacket(ipOf(sealed[at] as Buffer), keyOf, mode);
        expect(opened.packet.equals(packet)).toBe(true);
        expect(opened.header).toMatchObject({ version, spi, cryptOffset: offset });
        expect(opened.header.iv).toBe(0xfffffffffffffff0n + BigInt(at));
        expect(opened.header.cookie?.toString('hex')).toBe(vc);
        expect(opened.udpChecksum).toBe(0);
      });

      const counts = { frames: count + 1, decrypted: count, [mode]: count, copied: 1 };
      expect(await pcap('decrypt', path('sealed'), path('back'))).toMatchObject(counts);
      expect(readCapture(path('back'))).toEqual(frames);

      const elsewhere = packets.map((packet, at) => {
        const family = packet.readUInt8(0) >> 4 === 4 ? 'v4' : 'v6';
        const header = {
          ...{ version, spi, iv: BigInt(at), cookie: vc ? Buffer.from(vc, 'hex') : undefined },
          ...{ cryptOffset: offset, sample: true, drop: false, extension: Buffer.alloc(0), reserved: 1 },
        };
        const outer = { ...hosts[family], trafficClass: 0, hopLimit: 9 };
        const how = { key: keyOf(spi, version), header, udpSource: 5, udpChecksum: at % 2 === 0 };
        return ethernet(sealPacket(packet, mode === 'tunnel' ? { ...how, outer } : how));
      });
      writeFileSync(path('elsewhere'), writeCapture([...elsewhere, arp].map((octets) => ({ octets }))));
      await pcap('decrypt', path('elsewhere'), path('opened'));
      expect(readCapture(path('opened'))).toEqual(frames);
    },
  );

  it.each(captureForms)('keeps $format, big-endian $bigEndian, nanoseconds $nanoseconds', async (form) => {
    const clear = writeCapture(
      frames.map((octets, at) => ({ octets, fraction: at * 999 })),
      form,
    );
    writeFileSync(path('clear'), clear);
    const sealed = await pcap('encrypt', path('clear'), path('sealed'), '--spi', '1a345678');
    const leftOut = form.format === 'pcapng' ? 1 : 0;
    expect(sealed).toMatchObject({ format: form.format, frames: frames.length, leftOut });
    await pcap('decrypt', path('sealed'), path('back'));
    expect(readCapture(path('back'))).toEqual(frames);
    // Encrypting enlarges the snap length, and leaves out the names of hosts.
    const back = readFileSync(path('back'));
    const differs = clear.subarray(0, back.length).findIndex((octet, at) => octet !== back[at]);
    const snapLength = form.format === 'pcap' ? 16 : 28 + 12;
    expect(differs).toBeGreaterThanOrEqual(snapLength);
    expect(differs).toBeLessThan(snapLength + 4);
    const rest = (octets: Buffer) => octets.subarray(snapLength + 4, clear.length - (leftOut ? 16 : 0));
    expect(rest(back).equals(rest(clear))).toBe(true);
  });

  it('writes other outer addresses, of the other family too', async () => {
    writeFileSync(path('clear'), writeCapture(frames.map((octets) => ({ octets }))));
    for (const [source, destination, type] of [
      ['192.0.2.1', '192.0.2.2', 0x0800],
      ['2001:db8::1', '2001:db8::2', 0x86dd],
    ] as const) {
      const ends = ['--outer-source', source, '--outer-destination', destination];
      await pcap('encrypt', path('clear'), path('sealed'), '--spi', '1a345678', ...ends);
      const sealed = readCapture(path('sealed')).slice(0, -1);
      expect(new Set(sealed.map((frame) => frame.readUInt16BE(12)))).toEqual(new Set([type]));
      const opened = sealed.map((frame) => openPacket(ipOf(frame), keyOf, 'tunnel').packet);
      expect(opened).toEqual(packets);
      await pcap('decrypt', path('sealed'), path('back'));
      expect(readCapture(path('back'))).toEqual(frames);
      rmSync(path('sealed'));
      rmSync(path('back'));
    }
  });

  it('reports the number of frames by what it did, and the next IV', async () => {
    writeFileSync(path('clear'), writeCapture(frames.map((octets) => ({ octets }))));
    const files = ['--in', path('clear'), '--out', path('sealed')];
    expect(await run(['pcap', 'encrypt', ...files, ...keys, '--spi', '1a345678'])).toBe(0);
    expect(said.stdout).toContain('9 frames, 8 encrypted, 1 copied in plaintext (1 ARP)\n');
    expect(said.stdout).toContain('the next IV under this SPI is 0x0000000000000009');
    said.stdout = '';
    const back = ['--in', path('sealed'), '--out', path('back')];
    expect(await run(['pcap', 'decrypt', ...back, ...keys])).toBe(0);
    expect(said.stdout).toContain('9 frames, 8 decrypted (8 tunnel, 0 transport), 1 copied (1 ARP)\n');
  });
});

describe('master keys', () => {
  it('are wiped after success and after failure', async () => {
    writeFileSync(path('clear'), writeCapture([{ octets: arp }]));
    for (const done of [true, false]) {
      const masterKeys = Buffer.concat([...masters]);
      const work = transcode(path('clear'), path('out'), { masterKeys });
      await (done ? work : expect(work).rejects.toMatchObject({ code: 'FILE_UNWRITABLE' }));
      expect(masterKeys.equals(Buffer.alloc(64))).toBe(true);
    }
  });

  it('are wiped by the native side as soon as it has received them', async () => {
    const masterKeys = new Uint8Array(64).fill(7);
    const work = loadAddon().pcapTranscode({ input: 0x7fffffff, output: 0x7fffffff, masterKeys });
    expect(masterKeys.every((octet) => octet === 0)).toBe(true);
    await expect(work).rejects.toMatchObject({ code: 'FILE_UNREADABLE', data: { detail: 'EBADF' } });
  });
});

it.each([0, 0x80000000])('the reserved SPI %i is refused by the native side', (spi) => {
  const encrypt = { spi, mode: 'tunnel' as const, version: 0, cryptOffset: 0, iv: 1n };
  const masterKeys = new Uint8Array(64);
  expect(() => loadAddon().pcapTranscode({ input: 0, output: 1, masterKeys, encrypt })).toThrow(
    'encrypt.spi must be an SPI whose low 31 bits',
  );
});

const vectors = fromPackageRoot('../shared/vectors');

describe("google/psp's files", () => {
  it.for([
    ['v4', 'tunnel_crypt_off_128', ['--crypt-offset', '6', '--psp-version', '0']],
    ['v6', 'tunnel_crypt_off_256_vc', ['--crypt-offset', '13', '--psp-version', '1', '--vc', '0'.repeat(16)]],
    [
      'v4',
      'transport_crypt_off_128_vc',
      ['--crypt-offset', '3', '--psp-version', '0', '--vc', '0'.repeat(16)],
    ],
    ['v6', 'transport_no_crypt_off_256', ['--psp-version', '1']],
  ] as const)('%s_%s: whole frames are the same, and open', async ([family, name, args], { skip }) => {
    if (!existsSync(vectors)) skip('no vectors are kept beside the repository');
    const lines = readFileSync(join(vectors, `encrypt_${name}.cfg`), 'utf8').split('\n');
    // Their configuration contains keys with spaces, which a key file may contain.
    lines.slice(0, 2).forEach((line, slot) => {
      writeFileSync(path(`key${slot}`), line);
    });
    const files = (input: string, out: string) => [
      ...['--in', input, '--out', out],
      ...['--master-key0', `@${path('key0')}`, '--master-key1', `@${path('key1')}`],
    ];
    const clear = join(vectors, `${family}_cleartext.pcap`);
    const theirs = join(vectors, `${family}_${name}.pcap`);
    const mode = name.split('_')[0] as Mode;
    const seal = ['--spi', lines[2] as string, '--mode', mode, ...args];
    const code = await run(['pcap', 'encrypt', ...files(clear, path('sealed')), ...seal]);
    expect({ code, stderr: said.stderr }).toEqual({ code: 0, stderr: '' });
    const afterHeader = (file: string) => readFileSync(file).subarray(24).toString('hex');
    expect(readCapture(theirs).length).toBeGreaterThan(0);
    expect(afterHeader(path('sealed'))).toBe(afterHeader(theirs));

    expect(await run(['pcap', 'decrypt', ...files(theirs, path('opened'))])).toBe(0);
    expect(afterHeader(path('opened'))).toBe(afterHeader(clear));
  });
});
