// SPDX-License-Identifier: Apache-2.0
// A peer that answers for too few or too many tunnels: no part of its answer is used, held packets are freed and
// counted, one code reports it, and the next flow works.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, until } from './namespace.js';
import { grew, type Numbers } from './numbers.js';
import { Topology } from './topology.js';
import { linesOf, ping, send } from './traffic.js';

const datagrams = 5;
let net: Topology;

beforeAll(async () => {
  net = await Topology.create();
  net.addAddresses(1);
  await net.a.start();
});
afterAll(() => net?.close());

describe.each([
  { kind: 'one tunnel too few', more: -1, gave: 0, port: 7001, destination: () => net.host2.v4 },
  { kind: 'one tunnel too many', more: 1, gave: 2, port: 7002, destination: () => '10.2.0.100' },
])('an answer for $kind', ({ more, gave, port, destination }) => {
  let before: Numbers;
  let after: Numbers;
  let sent: { psp: number; others: string[] };
  let said: string[];

  beforeAll(async () => {
    before = await net.a.numbers();
    const wire = await net.capture(`wire-${port}`);
    const peer = net.b.namespace.spawn(process.execPath, [
      fromPackageRoot('dist/test/e2e/agents/miscounting_peer.js'),
      join(net.b.files, 'tls'),
      '198.51.100.2:3000',
      `${more}`,
    ]);
    said = linesOf(peer);
    await until('the peer listens', () => said[0] === 'listening');
    await send(net.host1.namespace, [{ destination: destination(), port, count: datagrams }]);
    // Held until holdMs (3 s) is over: the code leaves the peer's action open, so the want is repeated.
    after = await until('what was held is freed', async () => {
      const now = await net.a.numbers();
      return grew(before, now, 'unanswered') > 0 && now.values.held === 0 && now;
    });
    peer.kill('SIGTERM');
    await ended(peer);
    await wire.stop();
    sent = wire.summary([]);
  });

  it('was given for the one requested flow', () => {
    expect(new Set(said.slice(1))).toEqual(new Set([`asked for 1, gave ${gave}`]));
  });

  it('frees every held packet, and counts each under one reason', () => {
    expect(grew(before, after, 'heldTotal')).toBe(datagrams);
    expect(after.values).toMatchObject({ held: 0, wanted: 0, wants: 0 });
    const reason = 'egress/no_answer';
    expect((after.drops[reason] ?? 0) - (before.drops[reason] ?? 0)).toBe(datagrams);
  });

  it('installs no key and sends nothing', () => {
    expect(after.values.keyed).toBe(0);
    expect(after.exchange.tunnelsInstalled).toBe(0);
    expect(sent).toMatchObject({ psp: 0, others: [] });
  });

  it('is reported as RESPONSE_INVALID by counter, status and log', async () => {
    expect(after.exchange.RESPONSE_INVALID ?? 0).toBeGreaterThan(before.exchange.RESPONSE_INVALID ?? 0);
    expect(after.peers.b).toMatchObject({ answered: 0, refused: 0, lastCode: 'RESPONSE_INVALID' });
    expect((await net.a.psp('status')).stdout).toContain('RESPONSE_INVALID');
    const lines = net.a.log().split('\n');
    const line = lines.find((text) => text.includes(`for ${gave} tunnels instead of 1`));
    expect(JSON.parse(line ?? '{}')).toMatchObject({ peer: 'b', code: 'RESPONSE_INVALID' });
    expect(JSON.parse(line ?? '{}').flow).toContain(destination());
  });
});

describe('the next flow', () => {
  it('works once the peer counts correctly, and so do those that failed', async () => {
    await net.b.start();
    const before = await net.a.numbers();
    expect((await ping(net.host1.namespace, net.host2.v6, { count: 3 })).received).toBeGreaterThan(0);
    expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
    expect((await ping(net.host1.namespace, '10.2.0.100')).received).toBe(1);
    const after = await net.a.numbers();
    expect(after.values).toMatchObject({ held: 0, keyed: 3 });
    expect(after.peers.b?.answered).toBeGreaterThan(before.peers.b?.answered ?? 0);
  });
});
