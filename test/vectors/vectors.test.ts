// SPDX-License-Identifier: Apache-2.0
// Compares the committed vector files with the output of their maker, and the bus seals of TypeScript with the
// vectors. Packets have a separate test; test/native/psp uses the same files.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unmapped } from '../../services/shared/address.js';
import { associatedData, Opener, type SealContext } from '../../services/shared/bus/seal.js';
import { PspError } from '../../services/shared/errors.js';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { vectorFiles } from './make.js';
import { mappedHex } from './seal_cases.js';
import { absent, cell, hex, type Row, readTable, unhex } from './table.js';

const committed = (path: string): string => readFileSync(fromPackageRoot(path), 'utf8');

describe('the vector files', () => {
  it.each(Object.entries(vectorFiles))('%s is what make.ts writes', (path, contents) => {
    expect(contents()).toBe(committed(path));
  });
});

describe('seal vectors', () => {
  const rows = readTable(committed('test/vectors/seal.txt'));

  it.each(rows.map((row) => [cell(row, 'name'), row] as const))('%s opens once', (_, row) => {
    const opener = new Opener(unhex(cell(row, 'secret')), cell(row, 'node'), contextOf(row).sender);
    expect(hex(Buffer.concat(opener.open(contextOf(row), sealOf(row))))).toBe(
      cell(row, 'keys').replace(absent, ''),
    );
    expect(() => opener.open(contextOf(row), sealOf(row))).toThrow(
      expect.objectContaining({ code: 'REPLAY' }),
    );
  });

  it.each(rows.map((row) => [cell(row, 'name'), row] as const))('%s binds each field', (_, row) => {
    const context = contextOf(row);
    const changes: Partial<SealContext>[] = [
      { contract: `${context.contract}x` },
      { node: 'c' },
      { epoch: context.epoch ^ 1n },
      { request: { start: new Uint8Array(32), counter: 1n } },
      { role: context.role === 'offer' ? 'egress' : 'offer' },
      { peer: 'c' },
      { exchange: context.exchange + 1n },
      { peerEpoch: context.peerEpoch === undefined ? 0n : undefined },
      { flows: [...context.flows, ...context.flows.slice(0, 1)] },
      ...(context.offers[0]
        ? [
            { offers: [{ ...context.offers[0], number: 99n }, ...context.offers.slice(1)] },
            {
              offers: [
                { ...context.offers[0], mode: 3 - context.offers[0].mode },
                ...context.offers.slice(1),
              ],
            },
          ]
        : []),
    ];
    for (const change of changes) {
      const opener = new Opener(unhex(cell(row, 'secret')), cell(row, 'node'), context.sender);
      expect(
        () => opener.open({ ...context, ...change }, sealOf(row)),
        JSON.stringify(Object.keys(change)),
      ).toThrow(PspError);
    }
  });

  it('open under an added secret too, and never again once their own is retired', () => {
    const row = rows[0] as Row;
    const other = new Uint8Array(32);
    const code = (act: () => unknown) => {
      try {
        act();
        return 'none';
      } catch (error) {
        return (error as PspError).code;
      }
    };
    const added = new Opener(other, cell(row, 'node'), contextOf(row).sender);
    expect(code(() => added.open(contextOf(row), sealOf(row)))).toBe('SEAL_INVALID');
    added.addSecret(unhex(cell(row, 'secret')));
    expect(code(() => added.open(contextOf(row), sealOf(row)))).toBe('none');
    added.addSecret(other);
    expect(code(() => added.open(contextOf(row), sealOf(row)))).toBe('REPLAY');
    added.retireSecret();
    added.retireSecret();
    expect(code(() => added.open(contextOf(row), sealOf(row)))).toBe('SEAL_INVALID');
    added.addSecret(unhex(cell(row, 'secret')));
    expect(code(() => added.open(contextOf(row), sealOf(row)))).toBe('SEAL_INVALID');
  });

  it('distinguishes an absent number from zero', () => {
    const context = contextOf(rows[0] as Row);
    const own = { start: new Uint8Array(32), counter: 1n };
    expect(associatedData({ ...context, peerEpoch: 0n }, own)).not.toEqual(
      associatedData({ ...context, peerEpoch: undefined }, own),
    );
  });
});

const list = (text: string): string[][] =>
  text === absent ? [] : text.split(', ').map((entry) => entry.split(' '));

const addressOf = (text: string | undefined): Buffer => Buffer.from(unmapped(unhex(mappedHex(text ?? ''))));

const sealOf = (row: Row) => ({
  start: unhex(cell(row, 'start')),
  counter: BigInt(cell(row, 'counter')),
  box: unhex(cell(row, 'box')),
});

function contextOf(row: Row): SealContext {
  const request = {
    start: unhex(cell(row, 'request_start')),
    counter: BigInt(cell(row, 'request_counter').replace(absent, '0')),
  };
  return {
    contract: cell(row, 'contract'),
    node: cell(row, 'node'),
    sender: cell(row, 'sender') as SealContext['sender'],
    epoch: BigInt(cell(row, 'epoch')),
    ...(cell(row, 'request_start') === absent ? {} : { request }),
    role: cell(row, 'role') as SealContext['role'],
    peer: cell(row, 'peer'),
    exchange: BigInt(cell(row, 'exchange')),
    peerEpoch: cell(row, 'peer_epoch') === absent ? undefined : BigInt(cell(row, 'peer_epoch')),
    flows: list(cell(row, 'flows')).map(([source, destination]) => ({
      source: addressOf(source),
      destination: addressOf(destination),
    })),
    offers: list(cell(row, 'offers')).map(([version, spi, number, cookie, mode, address, mac]) => ({
      version: Number(version),
      spi: Number.parseInt(spi ?? '', 16),
      ...(number === absent ? {} : { number: BigInt(number ?? '') }),
      cookie: BigInt(`0x${cookie}`),
      mode: Number(mode),
      address: addressOf(address),
      mac: unhex(mac ?? ''),
    })),
  };
}
