// SPDX-License-Identifier: Apache-2.0
// Messages from untrusted senders: random octets and damaged valid messages, through every message type of both
// protocols and through their parsers. The result is always a value that passes the checks or the documented error.
// The generator has a seed; a failure names it, and PSP_SEED runs that one alone.
import { describe, expect, it } from 'vitest';
import * as bus from '../../../proto/gen/bus.js';
import * as peerProtocol from '../../../proto/gen/psp_gateway.js';
import { columnsOf, flowsIn, offersIn, sealOf } from '../../../services/dataplane/adapters/columns.js';
import { acceptanceOf } from '../../../services/keyexchange/core/acceptance.js';
import { pairUp, readOffer } from '../../../services/keyexchange/core/parameters.js';
import { egressOf, peerOf } from '../../../services/keyexchange/core/peer_request.js';
import type { Peer, Rules } from '../../../services/keyexchange/core/rules.js';
import { contains, flowKeyOf, parseAddress, parsePrefix } from '../../../services/shared/address.js';
import { PspError } from '../../../services/shared/errors.js';
import { keyLengthOf } from '../../../services/shared/protocols.js';
import { ourselves, VipTable } from '../../../services/shared/vip_table.js';
import { defaultLimits } from '../keyexchange/default_limits.js';

interface Messages<T = unknown> {
  encode(message: T): { finish(): Uint8Array };
  decode(octets: Uint8Array): T;
  create(base?: object): T;
}

const isMessages = (value: unknown): value is Messages =>
  typeof value === 'object' && value !== null && 'decode' in value && 'create' in value;
const types = Object.entries({ ...bus, ...peerProtocol }).flatMap(([name, value]) =>
  isMessages(value) ? [[name, value] as [string, Messages]] : [],
);

/** mulberry32: 32 random bits from 32 bits of state. */
class Random {
  constructor(private state: number) {}
  u32(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
  below(limit: number): number {
    return this.u32() % limit;
  }
  octets(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}

/** The valid value in nine of ten cases, so that most messages pass most checks. */
const mostly = <T>(random: Random, good: T, ...odd: T[]): T =>
  random.below(10) > 0 ? good : random.pick(odd);

/** Fields in the wire format of protobuf: numbers and wire types at random, contents too. */
function fields(random: Random): Buffer {
  const parts: Buffer[] = [];
  for (let left = random.below(8); left > 0; left--) {
    const wireType = random.pick([0, 1, 2, 2, 2, 5]);
    parts.push(Buffer.from([((1 + random.below(15)) << 3) | wireType]));
    if (wireType === 0) parts.push(Buffer.from([0x80 | random.below(128), random.below(128)]));
    else if (wireType === 1) parts.push(random.octets(8));
    else if (wireType === 5) parts.push(random.octets(4));
    else {
      const content = random.below(3) === 0 ? fields(random) : random.octets(random.pick([0, 4, 6, 16, 32]));
      parts.push(Buffer.from([content.length & 0x7f]), content.subarray(0, content.length & 0x7f));
    }
  }
  return Buffer.concat(parts);
}

/** One to four small damages. */
function damaged(good: Uint8Array, random: Random): Buffer {
  let octets = Buffer.from(good);
  for (let left = 1 + random.below(4); left > 0; left--) {
    const at = random.below(octets.length + 1);
    const damage = random.below(6);
    if (damage === 0) octets = octets.subarray(0, at);
    else if (damage === 1)
      octets = Buffer.concat([octets.subarray(0, at), random.octets(random.below(9)), octets.subarray(at)]);
    else if (damage === 2)
      octets = Buffer.concat([octets.subarray(0, at), octets.subarray(at + random.below(9))]);
    else if (damage === 3) octets = Buffer.concat([octets, octets.subarray(at)]);
    else if (at < octets.length)
      octets[at] = damage === 4 ? random.below(256) : (octets[at] as number) ^ (1 << random.below(8));
  }
  return octets;
}

const firstSeed = Number(process.env.PSP_SEED ?? 1);
const seeds = process.env.PSP_SEED === undefined ? 400 : 1;

/** Runs `work` under each seed; a failure names the seed. */
function forSeeds(work: (random: Random) => void): void {
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    try {
      work(new Random(seed));
    } catch (cause) {
      throw new Error(`PSP_SEED=${seed}: ${cause}`, { cause });
    }
  }
}

/** The message, or undefined for octets that are none; every exception must be an Error. */
function decoded<T>(messages: Messages<T>, octets: Uint8Array): T | undefined {
  try {
    return messages.decode(octets);
  } catch (error) {
    if (error instanceof Error && !(error instanceof TypeError)) return undefined;
    throw error;
  }
}

/** The value, or the code of the PspError; every other error is rethrown. */
function valueOrCode<T>(work: () => T): { value: T } | { code: string } {
  try {
    return { value: work() };
  } catch (error) {
    if (error instanceof PspError) return { code: error.code };
    throw error;
  }
}

const prefixes = (...texts: string[]) => texts.map(parsePrefix);
const peer: Peer = {
  name: 'b',
  endpoint: 'b:3000',
  identity: 'spiffe://psp/gateway/b',
  underlay: prefixes('192.0.2.0/24'),
  versions: [1, 0],
  insecure: false,
  mayRotate: false,
  mode: bus.Mode.MODE_TUNNEL,
};
const rules: Rules = {
  node: 'a',
  outerFamily: 4,
  outerAddress: '192.0.2.1',
  vips: new VipTable([
    [ourselves, prefixes('10.1.0.0/16', 'fd00:1::/64')],
    ['b', prefixes('10.2.0.0/16', 'fd00:2::/64')],
  ]),
  peers: new Map([['b', peer]]),
  exchangeMs: 1000,
  callMs: 700,
  limits: defaultLimits,
};

const parameters = (random: Random): peerProtocol.TunnelParameters => ({
  macAddr: mostly(
    random,
    '02:00:00:00:00:01',
    '02:00:00:00:00:0g',
    '01:00:00:00:00:01',
    '00:00:00:00:00:00',
    '',
  ),
  ipAddr: mostly(random, '192.0.2.7', '192.0.3.7', '::ffff:192.0.2.7', 'fd00::1', '192.0.2', ''),
  pspVersion: mostly(random, 1, 0, 2, 0xffffffff),
  spi: mostly(random, random.u32(), 5, 0, 0x80000000),
  encryptionKey: random.octets(mostly(random, 32, 16, 0, 33)),
  virtCookie: random.pick([0n, 1n, 2n ** 64n - 1n]),
  encapType: mostly(random, 4, 6, 0),
  offerNumber: random.pick([undefined, 1n, 2n ** 64n - 1n]),
  mode: mostly<bus.Mode | undefined>(
    random,
    undefined,
    bus.Mode.MODE_TUNNEL,
    bus.Mode.MODE_TRANSPORT,
    bus.Mode.MODE_UNSPECIFIED,
    77 as bus.Mode,
  ),
});
const request = (random: Random): peerProtocol.MultiTunnelRequest => {
  const ipv6 = random.below(2) === 1;
  const withParameters = random.below(4) > 0;
  return {
    requestId: BigInt(random.u32()),
    pspVersionsAccepted: mostly(random, [1, 0], [0], [3, 1], [], [2, 3]),
    epoch: random.pick([undefined, 5n]),
    tunnels: Array.from({ length: random.below(3) }, (_, i) => ({
      virtSrcIp: mostly(random, ipv6 ? `fd00:2::${i}` : `10.2.0.${i}`, '10.1.0.1', 'nowhere', ''),
      virtDstIp: mostly(random, ipv6 ? 'fd00:1::5' : '10.1.0.5', ipv6 ? 'fd00:2::9' : '10.2.0.9'),
      innerType: ipv6 ? 6 : 4,
      reverseParams: withParameters ? parameters(random) : undefined,
    })),
  };
};

const octetsOf = (text: string) => Buffer.from(parseAddress(text));
const offer = (random: Random): bus.Offer => ({
  spi: random.u32(),
  version: random.below(4),
  number: random.pick([undefined, 3n]),
  cookie: BigInt(random.u32()),
  address: random.pick([octetsOf('192.0.2.7'), octetsOf('fd00::7'), random.octets(random.below(20))]),
  mac: random.octets(random.pick([6, 6, 6, 0, 7])),
  mode: random.pick([bus.Mode.MODE_TUNNEL, bus.Mode.MODE_TRANSPORT, 9 as bus.Mode]),
});
const want = (random: Random): bus.FlowWanted => ({
  exchange: 9n,
  epoch: 77n,
  publishedNs: 5n,
  reason: random.below(4),
  peer: random.pick(['b', 'b', 'nobody']),
  flows: Array.from({ length: random.below(3) }, () => ({
    source: random.pick([octetsOf('10.1.0.5'), octetsOf('fd00:1::5'), random.octets(random.below(20))]),
    destination: random.pick([octetsOf('10.2.0.5'), octetsOf('fd00:2::5')]),
  })),
  offers: Array.from({ length: random.below(3) }, () => offer(random)),
  seal: { start: random.octets(32), counter: 1n, box: random.octets(48) },
});

/** Unchanged, damaged, or random octets. */
const onTheWay = (good: Uint8Array, random: Random): Uint8Array =>
  random.pick([() => good, () => damaged(good, random), () => random.octets(random.below(200))])();

function expectUsable(given: bus.Offer): void {
  expect(peer.versions).toContain(given.version);
  expect(given.spi & 0x7fffffff).not.toBe(0);
  expect(given.mode).toBe(peer.mode);
  expect(given.mac).toHaveLength(6);
  expect((given.mac[0] as number) & 1).toBe(0);
  expect(peer.underlay.some((prefix) => contains(prefix, given.address))).toBe(true);
}

describe('decoding', () => {
  it.each<[string, Messages]>(types)(
    '%s takes any octets: a message that encodes again, or an error',
    (_name, messages) => {
      let decodedOnes = 0;
      forSeeds((random) => {
        const message = decoded(messages, onTheWay(fields(random), random));
        if (message === undefined) return;
        decodedOnes++;
        const octets = messages.encode(message).finish();
        expect(messages.encode(messages.decode(octets)).finish()).toEqual(octets);
      });
      if (seeds > 1) expect(decodedOnes).toBeGreaterThan(0);
    },
  );

  it('covers every message of both protocols', () => {
    const names = types.map(([name]) => name);
    expect(names).toEqual(
      expect.arrayContaining(['FlowWanted', 'SampleBatch', 'MultiTunnelRequest', 'TunnelParameters']),
    );
    expect(names.length).toBeGreaterThan(35);
  });
});

describe('the parsers of the peer protocol', () => {
  it('make an offer that may be used from parameters, or name the fault', () => {
    const ends = new Set<string>();
    forSeeds((random) => {
      const good = peerProtocol.TunnelParameters.encode(parameters(random)).finish();
      const message = decoded(peerProtocol.TunnelParameters, onTheWay(good, random));
      if (message === undefined) return;
      const read = readOffer(message, peer, rules);
      ends.add('flaw' in read ? read.flaw.kind : 'offer');
      if ('flaw' in read) return;
      expectUsable(read.offer);
      expect(message.encryptionKey).toHaveLength(keyLengthOf(message.pspVersion));
    });
    if (seeds > 1) expect([...ends].sort()).toEqual(['form', 'mode', 'offer', 'underlay', 'version']);
  });

  it('accept a request completely and correctly, or refuse it with a documented code', () => {
    const ends = new Set<string>();
    forSeeds((random) => {
      const good = peerProtocol.MultiTunnelRequest.encode(request(random)).finish();
      const message = decoded(peerProtocol.MultiTunnelRequest, onTheWay(good, random));
      if (message === undefined) return;
      const read = valueOrCode(() => acceptanceOf(message, peer, rules));
      ends.add('code' in read ? read.code : 'taken');
      if ('code' in read) return;
      const { version, flows, egress, keys } = read.value;
      expect(peer.versions).toContain(version);
      for (const { source, destination } of flows) {
        expect(rules.vips.ownerOf(source)).toBe(ourselves);
        expect(rules.vips.ownerOf(destination)).toBe('b');
      }
      egress.forEach(expectUsable);
      expect(keys).toHaveLength(egress.length);
      expect([0, flows.length]).toContain(egress.length);
    });
    const documented = [
      'REQUEST_INVALID',
      'VERSION_NOT_SPOKEN',
      'MODE_MISMATCH',
      'VIP_NOT_PEERS',
      'VIP_NOT_OURS',
      'UNDERLAY_NOT_ALLOWED',
    ];
    for (const end of ends) expect([...documented, 'taken']).toContain(end);
    if (seeds > 1) expect(ends.size).toBeGreaterThan(4);
    if (seeds > 1) expect(ends).toContain('taken');
  });

  it('accept an answer completely and correctly, or not at all', () => {
    const flows = [{ source: octetsOf('10.1.0.5'), destination: octetsOf('10.2.0.5') }];
    let taken = 0;
    forSeeds((random) => {
      const wanted = { ...want(random), flows };
      const answer = { requestId: 1n, epoch: undefined, tunnelsParams: [parameters(random)] };
      const good = peerProtocol.MultiTunnelResponse.encode(answer).finish();
      const message = decoded(peerProtocol.MultiTunnelResponse, onTheWay(good, random));
      if (message === undefined) return;
      const read = valueOrCode(() => egressOf(message, wanted, peer, rules));
      if ('code' in read) {
        expect(['RESPONSE_INVALID', 'MODE_MISMATCH']).toContain(read.code);
        return;
      }
      taken++;
      expect(read.value.offers).toHaveLength(flows.length);
      read.value.offers.forEach(expectUsable);
    });
    if (seeds > 1) expect(taken).toBeGreaterThan(0);
  });
});

describe('the parsers of the bus', () => {
  it('accept a want whose flows and offers pair, or refuse it as invalid', () => {
    const ends = new Set<string>();
    forSeeds((random) => {
      const good = bus.FlowWanted.encode(want(random)).finish();
      const message = decoded(bus.FlowWanted, onTheWay(good, random));
      if (message === undefined) return;
      const read = valueOrCode(() => peerOf(message, rules, 'evt.flow.missed'));
      ends.add('code' in read ? read.code : 'taken');
      if ('code' in read) return;
      expect(message.offers).toHaveLength(message.flows.length);
      for (const flow of message.flows) expect(flowKeyOf(flow)).toHaveLength(64);
    });
    if (seeds > 1) expect([...ends].sort()).toEqual(['PAYLOAD_INVALID', 'taken']);
  });

  it('convert offers that pair to columns and back without a change', () => {
    let carried = 0;
    forSeeds((random) => {
      const good = bus.FlowWanted.encode(want(random)).finish();
      const message = decoded(bus.FlowWanted, onTheWay(good, random));
      if (message === undefined || !pairUp(message.flows, message.offers)) return;
      // A version is one octet at this point: the checks before it allow 0 to 3.
      if (message.offers.some(({ version }) => version > 3)) return;
      carried += message.offers.length;
      const columns = columnsOf(message.offers);
      expect(columns.addresses).toHaveLength(16 * message.offers.length);
      expect(columns.macs).toHaveLength(6 * message.offers.length);
      const plain = message.offers.filter(({ address }) => address.length === 4 || !isMapped(address));
      if (plain.length === message.offers.length) expect(offersIn(columns)).toEqual(message.offers);
      const keys = message.flows.map(flowKeyOf);
      expect(flowsIn(Buffer.from(keys.join(''), 'hex'))).toEqual(keys);
      if (message.seal !== undefined) expect(sealOf(message.seal)).toEqual(message.seal);
    });
    if (seeds > 1) expect(carried).toBeGreaterThan(0);
  });
});

const isMapped = (address: Uint8Array): boolean =>
  address.subarray(0, 10).every((octet) => octet === 0) && address[10] === 0xff && address[11] === 0xff;
