// SPDX-License-Identifier: Apache-2.0
// Rotations of the master key under traffic, by two nodes in namespaces. First both gateways rotate once a second for five
// minutes (`--seconds`) while hosts send over 100 flows in each direction; then one of them rotates while 10 000 tunnels
// have traffic. It counts the datagrams that do not arrive, and measures the time until the peer has new keys for all
// tunnels. Flows that are idle meanwhile must work afterwards.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromPackageRoot } from '../services/shared/process/package_root.js';
import {
  idleFlowWorks,
  keyAll,
  type Load,
  rotateBoth,
  settled,
  underLoad,
} from '../test/e2e/rotation_load.js';
import { Topology } from '../test/e2e/topology.js';
import { exact, figure, row } from './shared/figure.js';
import { countOf, endByGoals, optionsOf, report } from './shared/result.js';

/** Flows in each direction: the square of these numbers of addresses. */
const fewPerHost = 10;
const manyPerHost = 100;
const idleFlows = 10;
const firstAddress = 100;
const manySeconds = 10;
const rotations = 5;
const reachS = 2;

const { json, seconds: wanted } = optionsOf({ seconds: { type: 'string', default: '300' } });
const seconds = countOf('seconds', wanted);

const dropsOf = ({ drops }: Load): string =>
  Object.entries(drops)
    .map(([reason, count]) => `${count} ${reason}`)
    .join(', ') || 'none';

/** Rotates the key of gateway a, and waits until its peer has new keys for all tunnels. */
async function rotationMs({ a }: Topology): Promise<number> {
  const agent = fromPackageRoot('dist/bench/agents/rotation_time.js');
  const { code, stdout, stderr } = await a.namespace.try(process.execPath, [
    agent,
    join(a.files, 'node.yaml'),
  ]);
  if (code !== 0) throw new Error(`the rotation failed: ${stderr.trim()}`);
  return Number(stdout);
}

const net = await Topology.create({ outer: 4 });
try {
  await net.start();
  net.addAddresses(manyPerHost + idleFlows);
  const idle = Array.from({ length: idleFlows }, (_, i) => firstAddress + manyPerHost + i);

  await keyAll(net, fewPerHost);
  for (const address of idle) await keyAll(net, 1, address);
  const few = await underLoad(net, { perHost: fewPerHost, turns: seconds * 50, everyMs: 20 }, () =>
    rotateBoth(net),
  );
  await settled(net);
  const survivors: number[] = [];
  for (const address of idle) if (await idleFlowWorks(net, address)) survivors.push(address);

  await keyAll(net, manyPerHost);
  await settled(net);
  const times: number[] = [];
  const many = await underLoad(
    net,
    { perHost: manyPerHost, turns: manySeconds * rotations, everyMs: 1000 },
    async () => {
      if (times.length === rotations) return sleep(100);
      times.push((await rotationMs(net)) / 1000);
      await sleep(1000);
    },
  );
  const rows = [
    row(
      { what: 'datagrams that arrive, 100 flows each way, a rotation each second' },
      exact(few.received),
      exact(few.sent),
      { reach: 1 },
    ),
    row({ what: 'idle flows that work after these rotations' }, exact(survivors.length), exact(idleFlows), {
      reach: 1,
    }),
    row(
      { what: 'datagrams that arrive, 10 000 tunnels, rotations of one gateway' },
      exact(many.received),
      exact(many.sent),
      { reach: 1 },
    ),
    row({ what: 'rotation with 10 000 tunnels, seconds' }, figure(times), exact(reachS), {
      costs: true,
      reach: 1,
    }),
  ];
  report(
    {
      bench: 'rotation',
      unit: 'what the row names',
      against: 'what was sent, or the limit',
      rows,
      notes: [
        `100 flows: ${few.rotations} rotations of both gateways in ${seconds} s; packets dropped: ${dropsOf(few)}`,
        `10 000 tunnels: ${times.length} rotations; packets dropped: ${dropsOf(many)}`,
      ],
    },
    json,
  );
  endByGoals(rows);
} finally {
  await net.close();
}
