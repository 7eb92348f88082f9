// SPDX-License-Identifier: Apache-2.0
// The cases of seal.txt: bus seals with their associated data, by an independent implementation from
// docs/contracts.md ("Seals").
import { createCipheriv, createHmac } from 'node:crypto';
import { absent, hex, type Row, unhex } from './table.js';

interface OfferFields {
  version: number;
  spi: number;
  number?: bigint;
  cookie: bigint;
  mode: 'tunnel' | 'transport';
  address: string;
  mac: string;
  key: string;
}

interface Case {
  name: string;
  description: string;
  sender: string;
  counter: bigint;
  contract: string;
  epoch: bigint;
  request?: { start: string; counter: bigint };
  role: 'offer' | 'egress';
  exchange: bigint;
  peerEpoch?: bigint;
  /** Source and destination, 8 or 32 hex digits each. */
  flows: readonly (readonly [string, string])[];
  offers: readonly OfferFields[];
}

const secret = unhex('5ec2e7f00d15ea5e9b1c7a40d3e86f21b05d94ce77a83f16e2c90b4d58a1f673');
const node = 'a';
const peer = 'b';

const hmac = (key: Buffer, data: Buffer) => createHmac('sha256', key).update(data).digest();

/** HKDF (RFC 5869) for 32 octets: extract, then the first block of expand. */
function startKey(start: Buffer, sender: string): Buffer {
  const info = Buffer.from(`psp bus seal v1|${node}|${sender}`);
  return hmac(hmac(start, secret), Buffer.concat([info, Buffer.of(1)]));
}

const modeNumber = { tunnel: 1, transport: 2 };

const number = (value: bigint | number, octets: number): string =>
  value.toString(16).padStart(octets * 2, '0');
const text = (value: string): string => number(value.length, 1) + hex(Buffer.from(value));
const optional = (value: bigint | undefined): string =>
  value === undefined ? number(0, 9) : `01${number(value, 8)}`;
export const mappedHex = (address: string): string =>
  address.length === 8 ? `00000000000000000000ffff${address}` : address;

function associatedData(one: Case, start: Buffer): Buffer {
  const request = one.request ?? { start: hex(start), counter: one.counter };
  return unhex(
    [
      text('psp bus seal v1'),
      text(one.contract),
      text(node),
      text(one.sender),
      number(one.epoch, 8),
      request.start,
      number(request.counter, 8),
      one.role === 'offer' ? '01' : '02',
      text(peer),
      number(one.exchange, 8),
      optional(one.peerEpoch),
      number(one.flows.length, 4),
      ...one.flows.map(([source, destination]) => mappedHex(source) + mappedHex(destination)),
      number(one.offers.length, 4),
      ...one.offers.map(
        (offer) =>
          number(offer.version, 1) +
          number(offer.spi, 4) +
          optional(offer.number) +
          number(offer.cookie, 8) +
          number(modeNumber[offer.mode], 1) +
          mappedHex(offer.address) +
          offer.mac,
      ),
    ].join(''),
  );
}

const key128 = '000102030405060708090a0b0c0d0e0f';
const key256 = 'f0e1d2c3b4a5968778695a4b3c2d1e0f00112233445566778899aabbccddeeff';
const otherStart = '9d'.repeat(32);

const long: OfferFields = {
  version: 1,
  spi: 0x80000001,
  number: 7n,
  cookie: 0n,
  mode: 'tunnel',
  address: 'c0000201',
  mac: '020000000001',
  key: key256,
};
const short: OfferFields = {
  version: 0,
  spi: 0x12345678,
  cookie: 0xc00c1e5500112233n,
  mode: 'transport',
  address: '20010db8000000000000000000000a01',
  mac: '0200000000ff',
  key: key128,
};
const v4Flow = ['0a010005', '0a020009'] as const;
const v6Flow = ['fd0100000000000000000000000000a5', 'fd020000000000000000000000000019'] as const;

const cases: Case[] = [
  {
    name: 'want_one_v4_aes256',
    description: 'a missed flow and its offer, bound to the seal itself',
    sender: 'dataplane',
    counter: 1n,
    contract: 'evt.flow.missed',
    epoch: 0x1122334455667788n,
    role: 'offer',
    exchange: 42n,
    flows: [v4Flow],
    offers: [long],
  },
  {
    name: 'accept_mixed',
    description: 'egress keys of both lengths for flows of both families, with the epoch of the peer',
    sender: 'keyexchange',
    counter: 0x100000002n,
    contract: 'cmd.flow.accept',
    epoch: 0xffffffffffffffffn,
    role: 'egress',
    exchange: 0n,
    peerEpoch: 0n,
    flows: [v4Flow, v6Flow],
    offers: [long, short],
  },
  {
    name: 'accept_reply',
    description: 'offers in an answer, bound to the request',
    sender: 'dataplane',
    counter: 3n,
    contract: 'cmd.flow.accept/reply',
    epoch: 1n,
    request: { start: otherStart, counter: 0x100000002n },
    role: 'offer',
    exchange: 0n,
    peerEpoch: 0xa1b2c3d4e5f60718n,
    flows: [v6Flow],
    offers: [short],
  },
  {
    name: 'accept_without_keys',
    description: 'a peer that offers nothing: the seal holds no key and binds all the same',
    sender: 'keyexchange',
    counter: 4n,
    contract: 'cmd.flow.accept',
    epoch: 1n,
    role: 'egress',
    exchange: 0n,
    flows: [v4Flow],
    offers: [],
  },
];

function rowOf(one: Case, index: number): Row {
  const start = hmac(secret, Buffer.from(`start ${index}`));
  const nonce = unhex(number(one.counter, 12));
  const keys = unhex(one.offers.map((offer) => offer.key).join(''));
  const cipher = createCipheriv('aes-256-gcm', startKey(start, one.sender), nonce);
  cipher.setAAD(associatedData(one, start));
  const box = Buffer.concat([cipher.update(keys), cipher.final(), cipher.getAuthTag()]);
  const offer = (o: OfferFields) =>
    [
      o.version,
      number(o.spi, 4),
      o.number ?? absent,
      number(o.cookie, 8),
      modeNumber[o.mode],
      o.address,
      o.mac,
    ].join(' ');
  return {
    name: one.name,
    description: one.description,
    secret: hex(secret),
    node,
    sender: one.sender,
    start: hex(start),
    counter: String(one.counter),
    contract: one.contract,
    epoch: String(one.epoch),
    request_start: one.request?.start ?? absent,
    request_counter: one.request ? String(one.request.counter) : absent,
    role: one.role,
    peer,
    exchange: String(one.exchange),
    peer_epoch: one.peerEpoch === undefined ? absent : String(one.peerEpoch),
    flows: one.flows.map((flow) => flow.join(' ')).join(', ') || absent,
    offers: one.offers.map(offer).join(', ') || absent,
    keys: hex(keys) || absent,
    box: hex(box),
  };
}

export const sealHeading = `SPDX-License-Identifier: Apache-2.0
Seals of the bus, made by test/vectors/make.ts; opened by test/native/psp/bus_seal_test.cc and by
test/vectors/vectors.test.ts. flows: source destination. offers: version spi number cookie mode address mac;
spi, cookie and all octets in hex; mode 1 is tunnel, 2 transport.`;

export const sealRows = (): Row[] => cases.map(rowOf);
