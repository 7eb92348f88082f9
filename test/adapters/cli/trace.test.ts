// SPDX-License-Identifier: Apache-2.0
// `psp pipeline trace` on real files, sealed by the vectors' own implementation of PSP: every fate of a frame at
// either port, in both modes and families, as JSON according to its schema and as text.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { traceFile } from '../../../cli/capture/trace.js';
import { fates, type TraceReport } from '../../../cli/capture/trace_steps.js';
import { run } from '../../../cli/program.js';
import { loadAddon } from '../../../native/addon/load.js';
import { engineSettings } from '../../../services/dataplane/config.js';
import { parseAddress } from '../../../services/shared/address.js';
import { loadConfig } from '../../../services/shared/config/config.js';
import { expectSchema } from '../../json_schema.js';
import { fromMasterKeys } from '../../vectors/derivation.js';
import { checksum, type IpFields, ipPacket, type Payload, udp } from '../../vectors/ip.js';
import { sealPacket } from '../../vectors/packet.js';
import { keepPrinted } from '../shared/printed.js';
import { type CaptureForm, type CaptureFrame, captureForms, writeCapture } from './pcap_files.js';

const masters = [Buffer.alloc(32, 0x3a), Buffer.alloc(32, 0xc5)] as const;
const keyOf = fromMasterKeys(masters);
const masterKeys = ['--master-key0', masters[0].toString('hex'), '--master-key1', masters[1].toString('hex')];
const leaving = [...masterKeys, '--spi', '1a345678', '--outer-destination', '192.0.2.2'];
const arriving = ['--port', 'secured', ...masterKeys];

const nodeFile = `
node: a
unsecured: { port: veth-host, gateway: [10.1.0.1/24, "fd01::1/64"] }
secured: { port: veth-wire, address: 192.0.2.1/24, gateway: 192.0.2.254 }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24, "fd01::/64"]
peers:
  tunnel: { endpoint: "198.51.100.2:3000", vips: [10.2.0.0/24, "fd02::/64"] }
  transport: { endpoint: "198.51.100.3:3000", vips: [10.3.0.0/24, "fd03::/64"], mode: transport }
  sampled: { endpoint: "198.51.100.4:3000", vips: [10.4.0.0/24], sampling: 0 }
  plain: { endpoint: "198.51.100.5:3000", vips: [10.5.0.0/24], authOnly: true, mtu: 1400 }
bypass: [{ prefix: 203.0.113.0/24, protocol: udp, port: 53 }]
`;

let folder: string;
const said = keepPrinted();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-trace-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  writeFileSync(path('node.yaml'), nodeFile);
});
afterEach(() => {
  for (const file of readdirSync(folder)) rmSync(join(folder, file));
});

const path = (name: string) => join(folder, name);
const command = (...args: string[]) => ['-c', path('node.yaml'), 'pipeline', 'trace', path('file'), ...args];

/** Traces the frames, which must succeed. @returns the output as JSON. */
async function trace(
  frames: readonly CaptureFrame[],
  args: string[],
  form?: CaptureForm,
): Promise<TraceReport> {
  said.stdout = '';
  writeFileSync(path('file'), writeCapture(frames, form));
  const code = await run(command(...args, '--json'));
  expect({ code, stderr: said.stderr }).toEqual({ code: 0, stderr: '' });
  const told = JSON.parse(said.stdout) as TraceReport;
  expectSchema('pipeline_trace', told);
  const sum = fates.reduce((all, fate) => all + told.fates[fate], 0);
  expect(sum).toBe(told.frames.length);
  return told;
}

/** The one frame of a trace. */
async function traceOne(octets: Buffer, ...args: string[]) {
  const { frames } = await trace([{ octets }], args);
  return frames[0] as TraceReport['frames'][number];
}

const ends = (source: string, destination: string) => ({
  source: Buffer.from(parseAddress(source)),
  destination: Buffer.from(parseAddress(destination)),
});
const packet = (
  from: string,
  to: string,
  { length = 24, payload, ...fields }: Partial<IpFields> & { length?: number; payload?: Payload } = {},
): Buffer =>
  ipPacket(
    { ...ends(from, to), trafficClass: 0, hopLimit: 64, ...fields },
    payload ?? udp(40000, 53, Buffer.alloc(length, 7), ends(from, to)),
  );
const ethernet = (octets: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from('02aa00000001020000000002', 'hex'),
    Buffer.from(octets.readUInt8(0) >> 4 === 4 ? '0800' : '86dd', 'hex'),
    octets,
  ]);

interface Sealed {
  mode?: 'tunnel' | 'transport';
  spi?: number;
  version?: number;
  sample?: boolean;
  drop?: boolean;
  key?: Buffer;
  nextHeader?: number;
  traffic?: number;
}

/** A frame from the wire with the packet sealed under our key for the SPI. */
function sealed(inner: Buffer, how: Sealed = {}): Buffer {
  const { mode = 'tunnel', spi = 0x9b000001, version = 1, sample = false, drop = false } = how;
  const header = {
    ...{ version, spi, iv: 5n, cryptOffset: 0, sample, drop, cookie: undefined },
    ...{ extension: Buffer.alloc(0), reserved: 0 },
    ...(how.nextHeader === undefined ? {} : { nextHeader: how.nextHeader }),
  };
  const outer = { ...ends('192.0.2.2', '192.0.2.1'), trafficClass: how.traffic ?? 0, hopLimit: 64 };
  const sealing = { key: how.key ?? keyOf(spi, version), header, udpSource: 50000, udpChecksum: true };
  return ethernet(sealPacket(inner, mode === 'tunnel' ? { ...sealing, outer } : sealing));
}

const steps = ({ steps }: { steps: { pipe: string; outcome: string }[] }): string =>
  steps.map(({ pipe, outcome }) => `${pipe} ${outcome}`).join(', ');
const toPeer = 'ingress_root hit, egress_root hit, egress_acl hit';

describe('frames of hosts', () => {
  it.each([
    ['10.1.0.5', '10.2.0.9', 'tunnel', 1, '192.0.2.2', 60],
    ['fd01::5', 'fd02::9', 'tunnel', 1, '192.0.2.2', 60],
    ['10.1.0.5', '10.3.0.9', 'transport', 1, '10.3.0.9', 40],
    ['fd01::5', 'fd03::9', 'transport', 1, 'fd03::9', 40],
    ['10.1.0.5', '10.5.0.9', 'tunnel', 3, '192.0.2.2', 60],
  ])('%s to %s leaves in %s mode and version %i', async (from, to, mode, version, outside, added) => {
    const octets = ethernet(packet(from, to));
    const frame = await traceOne(octets, ...leaving, '--iv', '0x10', '--vc', '00000000000000ff');
    const psp = {
      spi: '0x1a345678',
      iv: '0x0000000000000010',
      version,
      encrypted: version < 2,
      cookie: true,
    };
    expect(frame).toMatchObject({
      fate: 'forwarded',
      packet: { source: from, destination: to, protocol: 17, sourcePort: 40000, destinationPort: 53 },
      flow: { spi: psp.spi, mode, version, pathMtu: to === '10.5.0.9' ? 1400 : 1568 },
      drops: [],
      left: [{ port: 'secured', length: octets.length + added + 8, packet: { destination: outside }, psp }],
    });
    expect(steps(frame)).toBe(toPeer);
  });

  it('are held while no key is given, and at each limit the oldest is dropped', async () => {
    const frames = Array.from({ length: 66 }, () => ({ octets: ethernet(packet('10.1.0.5', '10.2.0.9')) }));
    const told = await trace(frames, []);
    expect(told.fates).toMatchObject({ held: 66 });
    expect(told.held).toBe(64);
    expect(told.frames[0]).toMatchObject({ peer: 'tunnel', flow: null, dropsOfEarlier: [], left: [] });
    expect(steps(told.frames[0] as never)).toBe('ingress_root hit, egress_root hit, egress_acl miss');
    expect(told.frames[65]).toMatchObject({
      drops: [],
      dropsOfEarlier: [{ reason: 'held_overflow_flow', direction: 'egress', packets: 1 }],
    });
  });

  const flipped = (octets: Buffer, at: number): Buffer => {
    const other = Buffer.from(octets);
    other.writeUInt8(other.readUInt8(at) ^ 1, at);
    return other;
  };
  it.each([
    ['no_peer', ethernet(packet('10.1.0.5', '10.9.0.9'))],
    ['not_local_source', ethernet(packet('10.8.0.5', '10.2.0.9'))],
    ['local_destination', ethernet(packet('10.1.0.5', '10.1.0.6'))],
    ['multicast', ethernet(packet('10.1.0.5', '224.0.0.251'))],
    ['malformed', flipped(ethernet(packet('10.1.0.5', '10.2.0.9')), 24)],
    ['truncated', ethernet(packet('10.1.0.5', '10.2.0.9')).subarray(0, 40)],
    ['vlan', Buffer.from('02aa00000001020000000002810000070800', 'hex')],
    ['not_ip', Buffer.from('02aa0000000102000000000288cc0000', 'hex')],
    [
      'transport_ip_in_ip',
      ethernet(packet('10.1.0.5', '10.3.0.9', { payload: { protocol: 4, octets: Buffer.alloc(20) } })),
    ],
  ])('are dropped as %s, with cause and remedy', async (reason, octets) => {
    const frame = await traceOne(octets, ...leaving);
    expect(frame).toMatchObject({ fate: 'dropped', drops: [{ reason, direction: 'egress', packets: 1 }] });
    expect(frame.drops[0]?.cause).toMatch(/\w+ \w+.*\.$/);
    expect(frame.drops[0]?.remedy).toMatch(/\w+ \w+.*\.$/);
    expect(frame.left).toEqual([]);
  });

  it('pass unencrypted by a rule of the bypass, which is named', async () => {
    const frame = await traceOne(ethernet(packet('10.1.0.5', '203.0.113.9')), ...leaving);
    expect(frame).toMatchObject({ fate: 'bypassed', left: [{ port: 'secured', psp: null }] });
    expect(frame.steps[1]?.why).toBe('bypass 203.0.113.0/24 udp port 53: passes unencrypted');
  });

  it('are sampled at the rate of their peer', async () => {
    const frame = await traceOne(ethernet(packet('10.1.0.5', '10.4.0.9')), ...leaving);
    expect(steps(frame)).toBe(`${toPeer}, egress_sampling hit`);
    expect(frame.left[0]?.psp?.sample).toBe(true);
    expect(frame.notes).toContain('copied for the sampler: egressSealed');
  });

  it('that do not fit are fragmented before or after sealing, or their host receives an error', async () => {
    const long = (to: string, more: Partial<IpFields> = {}) =>
      ethernet(packet(to.includes(':') ? 'fd01::5' : '10.1.0.5', to, { length: 1440, ...more }));
    const mtu = ['--secured-mtu', '1500'];
    const tunnelled = await traceOne(long('10.2.0.9'), ...leaving, ...mtu);
    expect(tunnelled.notes).toContain(
      'longer than the path MTU: split into 2 fragments, each sealed on its own',
    );
    expect(tunnelled.left.map(({ psp }) => psp?.iv)).toEqual(['0x0000000000000001', '0x0000000000000002']);
    const transported = await traceOne(long('10.3.0.9'), ...leaving, ...mtu);
    expect(transported.notes).toContain('longer than the path MTU: sealed, then split into 2 fragments');
    expect(transported.left.map(({ packet }) => packet?.fragment)).toEqual(['first', 'later']);
    expect(transported.left.map(({ psp }) => psp?.spi)).toEqual(['0x1a345678', undefined]);

    for (const [octets, told] of [
      [long('10.2.0.9', { dontFragment: true }), 1440],
      [long('fd02::9'), 1440],
      [long('10.5.0.9', { dontFragment: true }), 1340],
    ] as const) {
      const frame = await traceOne(octets, ...leaving, ...mtu);
      expect(frame).toMatchObject({
        fate: 'dropped',
        drops: [{ reason: 'too_big' }],
        left: [{ port: 'unsecured', tooBigMtu: told }],
      });
      expect(frame.notes).toContain(`its host receives an ICMP error: MTU ${told}`);
    }
  });

  it('in fragments wait for one another in transport mode, until their timeout', async () => {
    const part = (fragmentOffset: number, identification: number): CaptureFrame => ({
      octets: ethernet(
        packet('10.1.0.5', '10.3.0.9', {
          ...{ identification, fragmentOffset, moreFragments: fragmentOffset === 0 },
          payload: {
            protocol: 17,
            octets: Buffer.concat([Buffer.from('9c40003500400000', 'hex'), Buffer.alloc(24)]),
          },
        }),
      ),
    });
    // Frames of a file are one second apart.
    const told = await trace([part(0, 1), part(32, 1), part(0, 2), part(0, 3), part(0, 4)], leaving);
    expect(told.frames.map(({ fate }) => fate)).toEqual([
      ...['waiting', 'forwarded', 'waiting', 'waiting', 'waiting'],
    ]);
    expect(told.frames[1]?.notes).toContain('reassembled from 2 fragments');
    expect(told.frames[4]?.dropsOfEarlier).toMatchObject([{ reason: 'fragment_timeout', packets: 1 }]);
    expect(told.fragmentsWaiting).toBe(2);
  });

  it("that request a neighbour's address are consumed", async () => {
    const arp = `ffffffffffff020000000002${'08060001080006040001'}0200000000020a0100050000000000000a010001`;
    const frame = await traceOne(Buffer.from(arp, 'hex'));
    expect(frame).toMatchObject({
      fate: 'consumed',
      packet: null,
      left: [{ port: 'unsecured', packet: null }],
    });
    expect(frame.steps[0]?.why).toBe('ARP or neighbour discovery');
  });

  it('for another MAC address are dropped if that of the port is given', async () => {
    const octets = ethernet(packet('10.1.0.5', '10.2.0.9'));
    expect((await traceOne(octets, '--mac', '02:aa:00:00:00:02')).drops[0]?.reason).toBe('other_host');
    expect((await traceOne(octets, '--mac', '02:aa:00:00:00:01')).fate).toBe('held');
  });
});

describe('frames from the wire', () => {
  const inner = packet('10.2.0.9', '10.1.0.5');
  const opened = 'ingress_root hit, ingress_decrypt hit, ingress_sampling miss, ingress_acl hit';

  it.each([
    ['10.2.0.9', '10.1.0.5', { mode: 'tunnel' }, 'tunnel'],
    ['fd02::9', 'fd01::5', { mode: 'tunnel', version: 0 }, 'tunnel'],
    ['10.3.0.9', '10.1.0.5', { mode: 'transport' }, 'transport'],
    ['fd03::9', 'fd01::5', { mode: 'transport', version: 0, spi: 0x77 }, 'transport'],
    ['10.5.0.9', '10.1.0.5', { version: 2 }, 'plain'],
  ] as [string, string, Sealed, string][])('%s to %s opens (%o)', async (from, to, how, peer) => {
    const frame = await traceOne(sealed(packet(from, to), how), ...arriving);
    const carried = { source: from, destination: to, protocol: 17, destinationPort: 53 };
    expect(frame).toMatchObject({
      ...{ fate: 'forwarded', peer, inner: carried },
      psp: { spi: `0x${(how.spi ?? 0x9b000001).toString(16).padStart(8, '0')}`, version: how.version ?? 1 },
      flow: { source: from, destination: to, mode: how.mode ?? 'tunnel', encrypted: how.version !== 2 },
      left: [{ port: 'unsecured', packet: carried, psp: null }],
    });
    expect(steps(frame)).toBe(opened);
  });

  const wrong = Buffer.alloc(32, 1);
  const plain = ethernet(inner);
  const icmp = Buffer.from('0800000000000000', 'hex');
  icmp.writeUInt16BE(checksum(icmp), 2);
  it.each([
    [
      'icv_failure',
      sealed(inner, { key: wrong }),
      'ingress_root hit, ingress_decrypt miss, syndrome_stats hit',
    ],
    [
      'bad_trailer',
      sealed(inner, { nextHeader: 17 }),
      'ingress_root hit, ingress_decrypt miss, syndrome_stats hit',
    ],
    ['wrong_mode', sealed(inner, { mode: 'transport' }), 'ingress_root hit, ingress_decrypt miss'],
    ['unknown_spi', sealed(inner, { version: 2 }), 'ingress_root hit, ingress_decrypt miss'],
    ['not_psp', plain, 'ingress_root hit, ingress_decrypt miss'],
    ['not_for_us', ethernet(packet('10.2.0.9', '192.0.2.77')), 'ingress_root hit, ingress_decrypt miss'],
    [
      'icmp',
      ethernet(packet('192.0.2.9', '192.0.2.1', { payload: { protocol: 1, octets: icmp } })),
      'ingress_root hit, ingress_decrypt miss',
    ],
    ['acl_miss', sealed(packet('10.2.0.9', '10.7.0.5')), opened.replace(/hit$/, 'miss')],
    [
      'sampled_drop',
      sealed(inner, { sample: true, drop: true }),
      opened.replace(/miss, ingress_acl hit/, 'hit'),
    ],
    ['congestion_marked', sealed(inner, { traffic: 3 }), opened],
  ])('are dropped as %s', async (reason, octets, told) => {
    const frame = await traceOne(octets, ...arriving);
    expect(frame).toMatchObject({ fate: 'dropped', drops: [{ reason, direction: 'ingress' }], left: [] });
    expect(steps(frame)).toBe(told);
  });

  it('of another flow than the first under their SPI are dropped, and both flows are shown', async () => {
    const frames = [inner, packet('10.2.0.10', '10.1.0.5')].map((octets) => ({ octets: sealed(octets) }));
    const told = await trace(frames, arriving);
    expect(told.fates).toMatchObject({ forwarded: 1, dropped: 1 });
    expect(told.frames[1]).toMatchObject({ inner: { source: '10.2.0.10' }, flow: { source: '10.2.0.9' } });
    expect(told.frames[1]?.steps.at(-1)?.why).toBe('acl_miss: the SPI was offered for 10.2.0.9 > 10.1.0.5');
  });

  it('are under no SPI of ours without master keys, which is explained', async () => {
    const frame = await traceOne(sealed(inner), '--port', 'secured');
    expect(frame).toMatchObject({ fate: 'dropped', inner: null, drops: [{ reason: 'unknown_spi' }] });
    expect(frame.notes.join()).toContain('without the master keys');
  });

  it('with S are copied', async () => {
    const frame = await traceOne(sealed(inner, { sample: true }), ...arriving);
    expect(frame.fate).toBe('forwarded');
    expect(frame.notes).toContain('copied for the sampler: ingressOpened');
  });

  describe('that are longer than the MTU of the hosts', () => {
    const mtus = ['--unsecured-mtu', '1400', '--secured-mtu', '1600'];
    const back = ['--spi', '1a345678', '--outer-destination', '192.0.2.2'];
    const whole = { payload: udp(40000, 53, Buffer.alloc(1440)) };
    const noFragments = { ...whole, dontFragment: true };
    const told = 'its source, behind the peer, receives an ICMP error: MTU 1400';
    const fragments = 'longer than the path MTU: split into 2 fragments';

    it.each([
      ['IPv4 with DF', 'tunnel', packet('10.2.0.9', '10.1.0.5', noFragments), 'dropped', [told]],
      ['IPv4', 'tunnel', packet('10.2.0.9', '10.1.0.5', whole), 'forwarded', [fragments]],
      ['IPv6', 'tunnel', packet('fd02::9', 'fd01::5', whole), 'dropped', [told]],
      ['IPv4 with DF', 'transport', packet('10.3.0.9', '10.1.0.5', noFragments), 'dropped', [told]],
      ['IPv4', 'transport', packet('10.3.0.9', '10.1.0.5', whole), 'forwarded', [fragments]],
      ['IPv6', 'transport', packet('fd03::9', 'fd01::5', whole), 'forwarded', [fragments, told]],
    ] as const)('%s in %s mode', async (_, mode, octets, fate, notes) => {
      const frame = await traceOne(sealed(octets, { mode }), ...arriving, ...mtus, ...back);
      expect(frame).toMatchObject({ fate, drops: fate === 'dropped' ? [{ reason: 'too_big' }] : [] });
      expect(frame.notes.filter((note) => !note.startsWith('requested'))).toEqual(notes);
      const errors = frame.left.filter(({ port }) => port === 'secured');
      expect(errors).toMatchObject(
        notes.includes(told as never) ? [{ psp: { spi: '0x1a345678' }, tooBigMtu: 1400 }] : [],
      );
    });

    it('show the path of the error after their own, and the error is held if its flow has no key', async () => {
      const octets = sealed(packet('10.2.0.9', '10.1.0.5', noFragments));
      const keyed = await traceOne(octets, ...arriving, ...mtus, ...back);
      expect(steps(keyed)).toBe(`${opened}, egress_root hit, egress_acl hit`);
      const held = await traceOne(octets, ...arriving, ...mtus);
      expect(held).toMatchObject({ fate: 'dropped', left: [] });
      expect(steps(held)).toBe(`${opened}, egress_root hit, egress_acl miss`);
      expect(held.notes).toContain(
        'the ICMP error for its source, behind the peer, is held: its flow has no key yet',
      );
    });
  });

  it('are admitted by the bypass', async () => {
    const octets = ethernet(packet('203.0.113.9', '10.1.0.5', { payload: udp(53, 9, Buffer.alloc(3)) }));
    const frame = await traceOne(octets, '--port', 'secured');
    expect(frame).toMatchObject({ fate: 'bypassed', left: [{ port: 'unsecured' }] });
    expect(frame.steps.at(-1)).toMatchObject({ pipe: 'ingress_decrypt', outcome: 'miss' });
  });

  it('are processed as the node file says: ingressAcl', async () => {
    writeFileSync(path('node.yaml'), `${nodeFile}ingressAcl: false\n`);
    const frames = [inner, packet('10.2.0.10', '10.1.0.5')].map((octets) => ({ octets: sealed(octets) }));
    const told = await trace(frames, arriving);
    expect(told.fates).toMatchObject({ forwarded: 2 });
    expect(told.frames[1]?.steps.at(-1)?.why).toContain('admitted by ingressAcl: false');
  });
});

describe('the file', () => {
  it.each(captureForms)('$format, big-endian $bigEndian, nanoseconds $nanoseconds', async (form) => {
    const octets = ethernet(packet('10.1.0.5', '10.2.0.9'));
    const told = await trace([{ octets }, { octets, fraction: 250_000 }], [], form);
    expect(told).toMatchObject({ format: form.format, fates: { held: 2 } });
    expect(told.frames.map(({ time }) => time)).toEqual([
      '2023-11-14T22:13:20.000000000Z',
      form.nanoseconds ? '2023-11-14T22:13:21.000250000Z' : '2023-11-14T22:13:21.250000000Z',
    ]);
  });

  it('contains truncated frames: they are not run, which is explained', async () => {
    const octets = ethernet(packet('10.1.0.5', '10.2.0.9', { length: 1000 }));
    const told = await trace([{ octets: octets.subarray(0, 96), original: octets.length }, { octets }], []);
    expect(told.frames[0]).toMatchObject({
      ...{ fate: 'skipped', length: octets.length, steps: [] },
      notes: [
        `not run: only 96 of its ${octets.length} octets were captured; capture with a larger snap length`,
      ],
    });
    expect(told.frames[1]?.fate).toBe('held');
  });

  it('has more frames than the limit', async () => {
    const octets = ethernet(packet('10.1.0.5', '10.2.0.9'));
    const told = await trace([{ octets }, { octets }], ['--limit', '1']);
    expect(told).toMatchObject({ more: true, fates: { held: 1 } });
    expect(await run(command('--limit', '1'))).toBe(0);
    expect(said.stdout).toContain('there are more frames: use --limit\n');
  });

  it('without frames has a trace too', async () => {
    expect(await trace([], [])).toMatchObject({ frames: [], more: false });
  });
});

describe('as text', () => {
  const read = async (frames: Buffer[], ...args: string[]) => {
    writeFileSync(path('file'), writeCapture(frames.map((octets) => ({ octets }))));
    expect(await run(command(...args))).toBe(0);
    return said.stdout.replaceAll(`${folder}/`, '').split('\n\n');
  };

  it('one block per frame shows the decision of each pipe, what left and why not', async () => {
    const blocks = await read(
      [ethernet(packet('10.1.0.5', '10.5.0.9')), ethernet(packet('10.1.0.5', '10.9.0.9'))],
      ...leaving,
    );
    expect(blocks).toHaveLength(4);
    expect(blocks[0]).toBe(
      'node a: the frames of file arrive at its unsecured port; MTU 1500 unsecured, 1568 secured',
    );
    expect(blocks[1]?.replace(/port \d+ > 192/, 'port N > 192')).toBe(`\
frame 1  0.000000 s  66 octets  10.1.0.5 port 40000 > 10.5.0.9 port 53 udp
  ingress_root     hit  complete and well formed
  egress_root      hit  peer plain has the destination
  egress_acl       hit  keyed: SPI 0x1a345678, version 3 NOT ENCRYPTED, tunnel mode, path MTU 1400
  requested the MAC address of 192.0.2.2
  -> secured port: 126 octets, 192.0.2.1 port N > 192.0.2.2 port 1000 udp, SPI 0x1a345678 version 3 NOT ENCRYPTED IV 0x0000000000000001
  forwarded`);
    expect(blocks[2]).toBe(`\
frame 2  1.000001 s  66 octets  10.1.0.5 port 40000 > 10.9.0.9 port 53 udp
  ingress_root     hit  complete and well formed
  egress_root      miss no_peer
  dropped: egress/no_peer. No peer has the destination among its vips.
  what to do: Add the prefix to the peer's vips, or stop the scan.`);
    expect(blocks[3]).toBe(
      '2 frames: 1 forwarded, 1 dropped; at the end 0 packets are held and 0 fragments wait\n',
    );
  });

  it('a packet from the wire shows its inner packet', async () => {
    const blocks = await read([sealed(packet('10.2.0.9', '10.1.0.5'))], ...arriving);
    expect(blocks[1]).toContain('\n  carries 10.2.0.9 port 40000 > 10.1.0.5 port 53 udp\n');
    expect(blocks[1]).toContain('opened: SPI 0x9b000001, version 1, tunnel mode, offered to peer tunnel\n');
  });
});

describe('the interface to the native side', () => {
  it('refuses unsafe values', () => {
    const engine = engineSettings(loadConfig(path('node.yaml'), {}));
    const good = {
      ...{ input: 0, limit: 1, engine, port: 'secured', unsecuredMtu: 1500, securedMtu: 1500 },
      versions: engine.peers.map(() => [1]),
    } as const;
    const key = { spi: 1, iv: 1n, outerDestination: new Uint8Array(16) };
    for (const [fault, told] of [
      [{ port: 'wire' }, 'port'],
      [{ securedMtu: 575 }, 'securedMtu'],
      [{ versions: [[1]] }, 'versions'],
      [{ versions: engine.peers.map(() => []) }, 'versions'],
      [{ versions: engine.peers.map(() => [4]) }, 'version'],
      [{ mac: new Uint8Array(5) }, 'mac'],
      [{ masterKeys: new Uint8Array(63) }, 'masterKeys'],
      [{ key }, 'masterKeys'],
      [{ key: { ...key, outerDestination: new Uint8Array(4) }, masterKeys: new Uint8Array(64) }, 'key'],
    ] as const) {
      const call = () => loadAddon().traceCapture({ ...good, ...fault } as never);
      expect(call, told).toThrow(TypeError);
      expect(call).toThrow(told);
    }
  });
});

describe('master keys', () => {
  it('are wiped after success and after failure', async () => {
    writeFileSync(path('file'), writeCapture([]));
    const how = { limit: 1, port: 'secured', unsecuredMtu: 1500, securedMtu: 1600 } as const;
    for (const file of ['file', 'missing']) {
      const keys = Buffer.concat([...masters]);
      const work = traceFile(path(file), loadConfig(path('node.yaml'), {}), { ...how, masterKeys: keys });
      await (file === 'file' ? work : expect(work).rejects.toMatchObject({ code: 'FILE_UNREADABLE' }));
      expect(keys.equals(Buffer.alloc(64))).toBe(true);
    }
  });
});
