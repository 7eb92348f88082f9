// SPDX-License-Identifier: Apache-2.0
// What a fifth service costs: its folder, and one row in the table of services. The test copies the sources, adds both
// and nothing else, builds the copy, and runs a node from it.
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, Namespace, run, until } from './namespace.js';

const row = `  echo: {
    description: 'Counts, and nothing else',
    uid: 70_006,
    readsBusSecret: false,
    hasReplicas: true,
    gauges: ['waiting'],
    status: ServiceStatus,
  },
`;

const main = `// SPDX-License-Identifier: Apache-2.0
import '../shared/process/signals.js';
import { countersOf } from '../shared/counters.js';
import { serviceConfigOf } from '../shared/service/service_config.js';
import { runService } from '../shared/service/service_process.js';
import { ServiceRuntime } from '../shared/service/service_runtime.js';

await runService('echo', async (node, log, drop) => {
  const runtime = new ServiceRuntime('echo', serviceConfigOf(node, 'echo'), log);
  await runtime.begin(drop);
  const counters = countersOf({ echoes: 7, waiting: 3 });
  const health = [{ part: 'echo', message: 'nobody listens; say something', sinceMs: 1n }];
  const joined = runtime.join(() => ({ health, counters, status: {}, stats: {} }));
  return { joined, stop: () => runtime.leave() };
});
`;

const nodeFile = (folder: string) => `node: a
unsecured: { port: veth-host, gateway: 10.1.0.1/24 }
secured: { port: veth-wire, address: 192.0.2.1/24 }
keyExchange: { listen: "127.0.0.1:3000" }
vips: [10.1.0.0/24]
stateDir: ${folder}/state
`;

let folder: string;
let namespace: Namespace;
let up: ChildProcess;
const log = () => readFileSync(join(folder, 'log'), 'utf8');
const psp = () => join(folder, 'dist/cli/psp.js');
const file = () => join(folder, 'nodes/a/node.yaml');
const ask = (...args: string[]) => namespace.try(process.execPath, [psp(), ...args, '-c', file()]);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'psp-fifth-'));
  // Services run as users of their own.
  chmodSync(folder, 0o755);
  for (const path of ['services', 'cli', 'native/addon', 'proto/gen', 'package.json']) {
    cpSync(fromPackageRoot(path), join(folder, path), { recursive: true });
  }
  for (const path of ['node_modules', 'build']) symlinkSync(fromPackageRoot(path), join(folder, path));
  const table = join(folder, 'services/shared/contracts.ts');
  const sources = readFileSync(table, 'utf8').split('} as const satisfies Record<string, ServiceRow>;');
  expect(sources).toHaveLength(2);
  writeFileSync(table, sources.join(`${row}} as const satisfies Record<string, ServiceRow>;`));
  mkdirSync(join(folder, 'services/echo'));
  writeFileSync(join(folder, 'services/echo/main.ts'), main);
  const settings = {
    extends: fromPackageRoot('tsconfig.json'),
    compilerOptions: {
      rootDir: folder,
      outDir: join(folder, 'dist'),
      typeRoots: [fromPackageRoot('node_modules/@types')],
    },
    include: ['services', 'cli'].map((each) => join(folder, each)),
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(settings));
  run(fromPackageRoot('node_modules/.bin/tsc'), '-p', folder);

  namespace = new Namespace(`psp-${randomBytes(3).toString('hex')}-fifth`);
  for (const port of ['veth-host', 'veth-wire']) {
    namespace.ip('link', 'add', port, 'type', 'veth', 'peer', 'name', `${port}2`);
    namespace.ip('link', 'set', `${port}2`, 'up');
  }
  mkdirSync(join(folder, 'from'));
  writeFileSync(join(folder, 'from/a.yaml'), nodeFile(folder));
  run(process.execPath, psp(), 'init', 'a', '--dir', join(folder, 'nodes'), '--from', join(folder, 'from'));
  const [err, out] = [openSync(join(folder, 'log'), 'w'), openSync(join(folder, 'out'), 'w')];
  up = namespace.spawn(process.execPath, [psp(), 'up', '-c', file()], ['ignore', out, err]);
  for (const each of [err, out]) closeSync(each);
  await until(
    () => `psp up is ready: ${log().slice(-2000)}`,
    () => {
      if (up.exitCode !== null) throw new Error(`psp up ended: ${log().slice(-2000)}`);
      return readFileSync(join(folder, 'out'), 'utf8').includes('ready');
    },
  );
});
afterAll(async () => {
  up?.kill('SIGTERM');
  if (up) await ended(up);
  await namespace?.delete();
  rmSync(folder, { recursive: true, force: true });
});

it('runs as a user of its own, as a child of psp up', () => {
  const pid = namespace
    .processes()
    .find((each) => readFileSync(`/proc/${each}/cmdline`, 'utf8').includes('services/echo/main.js'));
  expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^Uid:\s+70006\s+70006\s+70006\s+70006$/m);
});

it('is shown by psp status, with its faults and its counters', async () => {
  const { stdout, stderr } = await ask('status', '--json');
  expect(stderr).toBe('');
  const status = JSON.parse(stdout);
  expect(status.services.map(({ name }: { name: string }) => name).sort()).toEqual([
    'dataplane',
    'echo',
    'keyexchange',
    'sampler',
    'stats',
  ]);
  expect(status.echo).toMatchObject([{ node: 'a', health: [{ part: 'echo' }] }]);
  expect(status.echo[0].counters).toContainEqual({ name: 'echoes', value: 7 });
  const text = await ask('status', '--counters');
  expect(text.stdout).toMatch(/^! echo \(for .*\): nobody listens/m);
  expect(text.stdout).toMatch(/^echo +echoes +7$/m);
});

it('has metrics, and gauges by its row', async () => {
  const metrics = await until('the metrics have the service', async () => {
    const { stdout } = await namespace.try('curl', ['-s', 'http://127.0.0.1:9464/metrics']);
    return stdout.includes('psp_service_events_total{service="echo"') && stdout;
  });
  expect(metrics).toContain('psp_service_replicas{service="echo"} 1');
  expect(metrics).toMatch(/^psp_service_events_total\{service="echo",name="echoes",replica="\w+"\} 7$/m);
  expect(metrics).toMatch(/^psp_service_level\{service="echo",name="waiting",replica="\w+"\} 3$/m);
  expect(metrics).toMatch(/^psp_service_faults\{service="echo",replica="\w+"\} 1$/m);
});

it('has the rights that its row gives it on the bus, and no others', () => {
  const rights = `import { rightsOf } from '${folder}/dist/services/shared/bus/nats_config.js';
    console.log(JSON.stringify(rightsOf('a', 'echo', 'bus')));`;
  const { publish, subscribe } = JSON.parse(run(process.execPath, '--input-type=module', '-e', rights));
  expect(publish).toEqual(['psp.v1.a.stats.echo.*']);
  expect(subscribe.filter((each: string) => !each.startsWith('$SRV.'))).toEqual([
    '_INBOX_echo.>',
    'psp.v1.a.query.echo.status',
  ]);
});

it('has an audit of its own', async () => {
  const events = await until('the stream has its first events', async () => {
    const { stdout } = await ask('audit', '--json');
    return stdout.includes('psp:/a/echo') && stdout;
  });
  expect(events).toMatch(/"type":"psp\.service\.started","source":"psp:\/a\/echo"/);
});
