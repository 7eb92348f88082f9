// SPDX-License-Identifier: Apache-2.0
// The decisions of the key exchange: the owner of an address, which wants are worth starting, and the meaning of
// requests, answers and ends of calls.
import { describe, expect, it } from 'vitest';
import { type FlowWanted, Mode } from '../../../proto/gen/bus.js';
import type { MultiTunnelRequest, TunnelParameters } from '../../../proto/gen/psp_gateway.js';
import { acceptanceOf, responseOf } from '../../../services/keyexchange/core/acceptance.js';
import { errorOf, foreignText, isRefusal } from '../../../services/keyexchange/core/outcome.js';
import { parametersOf, readAddress, readOffer } from '../../../services/keyexchange/core/parameters.js';
import {
  callTimeoutMs,
  egressOf,
  isFresh,
  peerOf,
  requestOf,
} from '../../../services/keyexchange/core/peer_request.js';
import type { Peer, Rules } from '../../../services/keyexchange/core/rules.js';
import { Tally } from '../../../services/keyexchange/core/tally.js';
import { parseAddress, parsePrefix } from '../../../services/shared/address.js';
import { urisOf } from '../../../services/shared/certificates/identity.js';
import { PspError } from '../../../services/shared/errors.js';
import { LineGate } from '../../../services/shared/process/line_gate.js';
import { ourselves, VipTable } from '../../../services/shared/vip_table.js';
import { defaultLimits } from './default_limits.js';

const prefixes = (...texts: string[]) => texts.map(parsePrefix);
const peer = (name: string): Peer => ({
  name,
  endpoint: `${name}:3000`,
  identity: `spiffe://psp/gateway/${name}`,
  underlay: prefixes('192.0.2.0/24'),
  versions: [1, 0],
  insecure: false,
  mayRotate: false,
  mode: Mode.MODE_TUNNEL,
});
const b = peer('b');
const rules: Rules = {
  node: 'a',
  outerFamily: 4,
  outerAddress: '192.0.2.1',
  vips: new VipTable([
    [ourselves, prefixes('10.1.0.0/16', 'fd00:1::/64', '10.2.9.0/24')],
    ['b', prefixes('10.2.0.0/16', 'fd00:2::/64', '10.1.9.0/24')],
    ['c', prefixes('10.2.3.0/24', '10.2.3.128/25')],
  ]),
  peers: new Map([
    ['b', b],
    ['c', peer('c')],
  ]),
  exchangeMs: 1000,
  callMs: 700,
  limits: defaultLimits,
};
const octets = (text: string) => Buffer.from(parseAddress(text));
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'none';
  } catch (error) {
    if (error instanceof PspError) return error.code;
    throw error;
  }
};

describe('owners of addresses', () => {
  it.each([
    ['10.2.0.1', 'b'],
    ['10.2.3.1', 'c'],
    ['10.2.3.200', 'c'],
    ['10.2.9.1', ourselves],
    ['10.1.0.1', ourselves],
    ['10.1.9.1', 'b'],
    ['fd00:2::1', 'b'],
    ['fd00:1::1', ourselves],
    ['fd00:3::1', undefined],
    ['10.3.0.1', undefined],
  ])('%s is found by its longest prefix', (text, owner) => {
    expect(rules.vips.ownerOf(parseAddress(text))).toBe(owner);
  });

  it('assign everything else to a prefix of length 0 of the same family only', () => {
    const table = new VipTable([
      ['b', prefixes('0.0.0.0/0')],
      ['c', prefixes('10.0.0.0/8')],
    ]);
    expect(table.ownerOf(parseAddress('192.0.2.1'))).toBe('b');
    expect(table.ownerOf(parseAddress('10.0.0.1'))).toBe('c');
    expect(table.ownerOf(parseAddress('::1'))).toBeUndefined();
  });
});

describe('a want', () => {
  const want: FlowWanted = {
    exchange: 9n,
    epoch: 77n,
    publishedNs: 5_000_000_000n,
    reason: 1,
    peer: 'b',
    flows: [{ source: octets('10.1.0.5'), destination: octets('10.2.0.7') }],
    offers: [
      {
        spi: 0x80000005,
        version: 1,
        number: 3n,
        cookie: 0xc00c1en,
        mode: Mode.MODE_TUNNEL,
        address: octets('192.0.2.1'),
        mac: Buffer.from([2, 0, 0, 0, 0, 1]),
      },
    ],
    seal: undefined,
  };
  const atMs = (ms: number) => want.publishedNs + BigInt(ms * 1e6);

  it('is fresh until half of the exchange deadline', () => {
    expect([0, 500, 501].map((ms) => isFresh(want, rules, atMs(ms)))).toEqual([true, true, false]);
    expect(isFresh(want, rules, atMs(-100))).toBe(true);
  });

  it('leaves a call the remaining time of the exchange, and callMs at most', () => {
    expect([0, 300, 400, 500].map((ms) => callTimeoutMs(want, rules, atMs(ms)))).toEqual([
      700, 700, 600, 500,
    ]);
  });

  it('becomes a request with our versions in order, epoch and numbered offers', () => {
    const key = Buffer.alloc(32, 1);
    expect(requestOf(want, [key], b, 4n)).toEqual({
      requestId: 4n,
      pspVersionsAccepted: [1, 0],
      epoch: 77n,
      tunnels: [
        {
          virtSrcIp: '10.1.0.5',
          virtDstIp: '10.2.0.7',
          innerType: 4,
          reverseParams: {
            macAddr: '02:00:00:00:00:01',
            ipAddr: '192.0.2.1',
            pspVersion: 1,
            spi: 0x80000005,
            encryptionKey: key,
            virtCookie: 0xc00c1en,
            encapType: 4,
            offerNumber: 3n,
            mode: 1,
          },
        },
      ],
    });
  });

  it('is malformed without a configured peer, without flows, or if flows and offers do not pair', () => {
    expect(peerOf(want, rules, 's')).toBe(b);
    const cases: Partial<FlowWanted>[] = [
      { peer: 'z' },
      { flows: [], offers: [] },
      { offers: [] },
      { flows: [{ source: Buffer.alloc(5), destination: Buffer.alloc(5) }] },
      { flows: [{ source: Buffer.alloc(4), destination: Buffer.alloc(16) }] },
      { offers: want.offers.map((offer) => ({ ...offer, mode: Mode.MODE_UNSPECIFIED })) },
    ];
    for (const change of cases) {
      expect(codeOf(() => peerOf({ ...want, ...change }, rules, 's'))).toBe('PAYLOAD_INVALID');
    }
  });

  it('accepts an answer as a whole, with the epoch of the peer', () => {
    const answer = { requestId: 0n, tunnelsParams: [theirs({ offerNumber: 8n })], epoch: 5n };
    const egress = egressOf(answer, want, b, rules);
    expect(egress).toMatchObject({ peerEpoch: 5n, offers: [{ spi: 0x1234, version: 0, number: 8n }] });
    expect(egress.keys).toEqual([Buffer.alloc(16, 9)]);
    for (const tunnelsParams of [[], [theirs(), theirs({ spi: 1 })], [theirs({ spi: 0 })]]) {
      expect(codeOf(() => egressOf({ ...answer, tunnelsParams }, want, b, rules))).toBe('RESPONSE_INVALID');
    }
  });
});

it('an answer in another mode than ours is a refusal, not an unknown outcome', () => {
  const want = {
    flows: [{ source: octets('10.1.0.5'), destination: octets('10.2.0.7') }],
  } as FlowWanted;
  const answer = (mode: number | undefined) => ({
    requestId: 0n,
    tunnelsParams: [theirs({ mode })],
    epoch: undefined,
  });
  const transport = { ...b, mode: Mode.MODE_TRANSPORT };
  expect(egressOf(answer(2), want, transport, rules).offers).toMatchObject([{ mode: Mode.MODE_TRANSPORT }]);
  expect(egressOf(answer(undefined), want, b, rules).offers).toMatchObject([{ mode: Mode.MODE_TUNNEL }]);
  expect(codeOf(() => egressOf(answer(undefined), want, transport, rules))).toBe('MODE_MISMATCH');
  expect(codeOf(() => egressOf(answer(2), want, b, rules))).toBe('MODE_MISMATCH');
  expect(isRefusal('MODE_MISMATCH')).toBe(true);
  expect(isRefusal('RESPONSE_INVALID')).toBe(false);
});

it('an authOnly peer accepts and offers versions 2 and 3, with keys of 16 and 32 octets', () => {
  const authOnly = { ...b, versions: [3, 2] };
  const read = (pspVersion: number, length: number) =>
    readOffer(theirs({ pspVersion, encryptionKey: Buffer.alloc(length, 9) }), authOnly, rules);
  expect(read(2, 16)).toMatchObject({ offer: { version: 2 } });
  expect(read(3, 32)).toMatchObject({ offer: { version: 3 } });
  expect(read(2, 32)).toMatchObject({ flaw: { kind: 'form' } });
  expect(read(3, 16)).toMatchObject({ flaw: { kind: 'form' } });
  expect(read(0, 16)).toMatchObject({ flaw: { kind: 'version' } });
  expect(read(1, 32)).toMatchObject({ flaw: { kind: 'version' } });
});

it('a batch whose answer contains one SPI twice is not used', () => {
  const flow = (last: number) => ({ source: octets('10.1.0.5'), destination: octets(`10.2.0.${last}`) });
  const want = { flows: [flow(1), flow(2)] } as FlowWanted;
  const answer = (spi: number) => ({
    requestId: 0n,
    tunnelsParams: [theirs(), theirs({ spi, encryptionKey: Buffer.alloc(16, 3) })],
    epoch: 5n,
  });
  expect(egressOf(answer(0x1235), want, b, rules).offers).toHaveLength(2);
  expect(() => egressOf(answer(0x1234), want, b, rules)).toThrow(
    expect.objectContaining({ code: 'RESPONSE_INVALID', message: expect.stringContaining('one SPI') }),
  );
});

function theirs(change: Partial<TunnelParameters> = {}): TunnelParameters {
  return {
    macAddr: '02:00:00:00:00:02',
    ipAddr: '192.0.2.2',
    pspVersion: 0,
    spi: 0x1234,
    encryptionKey: Buffer.alloc(16, 9),
    virtCookie: 7n,
    encapType: 4,
    offerNumber: undefined,
    mode: 1,
    ...change,
  };
}

describe('parameters of a peer', () => {
  it('become an offer without its key, and back', () => {
    const read = readOffer(theirs(), b, rules);
    expect(read).toEqual({
      offer: {
        spi: 0x1234,
        version: 0,
        number: undefined,
        cookie: 7n,
        mode: Mode.MODE_TUNNEL,
        address: octets('192.0.2.2'),
        mac: Buffer.from([2, 0, 0, 0, 0, 2]),
      },
    });
    if ('offer' in read) expect(parametersOf(read.offer, Buffer.alloc(16, 9))).toEqual(theirs());
  });

  it.each<[string, Partial<TunnelParameters>]>([
    ['version', { pspVersion: 2 }],
    ['version', { pspVersion: 4294967295 }],
    ['version', { pspVersion: 3, encryptionKey: Buffer.alloc(32) }],
    ['mode', { mode: 2 }],
    ['form', { mode: 0 }],
    ['form', { mode: 3 }],
    ['form', { encryptionKey: Buffer.alloc(32) }],
    ['form', { encryptionKey: Buffer.alloc(0) }],
    ['form', { pspVersion: 1 }],
    ['form', { spi: 0 }],
    ['form', { spi: 0x80000000 }],
    ['form', { encapType: 6 }],
    ['form', { encapType: 0 }],
    ['form', { ipAddr: '' }],
    ['form', { ipAddr: '2001:db8::1' }],
    ['form', { ipAddr: '::ffff:192.0.2.2' }],
    ['underlay', { ipAddr: '192.0.3.2' }],
    ['underlay', { ipAddr: '192.0.2.1' }],
    ['form', { ipAddr: '224.0.0.1' }],
    ['form', { ipAddr: '0.0.0.0' }],
    ['form', { ipAddr: '255.255.255.255' }],
    ['form', { macAddr: '' }],
    ['form', { macAddr: '02:00:00:00:00' }],
    ['form', { macAddr: '01:00:5e:00:00:01' }],
    ['form', { macAddr: 'ff:ff:ff:ff:ff:ff' }],
    ['form', { macAddr: '00:00:00:00:00:00' }],
  ])('have a flaw of kind %s: %o', (kind, change) => {
    expect(readOffer(theirs(change), b, rules)).toMatchObject({ flaw: { kind } });
  });

  it('contain no IPv6 address that represents an IPv4 address', () => {
    expect(readAddress('::ffff:10.2.0.1')).toBeUndefined();
    expect(readAddress('::1')).toHaveLength(16);
    expect(readAddress('10.2.0.1')).toHaveLength(4);
    expect(readAddress('10.2.0.1/24')).toBeUndefined();
  });
});

describe('a request of a peer', () => {
  const tunnel = (change = {}) => ({
    virtSrcIp: '10.2.0.7',
    virtDstIp: '10.1.0.5',
    innerType: 4,
    reverseParams: undefined as TunnelParameters | undefined,
    ...change,
  });
  const request = (change: Partial<MultiTunnelRequest> = {}): MultiTunnelRequest => ({
    requestId: 1n,
    pspVersionsAccepted: [0, 1],
    tunnels: [tunnel()],
    epoch: undefined,
    ...change,
  });

  it('is reversed: our side sends, the peer receives', () => {
    const reverseParams = theirs();
    const tunnels = [
      tunnel({ reverseParams }),
      tunnel({ virtSrcIp: '10.2.0.8', reverseParams: theirs({ spi: 5 }) }),
    ];
    const acceptance = acceptanceOf(request({ tunnels, epoch: 3n }), b, rules);
    expect(acceptance).toMatchObject({ version: 0, peerEpoch: 3n, egress: [{ spi: 0x1234 }, { spi: 5 }] });
    expect(acceptance.flows).toEqual([
      { source: octets('10.1.0.5'), destination: octets('10.2.0.7') },
      { source: octets('10.1.0.5'), destination: octets('10.2.0.8') },
    ]);
    expect(acceptance.keys[0]).toBe(reverseParams.encryptionKey);
  });

  it('needs no inner_type, because the addresses say their family', () => {
    const families = (...tunnels: object[]) =>
      acceptanceOf(request({ tunnels: tunnels.map((each) => tunnel({ ...each, innerType: 0 })) }), b, rules)
        .flows;
    expect(families({}, { virtSrcIp: 'fd00:2::1', virtDstIp: 'fd00:1::1' })).toEqual([
      { source: octets('10.1.0.5'), destination: octets('10.2.0.7') },
      { source: octets('fd00:1::1'), destination: octets('fd00:2::1') },
    ]);
  });

  it('is answered in the first version of the requester that is allowed', () => {
    expect(acceptanceOf(request({ pspVersionsAccepted: [3, 7, 1, 0] }), b, rules).version).toBe(1);
    const only0 = { ...b, versions: [0] };
    expect(acceptanceOf(request({ pspVersionsAccepted: [1, 0] }), only0, rules).version).toBe(0);
    const authOnly = { ...b, versions: [3, 2] };
    expect(acceptanceOf(request({ pspVersionsAccepted: [1, 0, 2, 3] }), authOnly, rules).version).toBe(2);
    expect(codeOf(() => acceptanceOf(request(), authOnly, rules))).toBe('VERSION_NOT_SPOKEN');
  });

  it('is answered with offers in the mode configured for the peer, which is tunnel mode if the request names none', () => {
    const offering = (mode: number | undefined) =>
      request({ tunnels: [tunnel({ reverseParams: theirs({ mode }) })] });
    const modesOf = (mode: number | undefined, of: Peer) =>
      acceptanceOf(offering(mode), of, rules).egress.map((offer) => offer.mode);
    const transport = { ...b, mode: Mode.MODE_TRANSPORT };
    expect(modesOf(undefined, b)).toEqual([Mode.MODE_TUNNEL]);
    expect(modesOf(1, b)).toEqual([Mode.MODE_TUNNEL]);
    expect(modesOf(2, transport)).toEqual([Mode.MODE_TRANSPORT]);
    for (const [mode, of] of [
      [2, b],
      [1, transport],
      [undefined, transport],
    ] as const) {
      expect(codeOf(() => acceptanceOf(offering(mode), of, rules))).toBe('MODE_MISMATCH');
    }
    expect(() => acceptanceOf(offering(undefined), transport, rules)).toThrow(
      'peer b offers tunnel mode, but its mode is transport here',
    );
  });

  it.each<[string, string, Partial<MultiTunnelRequest>]>([
    ['names no tunnel', 'REQUEST_INVALID', { tunnels: [] }],
    ['names too many', 'REQUEST_INVALID', { tunnels: Array.from({ length: 1025 }, () => tunnel()) }],
    ['names one twice', 'REQUEST_INVALID', { tunnels: [tunnel(), tunnel()] }],
    [
      'offers for some only',
      'REQUEST_INVALID',
      { tunnels: [tunnel({ reverseParams: theirs() }), tunnel({ virtSrcIp: '10.2.0.8' })] },
    ],
    [
      'offers one SPI twice',
      'REQUEST_INVALID',
      {
        tunnels: [
          tunnel({ reverseParams: theirs() }),
          tunnel({ virtSrcIp: '10.2.0.8', reverseParams: theirs({ encryptionKey: Buffer.alloc(16, 3) }) }),
        ],
      },
    ],
    ['says another family', 'REQUEST_INVALID', { tunnels: [tunnel({ innerType: 6 })] }],
    ['says an unknown family', 'REQUEST_INVALID', { tunnels: [tunnel({ innerType: 5 })] }],
    [
      'mixes families without naming one',
      'REQUEST_INVALID',
      { tunnels: [tunnel({ innerType: 0, virtDstIp: 'fd00:1::1' })] },
    ],
    ['mixes families', 'REQUEST_INVALID', { tunnels: [tunnel({ virtDstIp: 'fd00:1::1' })] }],
    ['offers a zero SPI', 'REQUEST_INVALID', { tunnels: [tunnel({ reverseParams: theirs({ spi: 0 }) })] }],
    [
      'offers an odd version',
      'VERSION_NOT_SPOKEN',
      { tunnels: [tunnel({ reverseParams: theirs({ pspVersion: 3 }) })] },
    ],
    [
      'offers from elsewhere',
      'UNDERLAY_NOT_ALLOWED',
      { tunnels: [tunnel({ reverseParams: theirs({ ipAddr: '192.0.9.1' }) })] },
    ],
    ['speaks no version', 'VERSION_NOT_SPOKEN', { pspVersionsAccepted: [] }],
    ['speaks only others', 'VERSION_NOT_SPOKEN', { pspVersionsAccepted: [2, 3] }],
    ['claims a VIP of another peer', 'VIP_NOT_PEERS', { tunnels: [tunnel({ virtSrcIp: '10.2.3.1' })] }],
    ['claims a VIP of ours', 'VIP_NOT_PEERS', { tunnels: [tunnel({ virtSrcIp: '10.2.9.1' })] }],
    ['claims a VIP of nobody', 'VIP_NOT_PEERS', { tunnels: [tunnel({ virtSrcIp: '10.9.0.1' })] }],
    ['wants what is not ours', 'VIP_NOT_OURS', { tunnels: [tunnel({ virtDstIp: '10.3.0.1' })] }],
    ['wants what is its own', 'VIP_NOT_OURS', { tunnels: [tunnel({ virtDstIp: '10.1.9.1' })] }],
  ])('that %s is refused with %s', (_what, code, change) => {
    expect(codeOf(() => acceptanceOf(request(change), b, rules))).toBe(code);
  });

  it('is refused as a whole because of the last of its tunnels', () => {
    const tunnels = [tunnel(), tunnel({ virtSrcIp: '10.2.3.1' })];
    expect(codeOf(() => acceptanceOf(request({ tunnels }), b, rules))).toBe('VIP_NOT_PEERS');
  });

  it('is answered with its id, our epoch and our offers', () => {
    const read = readOffer(theirs(), b, rules);
    if (!('offer' in read)) throw new Error('flawed');
    expect(responseOf(5n, 6n, [read.offer], [Buffer.alloc(16, 9)])).toEqual({
      requestId: 5n,
      epoch: 6n,
      tunnelsParams: [theirs()],
    });
  });
});

describe('the end of a call', () => {
  it.each([
    ['INVALID_ARGUMENT', 'PEER_REFUSED'],
    ['NOT_FOUND', 'PEER_REFUSED'],
    ['ALREADY_EXISTS', 'PEER_REFUSED'],
    ['PERMISSION_DENIED', 'PEER_REFUSED'],
    ['UNAUTHENTICATED', 'PEER_REFUSED'],
    ['RESOURCE_EXHAUSTED', 'PEER_REFUSED'],
    ['FAILED_PRECONDITION', 'PEER_REFUSED'],
    ['ABORTED', 'PEER_REFUSED'],
    ['OUT_OF_RANGE', 'PEER_REFUSED'],
    ['UNIMPLEMENTED', 'PEER_REFUSED'],
    ['DATA_LOSS', 'PEER_REFUSED'],
    ['DEADLINE_EXCEEDED', 'PEER_TIMEOUT'],
    ['UNAVAILABLE', 'PEER_DOWN'],
    ['CANCELLED', 'PEER_DOWN'],
    ['UNKNOWN', 'RESPONSE_INVALID'],
    ['INTERNAL', 'RESPONSE_INVALID'],
  ])('with %s is %s', (status, code) => {
    expect(errorOf(status, 'why', 'b', 700).code).toBe(code);
  });
});

describe('text from a peer', () => {
  it('is shown unchanged if it is printable', () => {
    expect(foreignText('10.1.0.1 “nicht” erlaubt, спасибо')).toBe('10.1.0.1 “nicht” erlaubt, спасибо');
    expect(foreignText('😀'.repeat(200))).toBe('😀'.repeat(200));
  });

  it('is cut to 200 characters', () => {
    expect(foreignText('a'.repeat(100_000))).toBe(`${'a'.repeat(199)}…`);
    expect(Array.from(foreignText('😀'.repeat(201)))).toHaveLength(200);
  });

  it('contains nothing that controls a terminal or hides on it', () => {
    const hostile = '\x1b[2J\r\n\t\x7f\x9b\u2028\u202e\u200b\u2066\ufeff\u3164\ud800\ue000';
    expect(foreignText(hostile)).toBe(`\ufffd[2J${'\ufffd'.repeat(Array.from(hostile).length - 4)}`);
    expect(errorOf('NOT_FOUND', '\x1b[2Jx', 'b', 1).message).toBe('peer b refused: NOT_FOUND: \ufffd[2Jx');
  });
});

it('lets one line of a kind pass each second and reports how many were suppressed', () => {
  const gate = new LineGate();
  expect([0, 10, 999].map((ms) => gate.pass('x', ms))).toEqual([0, undefined, undefined]);
  expect(gate.pass('y', 20)).toBe(0);
  expect([1000, 1001, 2500].map((ms) => gate.pass('x', ms))).toEqual([2, undefined, 1]);
});

describe('the tally', () => {
  it('records what opened a breaker, not that it is open, and since when a peer fails', () => {
    const tally = new Tally(['b']);
    tally.began('b');
    tally.failure('b', 'PEER_DOWN', 'refused', 100);
    tally.failed('b', 100);
    tally.failure('b', 'BREAKER_OPEN', 'rests', 200);
    tally.failed('b', 200);
    expect(tally.peer('b')).toMatchObject({
      failed: 2,
      lastCode: 'PEER_DOWN',
      lastCodeMs: 100,
      failingSinceMs: 100,
    });
    tally.answered('b', 300);
    expect(tally.peer('b')).toMatchObject({ answered: 1, lastAnswerMs: 300, failingSinceMs: 0 });
  });

  it('counts unauthorized clients by code, and shows codes only once they occurred', () => {
    const tally = new Tally(['b']);
    expect(tally.counters().map(({ name }) => name)).not.toContain('PEER_UNKNOWN');
    tally.failure(undefined, 'PEER_UNKNOWN', '', 1);
    tally.failure('unauthorized', 'PEER_UNKNOWN', '', 2);
    expect(tally.counters()).toContainEqual({ name: 'PEER_UNKNOWN', value: 2n });
    expect(tally.counters()).toContainEqual({ name: 'wants', value: 0n });
  });
});

describe('the URIs of a certificate', () => {
  it.each<[string, string[] | undefined]>([
    ['', []],
    ['URI:spiffe://psp/gateway/a', ['spiffe://psp/gateway/a']],
    ['DNS:x, URI:spiffe://psp/gateway/a, IP Address:192.0.2.1', ['spiffe://psp/gateway/a']],
    [
      'URI:spiffe://psp/gateway/a, URI:spiffe://psp/gateway/b',
      ['spiffe://psp/gateway/a', 'spiffe://psp/gateway/b'],
    ],
    ['DNS:"x, URI:spiffe://psp/gateway/a"', []],
    ['URI:"spiffe://psp/\\u002c"', ['spiffe://psp/,']],
    ['DNS:x", URI:spiffe://psp/gateway/a', undefined],
    ['nonsense', undefined],
  ])('of %s', (text, uris) => {
    expect(urisOf(text)).toEqual(uris);
  });
});
