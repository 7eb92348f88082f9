// SPDX-License-Identifier: Apache-2.0
// Two gateways on a machine that eight busy processes share: the re-offers of a large rotation complete, packets held
// towards a dead peer are freed in time, and the next flow works. With PSP_TEST_LONG each busy process is a separate
// session, so that a kernel that divides the processor between sessions gives it as much as a whole gateway.
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { long } from '../long.js';
import { ended, signal, until } from './namespace.js';
import { dropped } from './numbers.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

const reoffers = 20_000;
const reoffersMs = 120_000;
const holdMs = 3000;
const busyProcesses = 8;
const busyPerSession = long ? 1 : busyProcesses;

let net: Topology;
const busy: ChildProcess[] = [];

beforeAll(async () => {
  net = await Topology.create({ edit: (_, yaml) => yaml.replace('10.2.0.0/24', '10.2.0.0/15') });
  await net.start();
});
afterAll(async () => {
  const gone = busy.map(ended);
  for (const { pid } of busy) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  await Promise.all([...gone, net?.close()]);
});

/** Starts busy-loop processes in one session. */
function startBusy(count: number): void {
  const loops = 'while :; do :; done & '.repeat(count);
  busy.push(spawn('sh', ['-c', `${loops} wait`], { stdio: 'ignore', detached: true }));
}

/** Sends a datagram to each of the 65 536 addresses of a /16. */
const scan = async (prefix: string) => {
  const args = [fromPackageRoot('dist/test/e2e/agents/udp_scan.js'), prefix];
  expect(Number((await net.host1.namespace.try(process.execPath, args)).stdout)).toBe(65_536);
};

/** Undefined if a busy service did not answer in time. */
const reading = () => net.a.numbers().catch(() => undefined);

it('has 20 000 tunnels from a scan', async () => {
  for (let keyed = 0; keyed < reoffers; keyed = (await reading())?.values.keyed ?? 0) await scan('10.2');
});

it('does 20 000 re-offers within 120 s beside eight busy processes', async () => {
  const { keyed = 0 } = (await net.a.numbers()).values;
  expect(keyed).toBeGreaterThanOrEqual(reoffers);
  for (let left = busyProcesses; left > 0; left -= busyPerSession) startBusy(busyPerSession);
  const startMs = Date.now();
  // Every flow with a key has its reverse flow, which is offered again.
  const generation = await net.a.rotate();
  let left = Number.POSITIVE_INFINITY;
  await until(
    () => `20 000 of ${keyed} re-offers are done, of which ${left} are left`,
    async () => {
      const now = await reading();
      if (now?.generation === generation) left = now.unansweredFlows;
      return left <= keyed - reoffers;
    },
    reoffersMs,
  );
  console.log(`20 000 of ${keyed} re-offers took ${Date.now() - startMs} ms`);
  expect((await ping(net.host1.namespace, net.host2.v4, { count: 5, waitS: 5 })).received).toBeGreaterThan(0);
});

it('holds no packet towards a dead peer longer than twice holdMs after the last one arrived', async () => {
  const stopped = net.b.namespace.processes();
  for (const pid of stopped) signal(pid, 'SIGSTOP');
  try {
    await scan('10.3');
    let before = await reading();
    let after: typeof before;
    do {
      before = after ?? before;
      await sleep(2 * holdMs);
      after = await reading();
    } while (!before || !after || before.ports.unsecured?.rxPackets !== after.ports.unsecured?.rxPackets);
    expect(after.values).toMatchObject({ held: 0, wanted: 0 });
    expect(
      dropped(before, after, 'egress/no_answer') + (before.drops['egress/no_answer'] ?? 0),
    ).toBeGreaterThan(0);
  } finally {
    for (const pid of stopped) signal(pid, 'SIGCONT');
  }
  await until('the next flow works', async () => {
    return (await ping(net.host1.namespace, net.host2.v6, { waitS: 2 })).received === 1;
  });
});
