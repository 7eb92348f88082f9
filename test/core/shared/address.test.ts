// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes, flows and endpoints as texts and as octets.
import { describe, expect, it } from 'vitest';
import {
  contains,
  familyOf,
  flowKeyOf,
  flowOf,
  formatAddress,
  formatFlow,
  formatMac,
  formatPrefix,
  formatSpi,
  isAddress,
  mapped,
  networkOf,
  parseAddress,
  parseEndpoint,
  parseMac,
  parsePrefix,
  unmapped,
} from '../../../services/shared/address.js';

describe('an address', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['::', '::'],
    ['fe80:0:0:1:0:0:0:1', 'fe80:0:0:1::1'],
  ])('%s is shown as %s', (text, shown) => {
    expect(formatAddress(parseAddress(text))).toBe(shown);
  });

  it.each([
    '',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '0x1.2.3.4',
    '1.2.3.4.5',
    'fe80::1%eth0',
    '1:2',
    ':::',
    'a.b',
    ' 1.2.3.4',
  ])('%j is none', (text) => {
    expect(isAddress(text)).toBe(false);
    expect(() => parseAddress(text)).toThrow();
  });

  it('has its family by its length', () => {
    expect([familyOf(parseAddress('1.2.3.4')), familyOf(parseAddress('::1'))]).toEqual([4, 6]);
  });

  it('survives being mapped and unmapped', () => {
    for (const text of ['1.2.3.4', '0.0.0.0', '2001:db8::1', '::', '::1']) {
      const octets = mapped(parseAddress(text));
      expect(octets).toHaveLength(16);
      expect(formatAddress(unmapped(octets))).toBe(text);
    }
    expect(Buffer.from(mapped(parseAddress('1.2.3.4'))).toString('hex')).toBe(
      `${'0'.repeat(20)}ffff01020304`,
    );
  });
});

describe('a prefix', () => {
  it.each([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3/0', '0.0.0.0/0'],
    ['10.1.2.255/25', '10.1.2.128/25'],
    ['10.1.2.3/32', '10.1.2.3/32'],
    ['2001:db8:ffff::1/33', '2001:db8:8000::/33'],
    ['2001:db8::1/128', '2001:db8::1/128'],
  ])('of %s is %s', (text, network) => {
    expect(formatPrefix(networkOf(parsePrefix(text)))).toBe(network);
  });

  it.each([
    '10.0.0.0',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/',
    '/8',
    '10.0.0.0/8x',
  ])('%j is none', (text) => expect(() => parsePrefix(text)).toThrow());

  it.each([
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.128.0.0/9', '10.127.255.255', false],
    ['10.128.0.0/9', '10.128.0.0', true],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::', false],
    ['::/0', '1.2.3.4', false],
    ['10.1.2.3/32', '10.1.2.3', true],
    ['10.1.2.3/32', '10.1.2.2', false],
    ['2001:db8:8000::/33', '2001:db8:ffff::', true],
    ['2001:db8:8000::/33', '2001:db8:7fff::', false],
  ])('%s holds %s: %s', (prefix, address, holds) => {
    expect(contains(parsePrefix(prefix), parseAddress(address))).toBe(holds);
  });

  it('contains the same addresses whether its host bits are set or not', () => {
    expect(contains(parsePrefix('192.0.2.1/24'), parseAddress('192.0.2.200'))).toBe(true);
  });
});

describe('a flow', () => {
  const flow = { source: parseAddress('10.1.0.1'), destination: parseAddress('10.2.0.1') };

  it('has a key from which it can be restored, in both families, different for each direction', () => {
    const six = { source: parseAddress('fd00::1'), destination: parseAddress('fd00::2') };
    for (const each of [flow, six]) {
      expect(flowKeyOf(each)).toMatch(/^[0-9a-f]{64}$/);
      expect(flowOf(flowKeyOf(each))).toEqual(each);
      expect(flowKeyOf({ source: each.destination, destination: each.source })).not.toBe(flowKeyOf(each));
    }
  });

  it('is shown with an arrow', () => {
    expect(formatFlow(flow)).toBe('10.1.0.1 -> 10.2.0.1');
  });
});

describe('an endpoint', () => {
  it.each([
    ['192.0.2.1:3000', '192.0.2.1', 3000],
    ['[2001:db8::1]:1', '2001:db8::1', 1],
    ['gateway-b.example:65535', 'gateway-b.example', 65535],
  ])('%s is host and port', (text, host, port) => {
    expect(parseEndpoint(text)).toEqual({ host, port });
  });

  it.each([
    '192.0.2.1',
    ':3000',
    'x:0',
    'x:65536',
    'x:',
    'x:1:2',
    '2001:db8::1:3000',
    '[x]:1',
    'x y:1',
    '[::1]',
  ])('%j is none', (text) => expect(() => parseEndpoint(text)).toThrow());
});

it('a MAC address is six octets in hexadecimal', () => {
  expect(formatMac(parseMac('02:Ab:00:00:00:fF'))).toBe('02:ab:00:00:00:ff');
  for (const text of [
    '',
    '02:ab:00:00:00',
    '02:ab:00:00:00:ff:00',
    '2:ab:00:00:00:ff',
    '02-ab-00-00-00-ff',
  ]) {
    expect(() => parseMac(text)).toThrow();
  }
});

it('an SPI is shown as 0x and eight digits, including the top bit', () => {
  expect([formatSpi(1), formatSpi(0x80000001), formatSpi(-1)]).toEqual([
    '0x00000001',
    '0x80000001',
    '0xffffffff',
  ]);
});
