// SPDX-License-Identifier: Apache-2.0
// Every field of the outer headers and of the PSP header that a node file determines, on captured frames in both
// directions: versions 0 to 3, cookie, crypt offset, UDP checksum, hop limit, DSCP, source ports. Also the plaintext
// after the header: with versions 2 and 3 all of it is readable, otherwise exactly what the crypt offset leaves
// readable.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { echo } from './host_tools.js';
import { until } from './namespace.js';
import { octetsOf4, octetsOf6 } from './packet_octets.js';
import { createPair, egressFlow, type PairOptions } from './packet_pairs.js';
import { type PspFrame, pspFrames } from './psp_frames.js';
import type { Topology } from './topology.js';
import { send, transfer } from './traffic.js';

const marker = 'PSP-E2E-MARKER-1';
/** The packet follows the cookie, if a cookie is present. */
const cookieLength = 8;
const [icmp, tcp, udp, ipv4, ipv6, icmpv6] = [1, 6, 17, 4, 41, 58];
const dscp = 10;
/** 16 ports that no hash results in. */
const ports = Array.from({ length: 16 }, (_, i) => 20_000 + 7 * i);

/** One pair of gateways: its configuration, and the frames of its hosts' traffic, by direction. */
interface Told {
  net: Topology;
  /** From gateway a to b, and the reverse. */
  ab: PspFrame[];
  ba: PspFrame[];
}

/** Starts a pair, lets host 1 start the IPv4 tunnel and host 2 the IPv6 one, and captures both directions. */
async function observe(options: PairOptions): Promise<Told> {
  const net = await createPair(options);
  const wire = await net.capture('wire');
  await net.start();
  const [one, two] = [net.host1, net.host2];
  for (let i = 0; i < 4; i++) {
    const request = { size: 200, trafficClass: dscp << 2, marker };
    expect((await echo(one.namespace, two.v4, request)).answered).toBe(true);
    expect((await echo(two.namespace, one.v6, request)).answered).toBe(true);
  }
  const carried = await transfer(one.namespace, two.namespace, two.v4, { bytes: 1 << 18, marker });
  expect(carried.equal).toBe(true);
  // To closed ports: each datagram is a separate flow for a hash over ports.
  await send(
    one.namespace,
    Array.from({ length: 40 }, (_, i) => ({ destination: two.v4, port: 9000 + i, count: 1 })),
  );
  let arrived: number | undefined;
  await until('nothing arrives any more', async () => {
    const { forwardedIngress } = (await net.b.numbers()).values;
    const still = forwardedIngress === arrived;
    arrived = forwardedIngress;
    return still;
  });
  await wire.stop();
  expect(wire.summary([]).lost).toBe(0);
  const frames = pspFrames(wire.frames());
  const spis = await Promise.all(
    [
      [net.a, one.v4, two.v4],
      [net.a, one.v6, two.v6],
      [net.b, two.v4, one.v4],
      [net.b, two.v6, one.v6],
    ].map(([gateway, from, to]) => egressFlow(gateway as Topology['a'], from as string, to as string)),
  );
  const under = (wanted: typeof spis) => {
    const numbers = wanted.map(({ spi }) => Number(spi));
    return frames.filter(({ spi }) => numbers.includes(spi));
  };
  return { net, ab: under(spis.slice(0, 2)), ba: under(spis.slice(2)) };
}

const distinct = <T>(frames: readonly PspFrame[], what: (frame: PspFrame) => T): T[] =>
  [...new Set(frames.map(what))].sort();

/** The PSP packets, for fields that must be the same in all of them. */
const header = (frames: readonly PspFrame[]) => ({
  reserved: distinct(frames, ({ reserved }) => reserved),
  sample: distinct(frames, ({ sample }) => sample),
  drop: distinct(frames, (frame) => frame.drop),
  hasCookie: distinct(frames, ({ hasCookie }) => hasCookie),
  headerLength: distinct(frames, ({ headerLength }) => headerLength),
  cryptOffset: distinct(frames, ({ cryptOffset }) => cryptOffset),
});
const plain = { reserved: [0], sample: [false], drop: [false] };

const marked = (frames: readonly PspFrame[]) => frames.filter(({ body }) => body.includes(marker)).length;
/** By length: echoes of 200 octets, with or without IP headers and a cookie. */
const isEcho = ({ body }: PspFrame) =>
  [0, 20, 40].some((inner) => [0, cookieLength].includes(body.length - inner - 208));
/**
 * Without udpChecksum the field is zero. Packets that were sent as a GSO packet have a checksum, which must be
 * correct.
 */
const checksumsNotAsked = (frames: readonly PspFrame[]) =>
  frames.filter((frame) => frame.udpChecksum !== 0 && !frame.udpChecksumHolds);
const ivsRise = (frames: readonly PspFrame[]) => {
  for (const spi of distinct(frames, (frame) => frame.spi)) {
    const ivs = frames.filter((frame) => frame.spi === spi).map(({ iv }) => iv);
    if (ivs.some((iv, i) => i > 0 && iv <= (ivs[i - 1] as bigint))) return false;
  }
  return true;
};

describe('tunnel mode over IPv4, a cookie in both directions, crypt offset 12 in one', () => {
  let told: Told;

  beforeAll(async () => {
    told = await observe({
      outer: 4,
      terms: {
        a: {
          secured: 'hopLimit: 77, udpChecksum: true, sourcePorts: hash',
          peer: 'cookie: true',
          top: 'versions: [0, 1]',
        },
        b: {
          secured: `hopLimit: 5, dscp: 46, sourcePorts: [${ports}]`,
          peer: 'cookie: true, cryptOffset: 12',
          top: 'versions: [1, 0]',
        },
      },
    });
  });
  afterAll(() => told?.net.close());

  it('uses for each flow the version that its requester prefers', () => {
    for (const frames of [told.ab, told.ba]) {
      const versions = (next: number) =>
        distinct(
          frames.filter(({ nextHeader }) => nextHeader === next),
          ({ version }) => version,
        );
      expect([versions(ipv4), versions(ipv6)]).toEqual([[0], [1]]);
      expect(distinct(frames, ({ nextHeader }) => nextHeader)).toEqual([ipv4, ipv6]);
    }
  });

  it('writes the PSP header as configured, and an IV that only increases', () => {
    const cookie = { ...plain, hasCookie: [true], headerLength: [24] };
    expect(header(told.ab)).toEqual({ ...cookie, cryptOffset: [0] });
    expect(header(told.ba)).toEqual({ ...cookie, cryptOffset: [12] });
    expect([ivsRise(told.ab), ivsRise(told.ba)]).toEqual([true, true]);
  });

  it('leaves the cookie and the inner header readable as the crypt offset says, and nothing else', () => {
    const { host1, host2 } = told.net;
    for (const next of [ipv4, ipv6]) {
      const shown = told.ba.filter(({ nextHeader }) => nextHeader === next);
      const cookies = distinct(shown, ({ body }) => body.subarray(0, cookieLength).toString('hex'));
      expect(cookies.length).toBe(1);
      expect(cookies).not.toEqual(['0'.repeat(16)]);
      for (const { body } of shown) {
        const inner = body.subarray(cookieLength);
        const [from, to] =
          next === ipv4
            ? [inner.subarray(12, 16), inner.subarray(16, 20)]
            : [inner.subarray(8, 24), inner.subarray(24, 40)];
        const octets = next === ipv4 ? octetsOf4 : octetsOf6;
        const end = next === ipv4 ? 'v4' : 'v6';
        expect([from, to]).toEqual([octets(host2[end]), octets(host1[end])]);
      }
    }
    // In the other direction even the cookie is encrypted: no two packets begin with the same octets.
    const begins = distinct(told.ab, ({ body }) => body.subarray(0, cookieLength).toString('hex'));
    expect(begins.length).toBe(told.ab.length);
    expect([marked(told.ab), marked(told.ba)]).toEqual([0, 0]);
  });

  it('writes the outer header as configured', () => {
    const outer = (frames: readonly PspFrame[]) => ({
      ends: distinct(frames, ({ source, destination }) => `${source} ${destination}`),
      hopLimit: distinct(frames, (frame) => frame.outer.hopLimit),
      dontFragment: distinct(frames, (frame) => frame.outer.octets.readUInt16BE(6)),
    });
    const [a, b] = ['c0000201', 'c0000202'];
    expect(outer(told.ab)).toEqual({ ends: [`${a} ${b}`], hopLimit: [77], dontFragment: [0x4000] });
    expect(outer(told.ba)).toEqual({ ends: [`${b} ${a}`], hopLimit: [5], dontFragment: [0x4000] });
    // a copies the DSCP of its host, b hides it.
    const classes = (frames: readonly PspFrame[]) =>
      distinct(frames, (frame) => frame.outer.trafficClass >> 2);
    expect(classes(told.ab.filter(isEcho))).toEqual([dscp]);
    expect(classes(told.ba)).toEqual([46]);
  });

  it('writes the UDP header as configured', () => {
    expect(told.ab.filter((frame) => frame.udpChecksum === 0)).toEqual([]);
    expect(told.ab.filter((frame) => !frame.udpChecksumHolds)).toEqual([]);
    expect(checksumsNotAsked(told.ba)).toEqual([]);
    const [hashed, listed] = [told.ab, told.ba].map((frames) => distinct(frames, (frame) => frame.udpSource));
    expect(hashed?.filter((port) => port < 49_152)).toEqual([]);
    // 40 datagrams to 40 ports; 16384 values.
    expect(hashed?.length).toBeGreaterThan(20);
    expect(listed?.filter((port) => !ports.includes(port))).toEqual([]);
  });
});

describe('transport mode over IPv6 between the gateways, versions 2 and 3, a cookie in one direction', () => {
  let told: Told;

  beforeAll(async () => {
    const secured = 'hopLimit: 33, dscp: 46, udpChecksum: true, sourcePorts: symmetricHash';
    told = await observe({
      outer: 6,
      terms: {
        a: { secured, peer: 'mode: transport, authOnly: true, cookie: true', top: 'versions: [0, 1]' },
        b: { secured, peer: 'mode: transport, authOnly: true', top: 'versions: [1, 0]' },
      },
    });
  });
  afterAll(() => told?.net.close());

  it('has version 2 or 3, and the payload of the hosts is readable', () => {
    for (const frames of [told.ab, told.ba]) {
      const versions = (family: 4 | 6) =>
        distinct(
          frames.filter(({ outer }) => outer.version === family),
          ({ version }) => version,
        );
      expect([versions(4), versions(6)]).toEqual([[2], [3]]);
      expect(marked(frames.filter(isEcho))).toBe(frames.filter(isEcho).length);
    }
    expect(marked(told.ab)).toBeGreaterThan(100);
  });

  it('writes the PSP header as configured, and an IV that only increases', () => {
    expect(header(told.ab)).toEqual({ ...plain, hasCookie: [false], headerLength: [16], cryptOffset: [0] });
    expect(header(told.ba)).toEqual({ ...plain, hasCookie: [true], headerLength: [24], cryptOffset: [0] });
    expect([ivsRise(told.ab), ivsRise(told.ba)]).toEqual([true, true]);
    const cookies = (family: 4 | 6) =>
      distinct(
        told.ba.filter(({ outer }) => outer.version === family),
        ({ body }) => body.subarray(0, cookieLength).toString('hex'),
      );
    // Random per offer.
    expect([cookies(4).length, cookies(6).length]).toEqual([1, 1]);
    expect(cookies(4)).not.toEqual(cookies(6));
    expect(distinct(told.ab, ({ nextHeader }) => nextHeader)).toEqual([icmp, udp, icmpv6, tcp].sort());
  });

  it('keeps the IP header of the hosts, whatever `secured` configures for an outer one', () => {
    const { host1, host2 } = told.net;
    const hex = (octets: Buffer) => octets.toString('hex');
    expect(distinct(told.ab, ({ source, destination }) => `${source} ${destination}`)).toEqual(
      [
        `${hex(octetsOf4(host1.v4))} ${hex(octetsOf4(host2.v4))}`,
        `${hex(octetsOf6(host1.v6))} ${hex(octetsOf6(host2.v6))}`,
      ].sort(),
    );
    expect(distinct(told.ab, ({ outer }) => outer.hopLimit)).toEqual([64]);
    expect(distinct(told.ab.filter(isEcho), ({ outer }) => outer.trafficClass >> 2)).toEqual([dscp]);
  });

  it('computes UDP checksums, and uses the same ports in both directions', () => {
    for (const frames of [told.ab, told.ba]) {
      expect(frames.filter((frame) => frame.udpChecksum === 0 || !frame.udpChecksumHolds)).toEqual([]);
    }
    const portsOf = (frames: readonly PspFrame[]) =>
      distinct(
        frames.filter(({ nextHeader }) => nextHeader === tcp),
        ({ udpSource }) => udpSource,
      );
    expect(portsOf(told.ab).length).toBe(1);
    expect(portsOf(told.ab)).toEqual(portsOf(told.ba));
  });
});

describe('transport mode over IPv4 between the gateways, crypt offset 2 and ports from a list', () => {
  let told: Told;

  beforeAll(async () => {
    const terms = {
      secured: `sourcePorts: [${ports}]`,
      peer: 'mode: transport, cryptOffset: 2',
      top: 'versions: [1]',
    };
    told = await observe({ outer: 4, terms: { a: terms, b: terms } });
  });
  afterAll(() => told?.net.close());

  it('leaves eight octets of layer 4 readable and nothing else', () => {
    for (const frames of [told.ab, told.ba]) {
      expect(header(frames)).toEqual({ ...plain, hasCookie: [false], headerLength: [16], cryptOffset: [2] });
      expect(distinct(frames, ({ version }) => version)).toEqual([1]);
      expect(marked(frames)).toBe(0);
      const types = (next: number) =>
        distinct(
          frames.filter((frame) => frame.nextHeader === next && isEcho(frame)),
          ({ body }) => body.readUInt16BE(0),
        );
      // Type and code of echo requests in one direction and replies in the other.
      const requests = frames === told.ab;
      expect(types(icmp)).toEqual([requests ? 0x0800 : 0]);
      expect(types(icmpv6)).toEqual([requests ? 0x8100 : 0x8000]);
    }
  });

  it('takes source ports from the list, and uses several of them', () => {
    const used = distinct(told.ab, ({ udpSource }) => udpSource);
    expect(used.filter((port) => !ports.includes(port))).toEqual([]);
    expect(used.length).toBeGreaterThan(4);
    expect(checksumsNotAsked(told.ab)).toEqual([]);
  });
});
