// SPDX-License-Identifier: Apache-2.0
// The real addon with its real engine, on devices that need no rights on the network: hosts' packets come from
// a capture file, the wire is a ring. EAL starts once in a process, so one engine serves the whole file; what
// ends a process runs in children. All that JavaScript is given is kept, and searched for key bytes at the end.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type EngineEvent,
  type EngineInfo,
  type EngineOptions,
  type NativeEngine,
  type OfferColumns,
  refusals,
  type SampleColumns,
  type SealBinding,
} from '../../../native/addon/engine.js';
import { loadAddon } from '../../../native/addon/load.js';
import { InstallResult, Mode, type Offer } from '../../../proto/gen/bus.js';
import { mapped, parseAddress, unmapped } from '../../../services/shared/address.js';
import { Opener, type SealContext, Sealer } from '../../../services/shared/bus/seal.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { samplePoints } from '../../../services/shared/samples/sample_points.js';
import { pollingThreadOf, withThreadHeld } from '../../e2e/frozen_thread.js';
import { longMs } from '../shared/waiting.js';

const addon = loadAddon();
const secret = randomBytes(32);
const epoch = 0x1234_5678_9abc_def0n;
const folder = mkdtempSync(join(tmpdir(), 'psp-addon-'));

const octetsOf = (text: string) => mapped(parseAddress(text));
const flowOf = (source: string, destination: string) =>
  Buffer.concat([octetsOf(source), octetsOf(destination)]);
const prefixOf = (text: string, length: number) => Buffer.concat([octetsOf(text), Buffer.of(length)]);
const forward = flowOf('10.1.0.2', '10.2.0.2');
const other = flowOf('10.1.0.3', '10.2.0.3');
const reversed = (flow: Uint8Array) => Buffer.concat([flow.subarray(16), flow.subarray(0, 16)]);
/** Flows with as many packets each as are held of one. */
const crowd = Array.from({ length: 12 }, (_, i) => flowOf(`10.1.0.${10 + i}`, '10.2.0.2'));
const perFlow = 64;

/** An Ethernet frame with a UDP packet of the flow from port 4000 to 5000, to the MAC address of a process's first net_pcap port. */
function frameOf(flow: Uint8Array): Buffer {
  const ip = Buffer.from('450000200000400040110000', 'hex');
  const packet = Buffer.concat([ip, flow.subarray(12, 16), flow.subarray(28, 32), Buffer.alloc(12)]);
  packet.writeUInt16BE(4000, 20);
  packet.writeUInt16BE(5000, 22);
  packet.writeUInt16BE(12, 24);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += packet.readUInt16BE(i);
  packet.writeUInt16BE(~((sum & 0xffff) + (sum >> 16)) & 0xffff, 10);
  return Buffer.concat([Buffer.from('0270636170000200000000020800', 'hex'), packet]);
}

/** A capture file of these frames. */
function captureOf(frames: Buffer[]): Buffer {
  const head = Buffer.from('d4c3b2a1020004000000000000000000ffff000001000000', 'hex');
  const records = frames.map((frame) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return Buffer.concat([record, frame]);
  });
  return Buffer.concat([head, ...records]);
}

function optionsOf(changes: Partial<EngineOptions> = {}): EngineOptions {
  const capture = join(folder, 'hosts.pcap');
  return {
    kind: 'software',
    node: 'a',
    epoch,
    busSecret: Uint8Array.from(secret),
    unsecured: {
      device: `net_pcap0,rx_pcap=${capture},tx_pcap=${join(folder, 'to-hosts.pcap')}`,
      gateways: prefixOf('10.1.0.1', 120),
    },
    secured: {
      device: 'net_ring0',
      address: octetsOf('192.0.2.1'),
      prefixLength: 120,
      hopLimit: 64,
      udpChecksum: false,
      sourcePorts: 'hash',
    },
    vips: prefixOf('10.1.0.0', 120),
    peers: [{ name: 'b', vips: prefixOf('10.2.0.0', 120), mode: 'tunnel', cookie: false, cryptOffset: 0 }],
    maxPeers: 4,
    ingressAcl: true,
    bypass: [],
    capture: { ingress: false, egress: false, perSecond: 100 },
    polling: 'adaptive',
    lcores: 1,
    crypto: 'auto',
    maxFlows: 1024,
    retireMs: 1000,
    limits: {
      holdMs: 3000,
      unansweredMs: 1000,
      heldPerFlow: 64,
      heldPerSource: 1024,
      heldTotal: 8192,
      wantsPerPeer: 4096,
      spisPerFlow: 8,
    },
    sampling: { egressLog2: 0, snapBytes: 64, sealed: true, plain: false },
    onEvents: (events) => heard.push(...kept(events)),
    onSamples: (samples) => sampled.push(kept(samples)),
    ...changes,
  };
}

const heard: EngineEvent[] = [];
const sampled: SampleColumns[] = [];
const received: unknown[] = [];
/** Remembers what JavaScript was given. */
function kept<T>(value: T): T {
  received.push(value);
  return value;
}

/** Everything in a value as octets, its texts too. */
function octetsIn(value: unknown): Buffer[] {
  if (ArrayBuffer.isView(value)) return [Buffer.from(value.buffer, value.byteOffset, value.byteLength)];
  if (typeof value === 'bigint') {
    const octets = Buffer.alloc(8);
    octets.writeBigUInt64LE(BigInt.asUintN(64, value));
    return [octets];
  }
  if (value instanceof Error) return [Buffer.from(value.message), ...Object.values(value).flatMap(octetsIn)];
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(octetsIn);
  return [Buffer.from(String(value))];
}

const binding: SealBinding = { contract: 'evt.flow.missed', epoch, peer: 'b', exchange: 7n };
const install: SealBinding = { contract: 'cmd.flow.install', epoch, peer: 'b', exchange: 7n, peerEpoch: 9n };

function contextOf(
  { contract, peer, exchange, peerEpoch }: SealBinding,
  role: SealContext['role'],
  flows: Uint8Array[],
  offers: Offer[],
): SealContext {
  return {
    contract,
    node: 'a',
    sender: role === 'offer' ? 'dataplane' : 'keyexchange',
    epoch,
    role,
    peer,
    exchange,
    peerEpoch,
    flows: flows.map((flow) => ({
      source: Buffer.from(unmapped(flow.subarray(0, 16))),
      destination: Buffer.from(unmapped(flow.subarray(16))),
    })),
    offers,
  };
}

/** As they travel on the bus. */
function offersOf(columns: OfferColumns): Offer[] {
  return Array.from(columns.spis, (spi, i) => ({
    spi,
    version: columns.versions[i] as number,
    number: columns.numbered[i] ? columns.numbers[i] : undefined,
    cookie: columns.cookies[i] as bigint,
    mode: columns.modes[i] as Mode,
    address: Buffer.from(unmapped(columns.addresses.subarray(i * 16, i * 16 + 16))),
    mac: Buffer.from(columns.macs.subarray(i * 6, i * 6 + 6)),
  }));
}

function columnsOf(offers: Offer[]): OfferColumns {
  return {
    spis: Uint32Array.from(offers, (offer) => offer.spi),
    versions: Uint8Array.from(offers, (offer) => offer.version),
    numbers: BigUint64Array.from(offers, (offer) => offer.number ?? 0n),
    numbered: Uint8Array.from(offers, (offer) => (offer.number === undefined ? 0 : 1)),
    cookies: BigUint64Array.from(offers, (offer) => offer.cookie),
    modes: Uint8Array.from(offers, (offer) => offer.mode),
    addresses: Buffer.concat(offers.map((offer) => mapped(offer.address))),
    macs: Buffer.concat(offers.map((offer) => offer.mac)),
  };
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + longMs;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`waited for ${longMs} ms in vain`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const codeOf = (act: () => unknown): unknown => {
  try {
    act();
    return 'none';
  } catch (error) {
    return kept(error as { code?: string }).code;
  }
};

describe('the addon', () => {
  const opener = new Opener(secret, 'a', 'dataplane');
  let sealer = new Sealer(secret, 'a', 'keyexchange');
  const keys: Buffer[] = [];
  let engine: NativeEngine;
  let info: EngineInfo;
  let startedNs: bigint;

  beforeAll(async () => {
    const frames = [forward, forward, ...crowd.flatMap((flow) => Array(perFlow).fill(flow))].map(frameOf);
    writeFileSync(join(folder, 'hosts.pcap'), captureOf(frames));
    startedNs = process.hrtime.bigint();
    engine = new addon.Engine(optionsOf());
    info = kept(await engine.start());
  });
  afterAll(async () => {
    await engine?.stop();
    rmSync(folder, { recursive: true });
  });

  const offer = async (flows: Uint8Array[], version: number) => {
    const made = kept(await engine.offer(Buffer.concat(flows), 0, version, binding));
    const offers = offersOf(made.offers);
    const seal = { ...made.seal, start: Buffer.from(made.seal.start), box: Buffer.from(made.seal.box) };
    const opened = opener.open(contextOf(binding, 'offer', flows, offers), seal);
    keys.push(...opened.map((key) => Buffer.from(key)));
    return { ...made, offers, opened };
  };

  /** What keyexchange sends once the peer has answered: its offers and the seal over their keys. */
  const egress = (flows: Uint8Array[], firstSpi: number) => {
    const offers: Offer[] = flows.map((_, i) => ({
      spi: firstSpi + i,
      version: 1,
      number: 1n,
      cookie: 0n,
      mode: Mode.MODE_TUNNEL,
      address: Buffer.from(parseAddress('192.0.2.2')),
      mac: Buffer.from('020000000b02', 'hex'),
    }));
    const made = flows.map(() => randomBytes(32));
    keys.push(...made.map((key) => Buffer.from(key)));
    const seal = sealer.seal(contextOf(install, 'egress', flows, offers), made);
    return { columns: columnsOf(offers), seal };
  };

  it('starts and says what it runs on', () => {
    expect(info.crypto).toMatch(/ipsec-mb|libcrypto|OpenSSL/i);
    expect(info.secured.mac).toHaveLength(6);
    expect(info.secured.mtu).toBeGreaterThan(1000);
  });

  it('reports once that a flow of the hosts wants a key, and holds its packets', async () => {
    const held = BigInt(2 + crowd.length * perFlow);
    await until(() => engine.counters().values.held === held && heard.length > crowd.length);
    expect(heard).toEqual(
      [forward, ...crowd].map((flow) => ({ type: 'missed', flow: Uint8Array.from(flow), peer: 0 })),
    );
    expect(kept(engine.counters()).values.heldTotal).toBe(held);
  });

  it('offers keys that keyexchange can open, with our address and numbers that rise', async () => {
    const first = await offer([forward, other], 1);
    expect(first.generation).toBe(1);
    expect(first.opened.map((key) => key.length)).toEqual([32, 32]);
    expect(first.offers.map((row) => row.number)).toEqual([1n, 2n]);
    expect(first.offers.map((row) => row.spi >>> 31)).toEqual([0, 0]);
    expect(first.offers[0]?.address).toEqual(Buffer.of(192, 0, 2, 1));
    expect(Buffer.from(first.offers[0]?.mac ?? [])).toEqual(Buffer.from(info.secured.mac));
    const second = await offer([forward], 0);
    expect(second.opened.map((key) => key.length)).toEqual([16]);
    expect(second.offers[0]?.number).toBe(3n);
    expect(second.seal.counter).toBeGreaterThan(first.seal.counter);
  });

  it.each([
    [0, 16],
    [1, 32],
    [2, 16],
    [3, 32],
  ])('offers version %i with a key of %i octets, in the mode of the peer', async (version, octets) => {
    const flow = Buffer.concat([octetsOf('10.1.0.1'), octetsOf(`10.2.0.${200 + version}`)]);
    const made = kept(await engine.offer(flow, 0, version, binding));
    const offers = offersOf(made.offers);
    expect(offers).toMatchObject([{ version, mode: Mode.MODE_TUNNEL, cookie: 0n }]);
    const seal = { ...made.seal, start: Buffer.from(made.seal.start), box: Buffer.from(made.seal.box) };
    const [key] = opener.open(contextOf(binding, 'offer', [flow], offers), seal);
    expect(key).toHaveLength(octets);
    keys.push(Buffer.from(key as Buffer));
    const touched = offers.map((offer) => ({ ...offer, mode: Mode.MODE_TRANSPORT }));
    expect(codeOf(() => opener.open(contextOf(binding, 'offer', [flow], touched), seal))).toBe(
      'SEAL_INVALID',
    );
    await engine.remove(flow);
  });

  it('refuses a seal that was touched, and one that was opened before', () => {
    const { columns, seal } = egress([other], 0x1111);
    const touched = { ...seal, box: Uint8Array.from(seal.box, (octet, i) => (i === 3 ? octet ^ 1 : octet)) };
    expect(codeOf(() => engine.open(other, columns, install, touched))).toBe('SEAL_INVALID');
    expect(codeOf(() => engine.open(forward, columns, install, seal))).toBe('SEAL_INVALID');
    const opened = kept(engine.open(other, columns, install, seal));
    expect(opened.count).toBe(1);
    opened.release();
    expect(codeOf(() => engine.open(other, columns, install, seal))).toBe('REPLAY');
    expect(() => engine.install(opened, Uint32Array.of(0), 0)).toThrow('installed or released before');
  });

  it('installs an egress key once and releases the held packets', async () => {
    const { columns, seal } = egress([forward], 0x2222);
    const opened = kept(engine.open(forward, columns, install, seal));
    expect([...kept(await engine.install(opened, Uint32Array.of(0), 0))]).toEqual([
      InstallResult.INSTALL_RESULT_INSTALLED,
    ]);
    expect(() => engine.install(opened, Uint32Array.of(0), 0)).toThrow('installed or released before');
    await until(() => engine.counters().values.resubmitted === 2n);
    const counters = kept(engine.counters());
    expect(counters.values).toMatchObject({ keyed: 1n, missEvents: 13n });
    expect(counters.peers).toEqual([
      expect.objectContaining({ egressPackets: 2n, egressBytes: 64n, ingressPackets: 0n, keyedFlows: 1 }),
    ]);
    expect(counters.peers[0]?.lastEgressMs).toBeGreaterThan(0n);
    expect(counters.peers[0]?.lastIngressMs).toBe(0n);
    expect(counters.pipes.map((pipe) => pipe.name)).toEqual(addon.pipes.map((pipe) => pipe.name));
    expect(counters.drops.map((row) => `${row.direction} ${row.reason}`)).toEqual(
      addon.dropReasons.map((row) => `${row.direction} ${row.name}`),
    );
  });

  it('gives the copies of sampled packets, cut, and says when they were taken and what they are of', async () => {
    await until(() => sampled.length > 0);
    expect(sampled).toHaveLength(1);
    const [samples] = sampled as [SampleColumns];
    const now = process.hrtime.bigint();
    expect(samples.atNs[0]).toBeLessThan(now);
    expect(samples.atNs[0]).toBeGreaterThan(startedNs);
    expect(samples.count).toBe(2);
    expect([...samples.points]).toEqual([samplePoints.egressSealed, samplePoints.egressSealed]);
    expect(Buffer.from(samples.flows)).toEqual(Buffer.concat([forward, forward]));
    expect([...samples.peers]).toEqual([0, 0]);
    expect([...samples.spis]).toEqual([0x2222, 0x2222]);
    expect([...samples.protocols]).toEqual([17, 17]);
    expect([...samples.sourcePorts]).toEqual([4000, 4000]);
    expect([...samples.destinationPorts]).toEqual([5000, 5000]);
    expect([...samples.rates]).toEqual([0, 0]);
    // Ethernet, IPv4, UDP, PSP, the packet of 32 octets, ICV.
    expect([...samples.originalLengths]).toEqual([106, 106]);
    expect([...samples.copied]).toEqual([64, 64]);
    expect(samples.octets).toHaveLength(128);
    const psp = 14 + 20 + 8;
    expect((samples.octets[psp + 3] as number) & 0x80).toBe(0x80);
  });

  it('shows flows page by page', async () => {
    const rows: string[] = [];
    let cursor = 0;
    do {
      const page = kept(await engine.flows(cursor, 1));
      for (let i = 0; i < page.states.length; i++) {
        const flow = Buffer.from(page.flows.subarray(i * 32, i * 32 + 32)).toString('hex');
        rows.push(`${page.states[i]} ${flow} ${page.spis[i]}`);
      }
      cursor = page.nextCursor;
    } while (cursor !== 0);
    expect(rows).toContain(`1 ${forward.toString('hex')} ${0x2222}`);
    expect(rows.filter((row) => row.startsWith(`3 ${reversed(forward).toString('hex')}`))).toHaveLength(1);
    expect(rows.filter((row) => row.startsWith(`3 ${reversed(other).toString('hex')}`))).toHaveLength(1);
  });

  it('rotates to the other slot; numbers go on', async () => {
    expect(kept(await engine.rotate())).toEqual({ generation: 2 });
    const { generation, offers } = await offer([forward], 1);
    expect(generation).toBe(2);
    expect((offers[0]?.spi ?? 0) >>> 31).toBe(1);
    expect(offers[0]?.number).toBe(8n);
  });

  it('gives samples in batches, oldest first, to a thread that had no time', async () => {
    sampled.length = 0;
    const taken = () => engine.counters().values.samplesTaken as bigint;
    const enough = taken() + BigInt(crowd.length * perFlow);
    const { columns, seal } = egress(crowd, 0x5000);
    const opened = kept(engine.open(Buffer.concat(crowd), columns, install, seal));
    const done = engine.install(opened, Uint32Array.from(crowd.keys()), 0);
    // This thread is busy until the engine has them all.
    const total = crowd.length * perFlow;
    const deadline = Date.now() + longMs;
    while (taken() < enough && Date.now() < deadline) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
    await done;
    await until(() => sampled.reduce((sum, { count }) => sum + count, 0) >= total);

    const counts = sampled.map(({ count }) => count);
    expect(Math.max(...counts)).toBe(256);
    expect(counts.length).toBeLessThan(10);
    expect(sampled.flatMap(({ spis }) => [...spis])).toEqual(
      [...columns.spis].flatMap((spi) => Array(perFlow).fill(spi)),
    );
    const times = sampled.flatMap(({ atNs }) => [...atNs]);
    expect(times).toEqual([...times].sort((one, next) => Number(one - next)));
    const { values, peers } = kept(engine.counters());
    expect(values).toMatchObject({ samplesTaken: BigInt(2 + total), samplesLost: 0n });
    expect(peers[0]).toMatchObject({ egressPackets: BigInt(2 + total), keyedFlows: 13 });
    await engine.remove(Buffer.concat(crowd));
    expect(engine.counters().peers[0]).toMatchObject({ keyedFlows: 1, inboundFlows: 2 });
  });

  it('changes the rate while it runs', async () => {
    await engine.sampling(16);
    await engine.sampling(undefined);
    expect(() => engine.sampling(17)).toThrow('egressLog2 must be a whole number up to 16');
    expect(() => engine.sampling(-1)).toThrow('egressLog2 must be');
  });

  it('gives the keys back when it has no room for a command', async () => {
    const { columns, seal } = egress([other], 0x4444);
    const opened = kept(engine.open(other, columns, install, seal));
    // More than fit into the ring of commands while its thread takes none.
    const { commands, refused } = await withThreadHeld(pollingThreadOf(process.pid), async () => {
      const commands = Promise.allSettled(Array.from({ length: 3000 }, () => engine.flows(0, 1)));
      const answer = engine.install(opened, Uint32Array.of(0), 0);
      return { commands, refused: await answer.catch((error) => kept(error).code) };
    });
    expect(refused).toBe('ENGINE_BUSY');
    const rejected = (await commands).filter(({ status }) => status === 'rejected').length;
    expect(rejected).toBeGreaterThan(0);
    expect(kept(engine.counters()).values.commandsRefused).toBe(BigInt(rejected + 1));
    expect([...(await engine.install(opened, Uint32Array.of(0), 0))]).toEqual([
      InstallResult.INSTALL_RESULT_INSTALLED,
    ]);
    expect(() => engine.install(opened, Uint32Array.of(0), 0)).toThrow('installed or released before');
  });

  it('withdraws, refuses and removes', async () => {
    const { offers } = await offer([other], 1);
    const before = engine.counters().values.receiveSpis ?? 0n;
    const inbound = Buffer.concat([other.subarray(16), other.subarray(0, 16)]);
    await engine.withdraw(inbound, Uint32Array.of(offers[0]?.spi ?? 0));
    expect(engine.counters().values.receiveSpis).toBe(before - 1n);
    await engine.refuse(other, refusals.refused, 1000);
    await engine.remove(Buffer.concat([forward, other]));
    expect(kept(engine.counters()).values).toMatchObject({ keyed: 0n, receiveSpis: 0n, inboundFlows: 0n });
  });

  it('names what is wrong with a value that would break memory safety', () => {
    const columns = columnsOf([]);
    const seal = { start: new Uint8Array(32), counter: 1n, box: new Uint8Array(16) };
    const short = { ...seal, start: new Uint8Array(31) };
    const odd = { ...columns, macs: new Uint8Array(1) };
    const strange = { count: 1, release: () => undefined };
    expect(() => engine.offer(new Uint8Array(33), 0, 1, binding)).toThrow('32 octets for each flow');
    expect(() => engine.offer(forward, 1, 1, binding)).toThrow('peer must be');
    expect(() => engine.offer(forward, 0, 4, binding)).toThrow('version must be');
    const { columns: good, seal: sealed } = egress([other], 0x3334);
    for (const [name, bad] of [
      ['versions', { ...good, versions: Uint8Array.of(4) }],
      ['modes', { ...good, modes: Uint8Array.of(0) }],
      ['modes', { ...good, modes: Uint8Array.of(3) }],
      ['columns of one length', { ...good, modes: new Uint8Array(2) }],
      ['offers.spis must be SPIs whose low 31 bits', { ...good, spis: Uint32Array.of(0) }],
      ['offers.spis must be SPIs whose low 31 bits', { ...good, spis: Uint32Array.of(0x80000000) }],
    ] as const) {
      expect(() => engine.open(other, bad, install, sealed)).toThrow(name);
    }
    expect(() => engine.sampling(17)).toThrow('egressLog2 must be');
    expect(() => engine.sampling(1, 1)).toThrow('peer must be');
    expect(() => engine.open(forward, odd, install, seal)).toThrow('columns of one length');
    expect(() => engine.open(forward, columns, install, short)).toThrow('32 octets long');
    expect(() => engine.install(strange, Uint32Array.of(0), 0)).toThrow('keys must be what open() returned');
    expect(() => engine.withdraw(forward, new Uint32Array(2))).toThrow('one for each inbound flow');
    expect(() => engine.flows(-1, 10)).toThrow('cursor must be');
    const two = egress([other], 0x3333);
    const opened = engine.open(other, two.columns, install, two.seal);
    expect(() => engine.install(opened, Uint32Array.of(1), 0)).toThrow('rows of the opened keys');
  });

  it('opens with every choice of the node file, and names what is none', () => {
    const [peer] = optionsOf().peers;
    if (!peer) throw new Error('there is a peer');
    const { secured, sampling } = optionsOf();
    const open = (changes: object) => new addon.Engine(optionsOf(changes as Partial<EngineOptions>));
    const all = {
      peers: [
        { ...peer, mode: 'transport', cookie: true, cryptOffset: 63, mtu: 65_535, sampling: 'off' },
        { ...peer, vips: prefixOf('10.3.0.0', 120), sampling: 16 },
      ],
      secured: { ...secured, hopLimit: 255, dscp: 63, udpChecksum: true, sourcePorts: new Uint16Array(16) },
      ingressAcl: false,
      bypass: [{ prefix: prefixOf('198.51.100.0', 120), protocol: 17, port: 53 }],
      capture: { ingress: true, egress: true, perSecond: 7 },
      sampling: { ...sampling, sealed: false, plain: true },
    };
    expect(() => open(all)).not.toThrow();
    const wrong: [string, object][] = [
      ['peers[0].mode must be tunnel or transport', { peers: [{ ...peer, mode: 'both' }] }],
      ['peers[0].cookie', { peers: [{ ...peer, cookie: 1 }] }],
      ['peers[0].cryptOffset', { peers: [{ ...peer, cryptOffset: 64 }] }],
      ['peers[0].mtu', { peers: [{ ...peer, mtu: 65_536 }] }],
      ['peers[0].sampling', { peers: [{ ...peer, sampling: 17 }] }],
      ['secured.hopLimit', { secured: { ...secured, hopLimit: 256 } }],
      ['secured.dscp', { secured: { ...secured, dscp: 64 } }],
      ['at least 16 ports', { secured: { ...secured, sourcePorts: new Uint16Array(15) } }],
      ['ingressAcl', { ingressAcl: undefined }],
      ['kind must be the name of an engine that is built in', { kind: 'nosuch' }],
      ['lcores must be a whole number from 1 to 64', { lcores: 0 }],
      ['lcores', { lcores: 65 }],
      ['bypass[0].prefix', { bypass: [{ prefix: new Uint8Array(34), protocol: 0, port: 0 }] }],
      ['bypass[0].protocol', { bypass: [{ prefix: prefixOf('198.51.100.0', 120), protocol: 256, port: 0 }] }],
      ['capture.egress', { capture: { ...all.capture, egress: undefined } }],
      ['sampling.plain', { sampling: { ...sampling, plain: undefined } }],
    ];
    for (const [names, changes] of wrong) expect(() => open(changes), names).toThrow(names);
  });

  it('lists the engines that were built in, and what one can do before it is started', () => {
    expect(addon.engines).toEqual(['software']);
    const [software] = addon.engineCounters();
    expect(software?.kind).toBe('software');
    const counters = software?.counters;
    expect(counters?.drops.map(({ reason, direction, packets }) => [direction, reason, packets])).toEqual(
      addon.dropReasons.map(({ name, direction }) => [direction, name, 0n]),
    );
    expect(Object.keys(counters?.values ?? {})).toContain('gsoPacketsSegmented');
    expect(new addon.Engine(optionsOf()).capabilities()).toEqual({
      versions: [0, 1, 2, 3],
      modes: [1, 2],
      inner: [4, 6],
      outer: [4, 6],
      samplePoints: Object.values(samplePoints),
      cryptOffset: 63,
      lcores: 64,
      maxFlows: 16_777_216,
      spisPerFlow: 255,
    });
  });

  it('wipes the secret that it was given', () => {
    const options = optionsOf();
    new addon.Engine(options);
    expect(options.busSecret.every((octet) => octet === 0)).toBe(true);
  });

  it('seals with a new bus secret at once, opens seals of the old one until it retires, and wipes both', async () => {
    const bring = () => egress([forward], 0x7000);
    const release = ({ columns, seal }: ReturnType<typeof bring>) =>
      engine.open(forward, columns, install, seal).release();
    const [before, late] = [bring(), bring()];
    const next = randomBytes(32);
    const given = Uint8Array.from(next);
    engine.addBusSecret(given);
    expect(given.every((octet) => octet === 0)).toBe(true);
    opener.addSecret(next);
    opener.retireSecret();
    await offer([forward], 1);
    release(before);
    engine.retireBusSecret();
    expect(codeOf(() => release(late))).toBe('SEAL_INVALID');
    sealer = new Sealer(next, 'a', 'keyexchange');
    release(bring());
    expect(() => engine.addBusSecret(new Uint8Array(31))).toThrow('32 octets');
  });

  it('ends commands under way when it stops, then takes none', async () => {
    const rotation = engine.rotate().then(
      () => 'done',
      (error) => kept(error).code,
    );
    await Promise.all([engine.stop(), engine.stop()]);
    expect(['done', 'ENGINE_FAILED']).toContain(await rotation);
    expect(() => engine.counters()).toThrow('does not run');
    await engine.stop();
  });

  it('has given JavaScript no key byte', () => {
    const haystack = Buffer.concat(octetsIn(received));
    expect(keys.length).toBeGreaterThan(6);
    for (const key of keys) {
      for (let i = 0; i + 8 <= key.length; i += 8) {
        expect(haystack.includes(key.subarray(i, i + 8))).toBe(false);
        expect(haystack.includes(key.subarray(i, i + 8).toString('hex'))).toBe(false);
      }
    }
  });
});

describe('a process with the addon', () => {
  /** Runs a script in which `engine` is ready to start; ports are memory alone. */
  const run = async (script: string, changes = '{}') => {
    const source = `
      const { Engine } = require(${JSON.stringify(fromPackageRoot('build/native/psp_addon.node'))});
      const prefix = Buffer.alloc(17);
      const options = {
        kind: 'software', node: 'a', epoch: 1n, busSecret: Buffer.alloc(32, 1),
        unsecured: { device: 'net_ring0', gateways: Buffer.alloc(0) },
        secured: {
          device: 'net_ring1', address: prefix.subarray(0, 16), prefixLength: 120,
          hopLimit: 64, udpChecksum: false, sourcePorts: 'hash',
        },
        ingressAcl: true, bypass: [], capture: { ingress: false, egress: false, perSecond: 100 },
        vips: prefix, peers: [], maxPeers: 8, polling: 'adaptive', lcores: 1, crypto: 'auto', maxFlows: 1024, retireMs: 1000,
        limits: {
          holdMs: 3000, unansweredMs: 1000, heldPerFlow: 1, heldPerSource: 1, heldTotal: 1, wantsPerPeer: 1,
          spisPerFlow: 8,
        },
        sampling: { snapBytes: 64, sealed: true, plain: false }, onEvents: () => {}, onSamples: () => {}, ...${changes},
      };
      (async () => { ${script} })().catch((error) => {
        console.log(JSON.stringify({ code: error.code, data: error.data }));
        process.exit(9);
      });`;
    try {
      const { stdout } = await promisify(execFile)(process.execPath, ['-e', source], { timeout: 3 * longMs });
      return { code: 0, signal: null, stdout };
    } catch (error) {
      const { code, signal, stdout } = error as { code: number; signal: string | null; stdout: string };
      return { code, signal, stdout };
    }
  };
  const ended = (code: number) => expect.objectContaining({ code, signal: null });

  it('exits cleanly while the engine runs', async () => {
    expect(await run('await new Engine(options).start(); process.exit(3);')).toEqual(ended(3));
  });

  it('exits cleanly while the engine starts', async () => {
    expect(await run('new Engine(options).start(); process.exit(4);')).toEqual(ended(4));
  });

  it('ends by itself once the engine was stopped', async () => {
    expect(await run('const e = new Engine(options); await e.start(); await e.stop();')).toEqual(ended(0));
  });

  it('stops an engine that still starts', async () => {
    expect(await run('const e = new Engine(options); e.start(); await e.stop();')).toEqual(ended(0));
  });

  it('reports by code and data why an engine does not start', async () => {
    const missing = await run(
      'await new Engine(options).start();',
      `{ unsecured: { device: 'psp-none0', gateways: Buffer.alloc(0) } }`,
    );
    expect(missing.code).toBe(9);
    expect(JSON.parse(missing.stdout)).toEqual({
      code: 'INTERFACE_MISSING',
      data: { name: 'psp-none0', key: 'unsecured.port' },
    });
    const few = await run('await new Engine(options).start();', '{ lcores: 64 }');
    expect(JSON.parse(few.stdout)).toEqual({
      code: 'LCORES_TOO_MANY',
      data: { name: 'this machine', detail: `cores: ${availableParallelism()}` },
    });
  });

  it('is ended by an exception in onEvents', async () => {
    const capture = join(tmpdir(), `psp-addon-${process.pid}.pcap`);
    writeFileSync(capture, captureOf([frameOf(forward)]));
    const ports = `{
      unsecured: { device: 'net_pcap0,rx_pcap=${capture},tx_pcap=/dev/null', gateways: Buffer.alloc(0) },
      vips: Buffer.from('${prefixOf('10.1.0.0', 120).toString('hex')}', 'hex'),
      peers: [{ name: 'b', vips: Buffer.from('${prefixOf('10.2.0.0', 120).toString('hex')}', 'hex'),
        mode: 'tunnel', cookie: false, cryptOffset: 0 }],
      onEvents: () => { throw new Error('a broken promise'); },
    }`;
    const outcome = await run('await new Engine(options).start();', ports);
    rmSync(capture);
    expect(outcome).toEqual(ended(1));
  });
});
