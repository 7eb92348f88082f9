// SPDX-License-Identifier: Apache-2.0
// `npm run model [-- SCHEDULES [FIRST]]`: runs seeded schedules on all cores and prints the seeds of those that violate an
// invariant. With one schedule it prints what happens in it.
import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { runSchedule } from './schedule.js';

interface Part {
  first: number;
  count: number;
}

interface Summary {
  packets: number;
  longestMs: number;
  violations: { seed: number; violation: string }[];
}

function run({ first, count }: Part, trace?: (line: string) => void): Summary {
  const summary: Summary = { packets: 0, longestMs: 0, violations: [] };
  for (let seed = first; seed < first + count; seed++) {
    const { packets, longestMs, violation } = runSchedule(seed, trace);
    summary.packets += packets;
    summary.longestMs = Math.max(summary.longestMs, longestMs);
    if (violation !== undefined) summary.violations.push({ seed, violation });
  }
  return summary;
}

const inThread = (part: Part): Promise<Summary> =>
  new Promise((resolve, reject) => {
    new Worker(new URL(import.meta.url), { workerData: part }).once('message', resolve).once('error', reject);
  });

async function main(): Promise<void> {
  const [count = 100_000, first = 1] = process.argv.slice(2).map(Number);
  if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(first)) {
    console.error('usage: npm run model [-- SCHEDULES [FIRST]]: two whole numbers');
    process.exitCode = 2;
    return;
  }
  if (count === 1) {
    print(
      1,
      run({ first, count }, (line) => console.log(line)),
    );
    return;
  }
  const threads = Math.min(count, availableParallelism());
  const each = Math.ceil(count / threads);
  const parts = Array.from({ length: threads }, (_, i) => ({
    first: first + i * each,
    count: Math.min(each, count - i * each),
  }));
  const summaries = await Promise.all(parts.filter((part) => part.count > 0).map(inThread));
  print(count, {
    packets: summaries.reduce((sum, { packets }) => sum + packets, 0),
    longestMs: Math.max(...summaries.map(({ longestMs }) => longestMs)),
    violations: summaries.flatMap(({ violations }) => violations),
  });
}

function print(count: number, { packets, longestMs, violations }: Summary): void {
  for (const { seed, violation } of violations.slice(0, 20)) {
    console.log(`seed ${seed}: ${violation}; replay it with \`npm run model -- 1 ${seed}\``);
  }
  if (violations.length > 0) process.exitCode = 1;
  const longest = `longest interruption after faults ${Math.round(longestMs)} ms`;
  console.log(`${count} schedules, ${packets} packets, ${longest}, ${violations.length} violations`);
}

if (isMainThread) await main();
else parentPort?.postMessage(run(workerData as Part));
