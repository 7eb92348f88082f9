// SPDX-License-Identifier: Apache-2.0
// A child that hangs is restarted like one that died, without intervention, and unused flows are keyed again. SIGSTOP
// simulates a process that accepts connections and answers nothing.
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Child } from './gateway.js';
import { signal, until } from './namespace.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

let net: Topology;
let used = 0;
beforeAll(async () => {
  net = await Topology.create();
  net.addAddresses(10);
  await net.start();
});
afterAll(() => net?.close());

it.each<{ children: Child[] }>([
  { children: ['nats-server'] },
  { children: ['nats-audit', 'keyexchange', 'sampler', 'stats'] },
  { children: ['dataplane'] },
])(
  '$children that hang are restarted, and the node is well',
  async ({ children }) => {
    const pids = () => children.map((child) => net.a.pidOf(child));
    const hung = pids() as number[];
    for (const pid of hung) signal(pid, 'SIGSTOP');
    await until(
      'all are restarted',
      () => pids().every((pid, i) => pid !== undefined && pid !== hung[i]),
      120_000,
    );
    for (const child of children) {
      expect(net.a.log()).toContain(`"child":"${child}","msg":"child answers no probe and is ended"`);
    }
    const [source, to] = [`10.1.0.${100 + used}`, `10.2.0.${100 + used++}`];
    const reached = async () => (await ping(net.host1.namespace, to, { source, waitS: 2 })).received === 1;
    await until('a new flow is keyed', reached, 60_000);
    await until(
      'the node is well',
      async () => (await net.a.psp('status')).stdout.includes('is well'),
      60_000,
    );
  },
  300_000,
);
