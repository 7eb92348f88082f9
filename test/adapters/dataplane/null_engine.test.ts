// SPDX-License-Identifier: Apache-2.0
// The real dataplane, on a real nats-server, with the null engine of test/native/null_engine: the addon, the service
// and the CLI need nothing of an engine but its interface.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { checkMachine } from '../../../cli/node/machine.js';
import { run } from '../../../cli/program.js';
import type { Addon } from '../../../native/addon/load.js';
import { InstallResult } from '../../../proto/gen/bus.js';
import { openEngine } from '../../../services/dataplane/adapters/engine.js';
import { startDataplane } from '../../../services/dataplane/service.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { loadConfig } from '../../../services/shared/config/config.js';
import { contracts } from '../../../services/shared/contracts.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import type { RunningService } from '../../../services/shared/service/service_process.js';
import { until } from '../../e2e/namespace.js';
import { AuditServer, NatsServer } from '../shared/nats_server.js';
import { longMs } from '../shared/waiting.js';
import { flow, KeyExchange } from './rig.js';

const addon = createRequire(import.meta.url)(fromPackageRoot('build/native/psp_addon_null.node')) as Addon;
const folder = mkdtempSync(join(tmpdir(), 'psp-null-'));
const file = join(folder, 'node.yaml');
const secret = randomBytes(32);
let nats: NatsServer;
let audit: AuditServer;
let operator: Bus;
let dataplane: RunningService;
let keyexchange: KeyExchange;

/** Writes a node file with these keys of `engine:` and these lines. */
function writeFile(engine: string, lines = ''): void {
  writeFileSync(
    file,
    `node: a
unsecured: { port: net_null0 }
secured: { port: net_null1, address: 192.0.2.1/24 }
keyExchange: { listen: "127.0.0.1:1" }
vips: [10.1.0.0/24]
bus: { listen: "${nats.listen}" }
audit: { listen: "${audit.listen}" }
peers: { b: { endpoint: "127.0.0.1:2", vips: [10.2.0.0/24] } }
tunnels: [{ local: 10.1.0.1, remote: 10.2.0.1 }]
engine: { ${engine} }
stateDir: ${folder}/state
${lines}
`,
  );
}

function start(engine: string): Promise<RunningService> {
  writeFile(engine);
  return startDataplane(
    loadConfig(file, {}),
    pino({ level: 'silent' }),
    () => ({ dropped: false, reason: 'test' }),
    (config, epoch, listener) => openEngine(config, epoch, listener, addon),
  );
}

/** What a command of the CLI prints as JSON. */
async function psp(...args: string[]): Promise<Record<string, unknown>> {
  let printed = '';
  const complain = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    printed += chunk;
    return true;
  });
  try {
    await run([...args, '--json', '-c', file]);
  } finally {
    write.mockRestore();
    complain.mockRestore();
  }
  return JSON.parse(printed) as Record<string, unknown>;
}

beforeAll(async () => {
  nats = await NatsServer.start('a');
  audit = await AuditServer.start('a');
  writeFileSync(join(folder, 'bus.secret'), `${secret.toString('hex')}\n`, { mode: 0o640 });
  mkdirSync(join(folder, 'nats'));
  for (const user of ['dataplane', 'operator'] as const) {
    writeFileSync(join(folder, `nats/${user}.password`), `${nats.passwords[user]}\n`, { mode: 0o640 });
  }
  keyexchange = new KeyExchange(await nats.connect('keyexchange'), secret);
  await keyexchange.ready();
  operator = await nats.connect('operator');
});
afterAll(async () => {
  await dataplane?.stop();
  await Promise.all([operator.close(), keyexchange.bus.close()]);
  await nats.remove();
  await audit.remove();
  rmSync(folder, { recursive: true });
});

describe('the dataplane on the null engine', () => {
  it('is refused what the engine cannot do, all at once', async () => {
    const refused = await start('kind: null_engine, lcores: 2').catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'ENGINE_UNSUPPORTED' });
    expect((refused as Error).message.split('\n').slice(1)).toEqual([
      '  engine.lcores: expected at most 1, received 2',
      '  engine.maxFlows: expected at most 4096, received 262144',
    ]);
    expect(addon.engines).toEqual(['null_engine']);
    const [rows] = addon.engineCounters();
    expect(rows).toMatchObject({ kind: 'null_engine', counters: { pipes: [], drops: [], values: {} } });
    await expect(start('kind: software')).rejects.toMatchObject({
      code: 'ENGINE_MISSING',
      message: expect.stringContaining('change it to one of null_engine,'),
    });
  });

  it('has the same faults in psp config check, which starts nothing', async () => {
    writeFile('kind: null_engine, lcores: 2', 'capture: { egress: true }');
    const { faults } = await checkMachine(loadConfig(file, {}), addon);
    // The servers of this test listen already, and there are no ports.
    const isOfEngine = (path: string) => !/^\/|\.(?:port|listen)$/.test(path);
    const found = faults.filter(({ path }) => isOfEngine(path));
    expect(found).toEqual([
      { path: 'engine.lcores', expected: 'at most 1', received: '2' },
      { path: 'engine.maxFlows', expected: 'at most 4096', received: '262144' },
      {
        path: 'capture.egress',
        expected: 'nothing, as the engine takes no copies there',
        received: 'true',
      },
    ]);
  });

  it('offers, installs, accepts and lists flows', async () => {
    dataplane = await start('kind: null_engine, maxFlows: 4096, drainMs: 100');
    keyexchange.epoch = await until('the dataplane answers', () =>
      operator.request(contracts.dataplaneStatus, {}, 2000).then(
        ({ epoch }) => epoch,
        () => undefined,
      ),
    );
    const { want, keys } = await keyexchange.want(1);
    expect(want.offers[0]).toMatchObject({ spi: 1, version: 1, number: 1n });
    expect(keys[0]?.length).toBe(32);
    expect(keys[0]?.every((octet) => octet === 0)).toBe(false);
    const { results } = await keyexchange.install(keyexchange.installOf(want));
    expect(results).toEqual([InstallResult.INSTALL_RESULT_INSTALLED]);

    const request = keyexchange.acceptOf([flow(2)], [keyexchange.offer()]);
    const answer = await keyexchange.accept(request);
    expect(keyexchange.openAnswer(request, answer)[0]?.length).toBe(32);
    const { rows } = await operator.request(contracts.dataplaneFlows, { cursor: 0n, limit: 100 }, longMs);
    const hex = (octets?: Uint8Array) => Buffer.from(octets ?? []).toString('hex');
    const states = rows.map((row) => [row.state, hex(row.flow?.source), hex(row.flow?.destination)]);
    const [us, one, two] = ['0a010001', '0a020001', '0a020002'];
    expect(states.sort()).toEqual([
      ['keyed', us, one],
      ['keyed', us, two],
      ['offered', one, us],
      ['offered', two, us],
    ]);
  });

  it('is seen by psp status and psp flows, and rotated by psp rotate', async () => {
    const status = await psp('status');
    expect(status).toMatchObject({ dataplane: { node: 'a', crypto: 'none', generation: 1 } });
    const flows = (await psp('flows')) as { flows: { source: string; destination: string }[] };
    expect(flows.flows.length).toBe(4);
    await psp('rotate');
    const { generation } = await operator.request(contracts.dataplaneStatus, {}, longMs);
    expect(generation).toBe(2);
  });

  it('is refused sampling at points that the engine does not have, and may turn it off', async () => {
    expect(await psp('sampling', '4')).toEqual({
      error: {
        code: 'ENGINE_UNSUPPORTED',
        message: `${file} asks for more than the engine "null_engine" can do; change these keys, or choose another engine.kind:
  sampling.points[0]: expected nothing, as the engine takes no copies there, received sealed`,
        retryable: false,
      },
    });
    expect(await psp('sampling', 'off')).toMatchObject({ egressLog2: null });
  });
});
