// SPDX-License-Identifier: Apache-2.0
// Runs all benches, each in its own process, and writes their JSON to one folder: the one given by --json, or
// docs/performance, whose document is then regenerated. A bench that writes no JSON has failed; the others still run,
// and the exit code is 1. A bench that missed a goal has still measured it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { fromPackageRoot } from '../services/shared/process/package_root.js';
import { refuse } from './shared/result.js';

const runs = {
  aead: ['aead'],
  engine: ['engine'],
  engine_profile: ['engine', '--profile'],
  secgw: ['secgw'],
  secgw_profile: ['secgw', '--profile'],
  flows: ['flows'],
  turns: ['turns'],
  cpu: ['cpu'],
  wire: ['wire'],
  wire_profile: ['wire', '--profile'],
  first_packet: ['first_packet'],
  recovery: ['recovery'],
  rotation: ['rotation'],
  samples: ['samples'],
  pcap: ['pcap'],
};

const run = (bench: string, ...args: string[]): boolean =>
  spawnSync(process.execPath, [fromPackageRoot(`dist/bench/${bench}.js`), ...args], { stdio: 'inherit' })
    .status === 0;

function folderOf(): { folder: string; document: boolean } {
  try {
    const { json } = parseArgs({ options: { json: { type: 'string' } } }).values;
    return { folder: resolve(json ?? fromPackageRoot('docs/performance')), document: json === undefined };
  } catch (error) {
    return refuse((error as Error).message.split('. ')[0] as string);
  }
}

const { folder, document } = folderOf();
mkdirSync(folder, { recursive: true });
const failed: string[] = [];
for (const [name, [bench = '', ...args]] of Object.entries(runs)) {
  console.log(`== ${name}`);
  const json = join(folder, `${name}.json`);
  rmSync(json, { force: true });
  run(bench, ...args, '--json', json);
  if (!existsSync(json)) failed.push(name);
}
if (failed.length > 0) {
  console.error(`all: failed: ${failed.join(' ')}`);
  process.exitCode = 1;
} else if (document && !run('report')) process.exitCode = 1;
