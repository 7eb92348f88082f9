// SPDX-License-Identifier: Apache-2.0
// No key leaves two nodes in any form. Their master keys are known (known_keys.ts). These, and the keys of all SPIs, are
// searched in everything that the nodes write, print and send, in the heaps of JavaScript, and in the memory that a core
// dump of a dataplane contains. That the search finds keys is shown in the locked memory of the dataplane, which has them.
import type { ChildProcess } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Service, serviceRow, services } from '../../services/shared/contracts.js';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import type { Capture } from './capture.js';
import { KeySearch } from './key_search.js';
import { knownKeys, knownKeysAddon, masterKey } from './known_keys.js';
import { signal, stopped, until } from './namespace.js';
import { memoryOf } from './process_memory.js';
import { type Host, Topology } from './topology.js';
import { ping } from './traffic.js';

let net: Topology;
/** Folder of the heap snapshots. */
let heaps: string;
/** The output of all commands. */
let printed = '';
const taps: ChildProcess[] = [];
const captures: Capture[] = [];
/** Of gateway a's dataplane: what a core dump contains, and all of it. */
const memory = { dumped: [] as string[], all: [] as string[] };
let search: KeySearch;
/** Of gateway a's master key when its memory was read. */
let generation: number;

beforeAll(async () => {
  net = await Topology.create({
    log: 'trace',
    addon: knownKeysAddon,
    // b does not let a use its IPv6 prefix, so that b refuses a request that carries an offer.
    edit: (node, yaml) => (node === 'b' ? yaml.replace('10.1.0.0/24, "fd00:1::/64"', '10.1.0.0/24') : yaml),
    environment: (_, folder) => [
      `NODE_OPTIONS=--heapsnapshot-signal=SIGUSR2 --diagnostic-dir=${folder}/heaps`,
    ],
  });
  heaps = join(net.folder, 'heaps');
  mkdirSync(heaps);
  chmodSync(heaps, 0o777);
  await net.start();
  for (const gateway of [net.a, net.b]) {
    const node = basename(gateway.files);
    const to = openSync(join(net.folder, `tap-${node}`), 'w');
    taps.push(
      gateway.namespace.spawn(
        process.execPath,
        [fromPackageRoot('dist/cli/psp.js'), '-c', join(gateway.files, 'node.yaml'), 'tap'],
        ['ignore', to, to],
      ),
    );
    captures.push(
      await net.capture(`bus-${node}`, { at: [gateway.namespace, 'lo'], filter: 'inbound' }),
      await net.capture(`out-of-band-${node}`, { at: [gateway.namespace, 'oob'] }),
    );
  }
  await use();
  generation = (await net.a.numbers()).generation;
  search = new KeySearch(knownKeys(Math.max(generation, (await net.b.numbers()).generation), spis()));
  await readMemory();
  await writeHeaps();
  await replaceDataplane();
  await Promise.all(captures.map((capture) => capture.stop()));
}, 300_000);
afterAll(async () => {
  for (const tap of taps) tap.kill('SIGKILL');
  await net?.close();
});

/** Exchanges keys, has requests refused, rotates, fails, and runs the commands that print. */
async function use(): Promise<void> {
  const { host1, host2, a, b } = net;
  await reached(host1, host2);
  await ping(host1.namespace, host2.v6, { waitS: 1 });
  await until('b has refused', () => net.a.log().includes('PEER_REFUSED'));
  await run(['flows', '--json']);
  await Promise.all([a.rotate(), b.rotate()]);
  // Some of these are refused, because the rotation before is not complete.
  await run(['rotate', '--json'], ['rotate']);
  await until('the rotations are over', async () => {
    const all = await Promise.all([a.numbers(), b.numbers()]);
    return all.every(({ unansweredFlows, drainLeftMs }) => unansweredFlows === 0 && drainLeftMs === 0);
  });
  await reached(host2, host1);
  await offerBadly();
  await run(['flows', '--json'], ['flows'], ['status', '--json'], ['status'], ['pipeline', '--json']);
  await run(['audit', '--json'], ['audit', 'verify', '--json'], ['sampling', '--json']);
}

const reached = (from: Host, to: Host) =>
  until('a host reaches the other', async () => (await ping(from.namespace, to.v4)).received === 1);

/** Runs commands of `psp` at both gateways. */
async function run(...commands: string[][]): Promise<void> {
  for (const words of commands) {
    for (const gateway of [net.a, net.b]) {
      const { stdout, stderr } = await gateway.ask(...words);
      printed += `${stdout}${stderr}`;
    }
  }
}

/** Gateway b's certificate offers a known key to gateway a, in requests that a refuses with an error. */
async function offerBadly(): Promise<void> {
  const key = masterKey(1).toString('hex');
  for (const offer of [
    { spi: 0, key: key.slice(0, 32) },
    { spi: 0x12345, key },
  ]) {
    const request = {
      tls: join(net.b.files, 'tls'),
      endpoint: '198.51.100.1:3000',
      version: 0,
      source: net.host2.v4,
      destination: net.host1.v4,
      address: '192.0.2.2',
      mac: '02:00:00:00:00:01',
      offers: [offer],
      times: 1,
    };
    const agent = fromPackageRoot('dist/test/e2e/agents/tunnel_asker.js');
    // The command line of the agent has the key, so the message of its own failure is all that counts.
    const { code, stdout, stderr } = await net.b.namespace.try(process.execPath, [
      agent,
      JSON.stringify(request),
    ]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/INVALID_ARGUMENT/);
    printed += stderr;
  }
}

/** All SPIs that a log, a command or a tap named. */
function spis(): Set<number> {
  const texts = [
    printed,
    net.a.log(),
    net.b.log(),
    ...files(net.folder, /tap-/).map((file) => readFileSync(file, 'utf8')),
  ];
  const found = texts.flatMap((text) => [...text.matchAll(/\b0x([0-9a-f]{8})\b/g)]);
  return new Set(found.map(([, digits]) => Number.parseInt(digits as string, 16)));
}

async function readMemory(): Promise<void> {
  const pid = net.a.pidOf('dataplane') as number;
  await stopped(pid, async () => {
    for (const { octets, dumped } of memoryOf(pid)) {
      const hits = search.find(octets);
      memory.all.push(...hits);
      if (dumped) memory.dumped.push(...hits);
    }
  });
}

/** The services that have keys in JavaScript, or could have, write its heap. */
async function writeHeaps(): Promise<void> {
  const pids = [net.a, net.b].flatMap((gateway) =>
    services.filter(readsKeys).map((service) => gateway.pidOf(service) as number),
  );
  for (const pid of pids) signal(pid, 'SIGUSR2');
  await until('all heap snapshots are complete', () => {
    const written = files(heaps);
    return written.length === pids.length && written.every(endsWithBrace);
  });
}

const readsKeys = (service: Service): boolean => serviceRow(service).readsBusSecret;

/** Whether the last octet but white space is that of a complete JSON object. */
function endsWithBrace(file: string): boolean {
  const opened = openSync(file, 'r');
  const tail = Buffer.alloc(4);
  const read = readSync(opened, tail, 0, tail.length, Math.max(0, fstatSync(opened).size - tail.length));
  closeSync(opened);
  return tail.toString('latin1', 0, read).trimEnd().endsWith('}');
}

/** Kills gateway a's dataplane as a crash does, and uses the one that replaces it. */
async function replaceDataplane(): Promise<void> {
  const pid = net.a.pidOf('dataplane') as number;
  signal(pid, 'SIGABRT');
  await until('another dataplane runs', () => (net.a.pidOf('dataplane') ?? pid) !== pid);
  await reached(net.host1, net.host2);
}

/** The files below a folder whose path matches. */
function files(folder: string, name: RegExp = /./): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && name.test(entry.name))
    .map(({ parentPath, name: file }) => join(parentPath, file));
}

/** What is found in any piece. */
function found(pieces: Iterable<Buffer>): string[] {
  const all = new Set<string>();
  for (const piece of pieces) for (const what of search.find(piece)) all.add(what);
  return [...all];
}

it('the search finds a key in what programs commonly make of it', () => {
  const key = masterKey(1);
  const around = (before: number) => Buffer.concat([Buffer.alloc(before, 7), key, Buffer.alloc(9, 7)]);
  const planted = [
    key.toString('hex'),
    key.toString('hex').toUpperCase(),
    key.toString('latin1'),
    JSON.stringify(key),
    JSON.stringify(new Uint8Array(key)),
    JSON.stringify([...key], undefined, 1).replace(/\s+/g, ' '),
    inspect(key),
    ...[0, 1, 2].flatMap((before) => [
      around(before).toString('base64'),
      around(before).toString('base64url'),
    ]),
  ].map((text) => Buffer.from(`"${text}"`));
  const keys = new KeySearch(new Map([['planted', key]]));
  for (const octets of [...planted, around(1), around(1).subarray(0, 17)]) {
    expect(keys.find(octets), octets.toString('latin1')).not.toEqual([]);
  }
  for (const octets of [around(1).subarray(0, 16), key.subarray(1), Buffer.from(key).reverse()]) {
    expect(keys.find(octets)).not.toContain('planted, octets from 0 on, as octets');
  }
});

it('the locked memory of a dataplane has its two master keys and keys of SPIs, and no master key before them', () => {
  const found = new Set(memory.all);
  for (let each = 1; each <= generation; each++) {
    expect(found.has(`master key ${each}, octets from 0 on, as octets`)).toBe(each >= generation - 1);
  }
  expect(memory.all.some((what) => what.startsWith('key of SPI'))).toBe(true);
});

it('a core dump of a dataplane has none', () => {
  expect(memory.dumped).toEqual([]);
});

it('the kernel writes no core dump of a service, and a killed dataplane left none', () => {
  // The files in /proc of a process that is not dumpable belong to root (proc(5)).
  const pids = [net.a, net.b].flatMap((gateway) => services.map((service) => gateway.pidOf(service)));
  const owners = new Set(pids.map((pid) => statSync(`/proc/${pid}/environ`).uid));
  if (readFileSync('/proc/sys/fs/suid_dumpable', 'utf8').trim() !== '1') expect(owners).toEqual(new Set([0]));
  expect(readdirSync('.').filter((name) => /^core(\.\d+)?$/.test(name))).toEqual([]);
});

it('the heaps of JavaScript have none', () => {
  const snapshots = files(heaps);
  expect(snapshots.some((file) => readFileSync(file, 'utf8').includes('evt.flow.missed'))).toBe(true);
  expect(found(snapshots.map((file) => readFileSync(file)))).toEqual([]);
});

it('logs at trace level, audit trails, JetStream files, captures of the bus and taps have none', () => {
  const captured = readFileSync(captures[0]?.file as string);
  expect(captured.includes('evt.flow.missed')).toBe(true);
  expect(files(net.folder, /^tap-/).every((file) => readFileSync(file, 'utf8').includes('cmd.flow.'))).toBe(
    true,
  );
  expect(files(join(net.folder, 'state-a'), /\.blk$/)).not.toEqual([]);
  expect(net.a.log()).toContain('REQUEST_INVALID');
  const hits = files(net.folder).flatMap((file) =>
    search.find(readFileSync(file)).map((what) => `${file}: ${what}`),
  );
  expect(hits).toEqual([]);
});

it('what commands print, texts of errors among it, has none', () => {
  expect(printed).toMatch(/INVALID_ARGUMENT/);
  expect(printed).toMatch(/PEER_REFUSED/);
  expect(search.find(Buffer.from(printed))).toEqual([]);
});

it('environments and command lines of processes have none', () => {
  const pids = [net.a, net.b].flatMap(({ namespace }) => namespace.processes());
  const read = pids.flatMap((pid) =>
    ['environ', 'cmdline'].map((name) => readFileSync(`/proc/${pid}/${name}`)),
  );
  expect(read.some((octets) => octets.includes('dataplane/main.js'))).toBe(true);
  expect(found(read)).toEqual([]);
});
