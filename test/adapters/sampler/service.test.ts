// SPDX-License-Identifier: Apache-2.0
// The sampler as a service on a real nats-server, with a standard output that the test controls: its answers, its
// reports, and the cost of a reader that does not read.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type NatsConnection } from 'nats';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SampleBatch, SamplesTaken, type ServiceStats, type ServiceStatus } from '../../../proto/gen/bus.js';
import { type SamplerConfig, sliceOf } from '../../../services/sampler/config.js';
import { startSampler } from '../../../services/sampler/service.js';
import type { Chunk } from '../../../services/shared/backlog.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { loadConfig } from '../../../services/shared/config/config.js';
import { contracts, subjectOf } from '../../../services/shared/contracts.js';
import { createLogger } from '../../../services/shared/process/log.js';
import { Gone, type Outlet } from '../../../services/shared/process/outlet.js';
import type { RunningService } from '../../../services/shared/service/service_process.js';
import { NatsServer } from '../shared/nats_server.js';
import { longMs } from '../shared/waiting.js';
import {
  batchOf,
  egressSample,
  ingressSample,
  nodeFolder,
  numbersIn,
  numbersOf,
  sampleFiles,
} from './rig.js';

let server: NatsServer;
let folder: string;
let config: SamplerConfig;
let dataplane: Bus;
let operator: Bus;
let raw: NatsConnection;
let running: RunningService[] = [];
beforeAll(async () => {
  server = await NatsServer.start('a');
  dataplane = await server.connect('dataplane');
  operator = await server.connect('operator');
  const { passwords, listen } = server;
  raw = await connect({
    servers: listen,
    user: 'dataplane',
    pass: passwords.dataplane,
    inboxPrefix: '_INBOX_dataplane',
  });
});
afterAll(async () => {
  await Promise.all([dataplane.close(), operator.close(), raw.close()]);
  await server.remove();
});
beforeEach(() => {
  const node = nodeFolder(server);
  folder = node.folder;
  config = sliceOf(loadConfig(node.file, {}));
});
afterEach(async () => {
  await Promise.all(running.map((each) => each.stop()));
  running = [];
  rmSync(folder, { recursive: true });
});

/** A standard output that the test controls: it accepts everything, at once or not, or nothing, or is closed. */
class Reader implements Outlet {
  text = '';
  mode: 'reads' | 'dawdles' | 'waits' | 'left' = 'reads';

  async write({ octets, length }: Chunk): Promise<void> {
    if (this.mode === 'left') throw new Gone('EPIPE');
    if (this.mode === 'dawdles') await delay(300);
    if (this.mode === 'waits') await new Promise(() => undefined);
    this.text += octets.toString('latin1', 0, length);
  }
}

async function start(stdout: Outlet, limits = config.limits): Promise<RunningService> {
  const log = createLogger('sampler', 'a', 'silent');
  const sampler = await startSampler({ ...config, limits }, log, () => ({ dropped: true }), stdout);
  running.push(sampler);
  await sampler.joined;
  return sampler;
}

const take = (batch: SampleBatch, contract: typeof contracts.sampleEgress = contracts.sampleEgress) =>
  dataplane.request(contract, batch, longMs);
const status = async (): Promise<ServiceStatus> =>
  (await operator.requestAll(contracts.samplerStatus, {}, 200, longMs))[0] as ServiceStatus;
const count = async (name: string): Promise<number> =>
  Number((await status()).counters.find((each) => each.name === name)?.value ?? -1);
const filesOf = () => sampleFiles(join(folder, 'state/samples'));

describe('a sampler', () => {
  it('writes each sample of both subjects once, to standard output and to the files', async () => {
    const reader = new Reader();
    const sampler = await start(reader);
    await take(batchOf(1, 256));
    await take(SampleBatch.fromPartial({ samples: [ingressSample(257)] }), contracts.sampleIngress);
    await sampler.stop();
    const expected = Array.from({ length: 257 }, (_, i) => i + 1);
    expect(numbersOf(reader.text)).toEqual(expected);
    expect(numbersIn(filesOf())).toEqual(expected);
  });

  it('writes all accepted samples before it ends', async () => {
    const reader = new Reader();
    reader.mode = 'dawdles';
    const sampler = await start(reader);
    await take(batchOf(1, 10));
    await delay(10);
    await take(batchOf(11, 10));
    await sampler.stop();
    expect(numbersOf(reader.text)).toHaveLength(20);
    expect(numbersIn(filesOf())).toHaveLength(20);
  });

  it('refuses messages that do not decode and invalid samples, counts both, and accepts the next', async () => {
    const reader = new Reader();
    await start(reader);
    const subject = subjectOf('a', contracts.sampleEgress);
    for (const garbage of ['\xff\xff\xff', 'garbage', '\x0a\x05abcde']) {
      const answer = await raw.request(subject, Buffer.from(garbage, 'latin1'), { timeout: longMs });
      expect(answer.headers?.get('Nats-Service-Error')).toBe('PAYLOAD_INVALID');
    }
    const faulty = SampleBatch.fromPartial({ samples: [egressSample(1), egressSample(2, { peer: '' })] });
    await expect(take(faulty)).rejects.toMatchObject({ code: 'PAYLOAD_INVALID' });
    expect(await take(batchOf(3, 1))).toEqual(SamplesTaken.fromPartial({}));
    await expect.poll(() => numbersOf(reader.text)).toEqual([3]);
    const names = ['busMalformed', 'batchesMalformed', 'samplesTaken'];
    expect(await Promise.all(names.map(count))).toEqual([3, 1, 1]);
  });

  it('answers the services protocol and reports its counters once a second', async () => {
    const stats = await server.connect('stats');
    const heard: ServiceStats[] = [];
    stats.receive(contracts.samplerStats, (each) => void heard.push(each));
    await stats.flush();
    await start(new Reader());
    await take(batchOf(1, 5));
    expect((await operator.discover(200, longMs)).map(({ name }) => name)).toEqual(['sampler']);
    await expect.poll(() => heard.at(-1)?.counters).toContainEqual({ name: 'samplesTaken', value: 5n });
    expect(heard[0]).toMatchObject({ service: 'sampler', version: expect.stringMatching(/^\d/), health: [] });
    expect(await status()).toMatchObject({ node: 'a', id: heard[0]?.id, startedMs: heard[0]?.startedMs });
    await stats.close();
  });
});

describe('a reader that does not read', () => {
  const full = { linesBytes: 20_000, packetsBytes: 1 << 20 };

  it('loses lines, which are counted and reported, but no packet, and delays nothing', async () => {
    const reader = new Reader();
    reader.mode = 'waits';
    const sampler = await start(reader, full);
    for (let i = 0; i < 10; i++) await take(batchOf(i * 100, 100));
    await expect.poll(() => count('packetsWritten')).toBe(1000);
    const [taken, dropped] = [await count('samplesTaken'), await count('linesDropped')];
    expect([taken, await count('packetsDropped')]).toEqual([1000, 0]);
    expect(dropped).toBeGreaterThan(800);
    expect((await status()).health).toMatchObject([
      { part: 'lines', message: expect.stringContaining('not read') },
    ]);
    await sampler.stop();
    expect(numbersIn(filesOf())).toHaveLength(1000);
  });

  it('has the same cost once it has gone', async () => {
    const reader = new Reader();
    await start(reader, full);
    await take(batchOf(1, 1));
    await expect.poll(() => numbersOf(reader.text)).toEqual([1]);
    reader.mode = 'left';
    for (let i = 0; i < 10; i++) await take(batchOf(i * 100, 100));
    await expect.poll(() => count('packetsWritten')).toBe(1001);
    expect([await count('linesWritten'), await count('linesDropped')]).toEqual([1, 1000]);
    expect((await status()).health).toMatchObject([
      { part: 'stdout', message: expect.stringContaining('EPIPE') },
    ]);
  });
});

describe('files that cannot be written', () => {
  it('are reported, packets that overflow are counted, and lines continue', async () => {
    const reader = new Reader();
    config = { ...config, files: { ...config.files, folder: '/dev/null/samples' } };
    await start(reader, { linesBytes: 1 << 20, packetsBytes: 20_000 });
    for (let i = 0; i < 10; i++) await take(batchOf(i * 100, 100));
    await expect.poll(() => numbersOf(reader.text)).toHaveLength(1000);
    expect(await count('packetsDropped')).toBeGreaterThan(800);
    expect((await status()).health).toMatchObject([
      { part: 'files', message: expect.stringMatching(/\/dev\/null\/samples \(ENOTDIR\)/) },
    ]);
  });
});

describe('two samplers', () => {
  it('share the samples, and each reports its own', async () => {
    const readers = [new Reader(), new Reader()];
    for (const reader of readers) await start(reader);
    for (let i = 0; i < 100; i++) await take(batchOf(i, 1));
    const numbers = () => readers.map(({ text }) => numbersOf(text));
    await expect.poll(() => numbers().flat()).toHaveLength(100);
    expect(new Set(numbers().flat()).size).toBe(100);
    for (const own of numbers()) expect(own.length).toBeGreaterThan(10);
    const answers = await operator.requestAll(contracts.samplerStatus, {}, 1500);
    expect(new Set(answers.map(({ id }) => id)).size).toBe(2);
    expect(
      answers.flatMap(({ counters }) => counters).filter(({ name }) => name === 'filesOpened'),
    ).toHaveLength(2);
  });
});
