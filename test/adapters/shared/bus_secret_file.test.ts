// SPDX-License-Identifier: Apache-2.0
// A bus secret that is replaced while two services run: real files, and real seals in place of the two services.
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Mode } from '../../../proto/gen/bus.js';
import { Opener, type SealContext, Sealer } from '../../../services/shared/bus/seal.js';
import { newBusSecret, readBusSecret } from '../../../services/shared/bus/secret.js';
import { monotonicMs } from '../../../services/shared/process/clock.js';
import { BusSecretFile } from '../../../services/shared/service/bus_secret_file.js';
import { FaultList } from '../../../services/shared/service/fault_list.js';

let folder: string;
const file = () => join(folder, 'bus.secret');

const context: SealContext = {
  contract: 'evt.flow.missed',
  node: 'a',
  sender: 'dataplane',
  epoch: 5n,
  role: 'offer',
  peer: 'b',
  exchange: 1n,
  peerEpoch: undefined,
  flows: [{ source: Buffer.from([10, 1, 0, 1]), destination: Buffer.from([10, 2, 0, 1]) }],
  offers: [
    {
      spi: 0x100,
      version: 0,
      number: 1n,
      cookie: 0n,
      mode: Mode.MODE_TUNNEL,
      address: Buffer.from([192, 0, 2, 1]),
      mac: Buffer.alloc(6, 2),
    },
  ],
};

/** One service: it has read the file at its start. */
function startService() {
  const events: string[] = [];
  const lines: { code?: string; err?: string; msg: string }[] = [];
  const faults = new FaultList();
  const log = new Writable({
    write: (line: Buffer, _encoding, done) => {
      lines.push(JSON.parse(line.toString()));
      done();
    },
  });
  const secret = readBusSecret(file());
  let sealer = new Sealer(secret.octets, 'a', 'dataplane');
  const opener = new Opener(secret.octets, 'a', 'dataplane');
  secret.octets.fill(0);
  const watch = new BusSecretFile(secret, { record: (type) => events.push(type) }, faults, pino(log));
  watch.begin({
    addSecret: (octets) => {
      sealer = new Sealer(octets, 'a', 'dataplane');
      opener.addSecret(octets);
    },
    retireSecret: () => opener.retireSecret(),
  });
  return {
    events,
    lines,
    faults,
    /** Two looks find a file that is not being written. */
    look: (laterMs = 0) => {
      for (let i = 0; i < 2; i++) watch.look(monotonicMs() + laterMs);
    },
    seal: () => sealer.seal(context, [Buffer.alloc(16, 7)]),
    open: (seal: ReturnType<Sealer['seal']>) => watch.opening(() => opener.open(context, seal)),
  };
}

/** Replaces the file at once. */
function replace(content: Buffer | string = newBusSecret()): void {
  writeFileSync(`${file()}.new`, content, { mode: 0o640 });
  renameSync(`${file()}.new`, file());
}

let one: ReturnType<typeof startService>;
let other: ReturnType<typeof startService>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-secret-'));
  replace();
  one = startService();
  other = startService();
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('a bus secret that is replaced', () => {
  it('is read at once by a service that cannot open the seal of another one which has it already', () => {
    replace();
    one.look();
    expect(other.open(one.seal())).toEqual([Buffer.alloc(16, 7)]);
    expect(other.events).toEqual(['busSecret.replaced']);
    expect(one.open(other.seal())).toHaveLength(1);
    other.look();
    expect(other.events).toHaveLength(1);
  });

  it('leaves seals valid that were made before', () => {
    const seal = one.seal();
    replace();
    other.look();
    expect(other.open(seal)).toHaveLength(1);
    expect(other.open(one.seal())).toHaveLength(1);
    expect(() => other.open(seal)).toThrow(expect.objectContaining({ code: 'REPLAY' }));
  });

  it('ends the old one after a minute', () => {
    replace();
    other.look();
    const [before, late] = [one.seal(), one.seal()];
    other.look(59_000);
    expect(other.open(before)).toHaveLength(1);
    other.look(60_001);
    expect(() => other.open(late)).toThrow(expect.objectContaining({ code: 'SEAL_INVALID' }));
    one.look();
    expect(other.open(one.seal())).toHaveLength(1);
  });

  it('may be replaced again before the old one has ended', () => {
    const first = one.seal();
    replace();
    other.look();
    replace();
    other.look();
    expect(other.open(first)).toHaveLength(1);
    expect(other.open(one.seal())).toHaveLength(1);
    one.look();
    expect(other.open(one.seal())).toHaveLength(1);
    expect(other.events).toHaveLength(2);
  });

  it('is named by no octet in log and audit', () => {
    const content = newBusSecret();
    replace(content);
    one.look();
    expect(one.lines.map(({ msg }) => msg)).toEqual(['bus secret replaced']);
    expect(JSON.stringify([one.lines, one.events])).not.toContain(content.toString().slice(0, 16));
  });
});

describe('a bus secret that cannot be used', () => {
  it.each([
    ['damaged', 'no hex digits\n', /bus\.secret cannot be read \(it does not hold 64 hex digits\)/],
    ['removed', undefined, /bus\.secret cannot be read \(ENOENT\)/],
  ])('and was %s is reported once, and the last good one stays', (_, content, reason) => {
    if (content === undefined) rmSync(file());
    else replace(content);
    one.look();
    one.look();
    expect(one.lines).toMatchObject([{ code: 'SECRET_NOT_RELOADED', msg: 'bus secret not reloaded' }]);
    const [fault] = one.faults.list();
    expect(fault).toMatchObject({ part: 'bus secret', message: expect.stringMatching(reason) });
    expect(fault?.message).toMatch(/^SECRET_NOT_RELOADED: the changed file is not used: .* stays in use$/);
    expect(other.open(one.seal())).toHaveLength(1);
    expect(one.events).toEqual([]);
    replace();
    one.look();
    expect(one.faults.list()).toEqual([]);
    expect(one.events).toEqual(['busSecret.replaced']);
    expect(other.open(one.seal())).toHaveLength(1);
  });

  it('leaves a seal of another node invalid', () => {
    const seal = one.seal();
    seal.box[0] = (seal.box[0] as number) ^ 1;
    replace('partly');
    expect(() => other.open(seal)).toThrow(expect.objectContaining({ code: 'SEAL_INVALID' }));
    expect(other.faults.list()).toEqual([]);
  });
});
