// SPDX-License-Identifier: Apache-2.0
// `psp tap` as a process on a real nats-server: every row of the contract table decoded, samples as lines and as
// pcapng, and its end: Ctrl-C, --count, a reader that has gone or does not read.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { connect, type NatsConnection } from 'nats';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type FlowWanted, Mode, SampleBatch, WantReason } from '../../../proto/gen/bus.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { contracts, subjectOf } from '../../../services/shared/contracts.js';
import { expectSchema } from '../../json_schema.js';
import { compile } from '../dataplane/compiled.js';
import {
  batchOf,
  dissect,
  egressSample,
  flowOf,
  ingressSample,
  nodeFolder,
  numbersIn,
  numbersOf,
  octetsOf,
} from '../sampler/rig.js';
import { AuditServer, asService, NatsServer, nobody } from '../shared/nats_server.js';
import { longMs } from '../shared/waiting.js';

let compiled: string;
let server: NatsServer;
let audit: AuditServer;
let dataplane: Bus;
let sampler: Bus;
let raw: NatsConnection;
let node: { folder: string; file: string };
let taps: ChildProcess[] = [];
beforeAll(async () => {
  compiled = compile('cli/psp.ts');
  server = await NatsServer.start('a');
  audit = await AuditServer.start('a');
  dataplane = await server.connect('dataplane');
  sampler = await server.connect('sampler', asService);
  sampler.respond(contracts.sampleEgress, () => ({}));
  sampler.respond(contracts.sampleIngress, () => ({}));
  await sampler.flush();
  const { listen, passwords } = server;
  raw = await connect({
    servers: listen,
    user: 'dataplane',
    pass: passwords.dataplane,
    inboxPrefix: '_INBOX_dataplane',
  });
});
afterAll(async () => {
  await Promise.all([dataplane.close(), sampler.close(), raw.close()]);
  await server.remove();
  await audit.remove();
  rmSync(compiled, { recursive: true });
});
beforeEach(() => {
  node = nodeFolder(server, '{}', audit.listen);
});
afterEach(() => {
  for (const each of taps) each.kill('SIGKILL');
  taps = [];
  rmSync(node.folder, { recursive: true });
});

interface Tap {
  child: ChildProcess;
  out: () => Buffer;
  err: () => string;
  ended: Promise<number | null>;
}

function launch(...args: string[]): Tap {
  const psp = join(compiled, 'cli/psp.js');
  const child = spawn(process.execPath, [psp, 'tap', '-c', node.file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  taps.push(child);
  const chunks: Buffer[] = [];
  let err = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  if (!args.includes('unread')) child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return { child, out: () => Buffer.concat(chunks), err: () => err, ended };
}

/** @returns once it listens. */
async function tap(...args: string[]): Promise<Tap> {
  const running = launch(...args);
  await expect.poll(running.err).toContain('listening on');
  return running;
}

const lines = ({ out }: Tap) =>
  out()
    .toString()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function interrupt(running: Tap): Promise<void> {
  running.child.kill('SIGINT');
  expect(await running.ended).toBe(0);
}

const wanted: FlowWanted = {
  exchange: 9n,
  epoch: 0x8000000000000001n,
  publishedNs: 12_345n,
  reason: WantReason.WANT_REASON_MISS,
  peer: 'b',
  flows: [flowOf('10.1.0.7', '2001:db8::1')],
  offers: [
    {
      spi: 0x80000001,
      version: 1,
      number: 3n,
      cookie: 0n,
      mode: Mode.MODE_TUNNEL,
      address: octetsOf('192.0.2.1'),
      mac: Buffer.of(2, 0, 0, 0, 0, 10),
    },
  ],
  seal: { start: Buffer.alloc(32, 0xab), counter: 1n, box: Buffer.alloc(48, 0xcd) },
};

describe('psp tap', () => {
  it.each([
    ['>', 2],
    ['audit.>', 1],
    ['*.dataplane.>', 1],
    ['evt.>', 1],
  ])('of %s prints audit events too where they may travel on it', async (subject, count) => {
    const running = await tap(subject);
    const stream = await audit.stream('dataplane');
    const tail = `id${count}.keys.rotated`;
    await stream.store(subjectOf('a', contracts.dataplaneAudit, tail), Buffer.from('{}'), `${subject}`);
    dataplane.publish(contracts.flowMissed, wanted);
    await expect.poll(() => lines(running).length).toBe(count);
    await stream.close();
    await interrupt(running);
    const heard = lines(running).map((line) => line.subject);
    expect(heard.includes(`audit.dataplane.${tail}`)).toBe(subject !== 'evt.>');
  });

  it('continues without audit events if their server is down', async () => {
    node = nodeFolder(server, '{}', nobody);
    const running = await tap();
    expect(running.err()).toMatch(/^psp: audit events are not received: .*127\.0\.0\.1:2.*\n/);
    dataplane.publish(contracts.flowMissed, wanted);
    await expect.poll(() => lines(running).length).toBe(1);
    await interrupt(running);
  });

  it('prints events and requests decoded, without taking them from their receivers', async () => {
    const running = await tap();
    const keyexchange = await server.connect('keyexchange');
    const heard: string[] = [];
    keyexchange.receive(contracts.flowMissed, ({ peer }) => void heard.push(peer));
    await keyexchange.flush();
    dataplane.publish(contracts.flowMissed, wanted);
    await dataplane.request(contracts.sampleEgress, batchOf(1, 1), longMs);
    await expect.poll(() => lines(running).length).toBe(2);
    await expect.poll(() => heard).toEqual(['b']);
    await keyexchange.close();
    await interrupt(running);
    const [missed, sampled] = lines(running);
    expect(missed).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      subject: 'evt.flow.missed',
      kind: 'event',
      length: expect.any(Number),
      payload: {
        exchange: 9,
        epoch: '0x8000000000000001',
        publishedNs: 12345,
        reason: 'WANT_REASON_MISS',
        peer: 'b',
        flows: [{ source: '10.1.0.7', destination: '2001:db8::1' }],
        offers: [
          {
            spi: '0x80000001',
            version: 1,
            number: 3,
            cookie: '0x0000000000000000',
            mode: 'MODE_TUNNEL',
            address: '192.0.2.1',
            mac: '02:00:00:00:00:0a',
          },
        ],
        seal: { start: 'ab'.repeat(32), counter: 1, boxLength: 48 },
      },
    });
    expect(sampled).toMatchObject({
      subject: 'sample.egress',
      kind: 'request',
      payload: { samples: [{ point: 'SAMPLE_POINT_EGRESS_SEALED', spi: '0x00000001', rateLog2: 4 }] },
    });
    for (const line of lines(running)) expectSchema('tap', line);
  });

  it('receives one subject, or those that a wildcard matches', async () => {
    const [one, some] = await Promise.all([tap('evt.flow.stale'), tap('evt.*.*')]);
    dataplane.publish(contracts.flowMissed, wanted);
    dataplane.publish(contracts.flowStale, wanted);
    await dataplane.request(contracts.sampleEgress, batchOf(1, 1), longMs);
    await expect
      .poll(() => lines(some).map(({ subject }) => subject))
      .toEqual(['evt.flow.missed', 'evt.flow.stale']);
    await expect.poll(() => lines(one).map(({ subject }) => subject)).toEqual(['evt.flow.stale']);
    await Promise.all([interrupt(one), interrupt(some)]);
  });

  it('shows the first octets of messages that it cannot decode', async () => {
    const running = await tap();
    raw.publish('psp.v1.a.evt.flow.missed', Buffer.alloc(100, 0xff));
    await expect.poll(() => lines(running).length).toBe(1);
    const [line] = lines(running);
    expect(line).toMatchObject({
      subject: 'evt.flow.missed',
      kind: 'event',
      length: 100,
      hex: 'ff'.repeat(64),
    });
    expectSchema('tap', line);
    await interrupt(running);
  });

  it('ends after --count messages', async () => {
    const running = await tap('--count', '3');
    for (let i = 0; i < 5; i++) dataplane.publish(contracts.flowMissed, wanted);
    expect(await running.ended).toBe(0);
    expect(lines(running)).toHaveLength(3);
  });

  it.each([
    ['a subject that is none', ['evt..flow']],
    ['a count that is none', ['--count', '0']],
    ['-w without samples', ['-w', 'x.pcapng']],
    ['--force without -w', ['samples', '--force']],
  ])('refuses %s as wrong usage', async (_, args) => {
    const running = launch(...args);
    expect([await running.ended, running.err()]).toEqual([2, expect.stringContaining('psp: USAGE:')]);
  });
});

describe('psp tap samples', () => {
  it("prints samples in the sampler's format, from both subjects", async () => {
    const running = await tap('samples', '--count', '3');
    await dataplane.request(contracts.sampleEgress, batchOf(1, 2), longMs);
    await dataplane.request(
      contracts.sampleIngress,
      SampleBatch.fromPartial({ samples: [ingressSample(3)] }),
      longMs,
    );
    expect(await running.ended).toBe(0);
    expect(numbersOf(running.out().toString())).toEqual([1, 2, 3]);
    for (const line of lines(running)) expectSchema('sample', line);
  });

  it('writes a new pcapng file that tshark reads and only its owner can open', async () => {
    const file = join(node.folder, 'samples.pcapng');
    const running = await tap('samples', '-w', file);
    await dataplane.request(contracts.sampleEgress, batchOf(1, 256), longMs);
    await dataplane.request(
      contracts.sampleEgress,
      SampleBatch.fromPartial({ samples: [egressSample(1, { peer: '' })] }),
      longMs,
    );
    await expect.poll(() => statSync(file).size).toBeGreaterThan(256 * 200);
    await interrupt(running);
    expect(running.err()).toContain(`256 samples written to ${file}`);
    expect(running.err()).toContain('1 batches of samples malformed');
    expect(numbersIn([file])).toEqual(Array.from({ length: 256 }, (_, i) => i + 1));
    expect(dissect(file, 'frame.interface_name')[0]).toEqual(['egress_sealed']);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('writes pcapng to standard output with -w -', async () => {
    const running = await tap('samples', '-w', '-', '--count', '4');
    await dataplane.request(contracts.sampleEgress, batchOf(1, 4), longMs);
    expect(await running.ended).toBe(0);
    const file = join(node.folder, 'piped.pcapng');
    writeFileSync(file, running.out());
    expect(numbersIn([file])).toEqual([1, 2, 3, 4]);
  });

  it('does not overwrite an existing file', async () => {
    const file = join(node.folder, 'there');
    writeFileSync(file, 'mine');
    const running = launch('samples', '-w', file);
    expect(await running.ended).toBe(1);
    expect(running.err()).toMatch(/psp: FILE_UNWRITABLE: .* overwrite this one with --force\n/);
    expect(readFileSync(file, 'utf8')).toBe('mine');
  });

  it('overwrites an existing file with --force, which then only its owner can read', async () => {
    const file = join(node.folder, 'forced');
    writeFileSync(file, 'x'.repeat(100_000), { mode: 0o644 });
    const running = await tap('samples', '-w', file, '--force', '--count', '4');
    await dataplane.request(contracts.sampleEgress, batchOf(1, 4), longMs);
    expect(await running.ended).toBe(0);
    expect(numbersIn([file])).toEqual([1, 2, 3, 4]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it.runIf(existsSync('/dev/full'))('ends with a code when the disk is full', async () => {
    const running = launch('samples', '-w', '/dev/full');
    expect(await running.ended).toBe(1);
    expect(running.err()).toMatch(/psp: FILE_UNWRITABLE: \/dev\/full cannot be written \(ENOSPC\)/);
  });
});

describe('the reader of a tap', () => {
  it('that goes away ends it silently', async () => {
    const running = await tap();
    running.child.stdout?.destroy();
    const pestering = setInterval(() => dataplane.publish(contracts.flowMissed, wanted), 20);
    expect(await running.ended).toBe(141);
    clearInterval(pestering);
    expect(running.err()).toMatch(/^psp: listening on \S+\n$/);
  });

  it('that does not read the pipe does not delay its end', async () => {
    const file = join(node.folder, 'pipe');
    execFileSync('mkfifo', [file]);
    const reader = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const running = await tap('samples', '-w', file);
    for (let i = 0; i < 40; i++)
      await dataplane.request(contracts.sampleEgress, batchOf(i * 256, 256), longMs);
    running.child.kill('SIGINT');
    expect(await running.ended).toBe(0);
    closeSync(reader);
    expect(running.err()).toMatch(/psp: \d+ dropped, because the output is slower than the bus/);
  });

  it('that does not read loses messages, which are counted and reported', async () => {
    const running = await tap('samples', '--json');
    running.child.stdout?.pause();
    for (let i = 0; i < 400; i++)
      await dataplane.request(contracts.sampleEgress, batchOf(i * 256, 256), longMs);
    const exit = once(running.child, 'exit');
    running.child.kill('SIGINT');
    expect((await exit)[0]).toBe(0);
    running.child.stdout?.resume();
    await running.ended;
    expect(running.err()).toMatch(/psp: \d{5,} dropped, because the output is slower than the bus/);
  });
});
