// SPDX-License-Identifier: Apache-2.0
// The number of samples per second that reach samplers without a loss. This process is the dataplane's real path to
// the bus (adapters/sampler), fed at an even rate with generated columns in place of an engine. Behind it are a real
// nats-server and first one, then two real samplers, which write their files to disk and their lines to /dev/null. It
// measures the rate to reach first, then higher ones until samples are lost, several times. The result is compared,
// in alternation, with the bus alone: the same batches, encoded beforehand, to a receiver that answers and does
// nothing else.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SampleBatch } from '../proto/gen/bus.js';
import { sampleReader } from '../services/dataplane/adapters/sample_rows.js';
import { SamplerClient } from '../services/dataplane/adapters/sampler_client.js';
import type { Bus } from '../services/shared/bus/bus.js';
import { contracts } from '../services/shared/contracts.js';
import { fromPackageRoot } from '../services/shared/process/package_root.js';
import { sampleColumns } from '../test/adapters/dataplane/sample_columns.js';
import { NatsServer } from '../test/adapters/shared/nats_server.js';
import { ended, until } from '../test/e2e/namespace.js';
import { exact, figure, row } from './shared/figure.js';
import { endByGoals, optionsOf, report } from './shared/result.js';

const reachPerS = 50_000;
const reachSeconds = 10;
const stepSeconds = 4;
const stepFactor = 1.25;
const turns = 3;
/** The most samples that the engine returns at once. */
const burst = 256;

const { json } = optionsOf({});
const folder = mkdtempSync(join(tmpdir(), 'psp-bench-'));
chmodSync(folder, 0o755);
const nats = await NatsServer.start('a');
const dataplane = await nats.connect('dataplane');
const operator = await nats.connect('operator');
const columns = sampleColumns({ count: burst });
const children = new Set<ChildProcess>();

function start(file: string, args: string[], stdout: 'ignore' | 'pipe'): ChildProcess {
  const child = spawn(process.execPath, [fromPackageRoot(file), ...args], {
    stdio: ['ignore', stdout, 'inherit'],
  });
  children.add(child);
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  children.delete(child);
  child.kill('SIGTERM');
  await ended(child);
}

/** Samples per second that the bus alone carries, with as many batches in flight as a window holds. */
async function busAlone(bus: Bus): Promise<number> {
  const receiver = start('dist/bench/agents/bare_sampler.js', [nats.listen, nats.passwords.sampler], 'pipe');
  await once(receiver.stdout as NodeJS.ReadableStream, 'data');
  const sampleAt = sampleReader(columns, ['b']);
  const batch = SampleBatch.encode({
    samples: Array.from({ length: burst }, (_, row) => sampleAt(row)),
  }).finish();
  const opaque = {
    encode: (octets: Uint8Array) => ({ finish: () => octets }),
    decode: (octets: Uint8Array) => octets,
  };
  const untilMs = performance.now() + stepSeconds * 1000;
  let carried = 0;
  const one = async () => {
    for (; performance.now() < untilMs; carried += burst) {
      await bus.request({ ...contracts.sampleEgress, payload: opaque }, batch, 5000);
    }
  };
  await Promise.all(Array.from({ length: 32 }, one));
  await end(receiver);
  return Math.round(carried / stepSeconds);
}

interface Run {
  /** Samples fed in total, and those of them that did not reach a sampler or were not written by it. */
  fed: number;
  lost: number;
  /** The share of the samples that each sampler received. */
  shares: number[];
  /** Cores used by the dataplane's path to the bus. */
  cores: number;
}

/** Feeds samples at a fixed rate to running samplers. */
async function run(samplers: number, perS: number, seconds: number): Promise<Run> {
  const before = await takenBySamplers(samplers);
  const way = new SamplerClient(dataplane, { peers: ['b'] });
  let fed = 0;
  const startMs = performance.now();
  const startCpu = process.cpuUsage();
  for (let ms = 0; ms < seconds * 1000; ms = performance.now() - startMs) {
    for (let due = Math.floor((perS * ms) / 1000) - fed; due > 0; due -= burst) {
      const count = Math.min(due, burst);
      way.take({ ...columns, count });
      fed += count;
    }
    await delay(1);
  }
  const { user, system } = process.cpuUsage(startCpu);
  await way.finish();
  const after = await until('all is written', async () => {
    const now = await takenBySamplers(samplers);
    return now.every(({ waiting }) => waiting === 0) && now;
  });
  const grown = after.map((one) => {
    const old = before.find(({ id }) => id === one.id) as Taken;
    return { taken: one.taken - old.taken, dropped: one.dropped - old.dropped };
  });
  const { samplesDropped, samplesUnanswered } = way.counters;
  const dropped = grown.reduce((sum, one) => sum + one.dropped, 0);
  return {
    fed,
    lost: samplesDropped + samplesUnanswered + dropped,
    cores: (user + system) / 1e6 / seconds,
    shares: grown.map(({ taken }) => Number((taken / fed).toFixed(2))),
  };
}

interface Taken {
  id: string;
  taken: number;
  dropped: number;
  waiting: number;
}

async function takenBySamplers(expected: number): Promise<Taken[]> {
  return until(`${expected} samplers answer`, async () => {
    const all = await operator.requestAll(contracts.samplerStatus, {}, 300);
    if (all.length !== expected) return false;
    return all.map(({ id, counters }) => {
      const named = new Map(counters.map(({ name, value }) => [name, Number(value)]));
      const sum = (...names: string[]) =>
        names.reduce((total, name) => total + (named.get(name) ?? Number.NaN), 0);
      return {
        id,
        taken: sum('samplesTaken'),
        dropped: sum('linesDropped', 'packetsDropped', 'busOverrun', 'busMalformed', 'batchesMalformed'),
        waiting: sum('linesWaitingBytes', 'packetsWaitingBytes'),
      };
    });
  });
}

/** The highest tested rate without a loss, and the result at the rate to reach. */
async function measure(samplers: number) {
  const running = Array.from({ length: samplers }, () =>
    start('dist/services/sampler/main.js', ['--config', join(folder, 'node.yaml')], 'ignore'),
  );
  await takenBySamplers(samplers);
  await run(samplers, reachPerS / 2, 2);
  const reached = await run(samplers, reachPerS, reachSeconds);
  let perS = reached.lost === 0 ? reachPerS : 0;
  for (let more = perS > 0; more; ) {
    const next = Math.round((perS * stepFactor) / 1000) * 1000;
    more = (await run(samplers, next, stepSeconds)).lost === 0;
    if (more) perS = next;
  }
  for (const child of running) await end(child);
  return { ...reached, perS };
}

try {
  mkdirSync(join(folder, 'nats'));
  writeFileSync(join(folder, 'nats/sampler.password'), nats.passwords.sampler, { mode: 0o640 });
  const example = readFileSync(fromPackageRoot('deploy/examples/two-nodes/a.yaml'), 'utf8');
  const changes = `stateDir: ${join(folder, 'state')}\nbus: { listen: "${nats.listen}" }\nlog: { level: warn }\n`;
  writeFileSync(join(folder, 'node.yaml'), `${example}${changes}`);
  const alone: number[] = [];
  const measured = [1, 2].map((samplers) => ({ samplers, all: [] as Awaited<ReturnType<typeof measure>>[] }));
  for (let turn = 0; turn < turns; turn++) {
    alone.push(await busAlone(dataplane));
    for (const { samplers, all } of measured) all.push(await measure(samplers));
  }
  const rows = measured.flatMap(({ samplers, all }) => {
    const rate = figure(all.map(({ perS }) => perS));
    return [
      row({ samplers, beside: 'the bound' }, rate, exact(reachPerS), { reach: 1 }),
      row({ samplers, beside: 'the bus alone' }, rate, figure(alone)),
    ];
  });
  const notes = measured.map(({ samplers, all }) => {
    const [fed, lost] = [all.map((one) => one.fed), all.map((one) => one.lost)];
    const cores = figure(all.map((one) => one.cores)).median.toFixed(2);
    const shares = all.map((one) => one.shares.join('+')).join(', ');
    return `samplers: ${samplers}; at ${reachPerS}/s lost ${lost} of ${fed}, ${cores} cores to the bus, shares ${shares}`;
  });
  const unit = 'samples a second, none of them lost';
  report({ bench: 'samples', unit, against: 'what the row names', rows, notes }, json);
  endByGoals(rows);
} finally {
  for (const child of children) await end(child);
  await Promise.all([dataplane.close(), operator.close()]);
  await nats.remove();
  rmSync(folder, { recursive: true });
}
