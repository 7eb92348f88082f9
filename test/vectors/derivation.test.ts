// SPDX-License-Identifier: Apache-2.0
// Compares the key derivation of the vectors with published values.
import { describe, expect, it } from 'vitest';
import { cmac, deriveKey, fromMasterKeys } from './derivation.js';
import { hex, unhex } from './table.js';

describe('AES-256-CMAC', () => {
  const key = unhex('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4');
  const message = unhex(
    '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51' +
      '30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710',
  );

  // NIST SP 800-38B, appendix D.3.
  it.each([
    [0, '028962f61b7bf89efc6b551f4667d983'],
    [16, '28a7023f452e8f82bd4bf28d8c37c35c'],
    [40, 'aaf3d8f1de5640c232f5b169b9c911e6'],
    [64, 'e1992190549f6ed5696a2c056c315410'],
  ])('of %i octets is that of SP 800-38B', (length, mac) => {
    expect(hex(cmac(key, message.subarray(0, length)))).toBe(mac);
  });
});

describe('keys', () => {
  const masters = [
    unhex('34448a064292601b11a0978f56a2d34cf3fc35ede1a6bc04f8db3e5243a2b0ca'),
    unhex('563952565d3a78ae773ec1b779f2f2d99f4a7f53a6fbb9b07d5b71f39364d739'),
  ] as const;

  it.each([
    [0x12345678, 0, '96c22dc799198090b74b70ae468e4e30'],
    [0x9a345678, 0, '3946da2554eae46ad1ef77a64372edc4'],
    [0x12345678, 1, '2b7d72074e42ca334487f2990e3f8c4037e436f38283449b76463e9b7fb2e3de'],
  ])('of SPI %i in version %i are those of the specification', (spi, version, key) => {
    expect(hex(fromMasterKeys(masters)(spi, version))).toBe(key);
  });

  it('differ between versions of one length', () => {
    expect(deriveKey(masters[0], 1, 2)).toHaveLength(16);
    expect(deriveKey(masters[0], 1, 3)).toHaveLength(32);
    expect(deriveKey(masters[0], 1, 2)).not.toEqual(deriveKey(masters[0], 1, 0));
    expect(deriveKey(masters[0], 1, 3)).not.toEqual(deriveKey(masters[0], 1, 1));
  });
});
