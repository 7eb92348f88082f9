// SPDX-License-Identifier: Apache-2.0
// Options of a node file that give up protection, at one gateway of a pair whose other gateway uses none of them:
// traffic that bypass names passes in plaintext and no other traffic, `ingressAcl: false` admits other flows of a
// peer, captures store packets that failed. Each is reported in status, metrics, log and audit while it is in use.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import type { Gateway } from './gateway.js';
import { echo } from './host_tools.js';
import { type Namespace, until } from './namespace.js';
import { dropped, grew, type Numbers } from './numbers.js';
import { frame, ipv4, udp } from './packet_octets.js';
import { createPair } from './packet_pairs.js';
import { series } from './pages.js';
import { macIn, startFrames } from './raw_frames.js';
import { keysInto, sealed } from './sealed_by_hand.js';
import { hostInterface, type Topology } from './topology.js';
import { Listener, linesOf, send } from './traffic.js';

/** A host on the wire itself, without a gateway. */
const far = '192.0.2.99';
const named = 5353;
const rule = `${far}/32 udp port ${named}`;
const perSecond = 10;
const agent = (name: string) => fromPackageRoot(`dist/test/e2e/agents/${name}.js`);

let net: Topology;

beforeAll(async () => {
  const top = [
    'ingressAcl: false',
    `bypass: [{ prefix: ${far}/32, protocol: udp, port: ${named} }]`,
    `capture: { ingress: true, egress: true, perSecond: ${perSecond} }`,
  ];
  // Full packets of hosts do not fit the wire once they are sealed.
  net = await createPair({ outer: 4, wireMtu: 1500, terms: { a: { top: top.join('\n') } } });
  net.wire.ip('address', 'add', `${far}/24`, 'dev', 'wire');
  net.wire.ip('route', 'add', '10.1.0.0/24', 'via', '192.0.2.1');
  await net.start();
});
afterAll(() => net?.close());

const numbers = async (): Promise<{ a: Numbers; b: Numbers }> => ({
  a: await net.a.numbers(),
  b: await net.b.numbers(),
});

/** The operator's view of a node: `psp status`, the metrics, its log, its audit. */
async function told(gateway: Gateway) {
  const status = (await gateway.ask('status')).stdout;
  const audit = (await gateway.ask('audit', '--json')).stdout;
  const warnings = gateway
    .log()
    .split('\n')
    .filter((line) => line.includes('"level":"warn"'));
  return { status, metrics: await series(gateway), log: warnings.join('\n'), audit };
}

/** Sends frames once, and waits until the interface has sent them. */
async function sendOnce(namespace: Namespace, port: string, frames: Buffer[]): Promise<void> {
  const sent = () => Number(namespace.run('cat', `/sys/class/net/${port}/statistics/tx_packets`));
  const before = sent();
  const once = startFrames(namespace, port, frames, join(net.folder, 'once'), 3_000_000);
  await until('the frames are out', () => sent() >= before + frames.length);
  await once.stop();
}

describe('bypass', () => {
  it('carries the traffic that it names in plaintext in both directions, and nothing one port beside it', async () => {
    const answerers = [named, named + 1].map((port) =>
      net.wire.spawn(process.execPath, [agent('udp_answer'), `${port}`]),
    );
    const lines = answerers.map(linesOf);
    await until('the far host answers', () => lines.every(([line]) => line === 'listening'));
    const wire = await net.capture('bypass-wire', { filter: `udp and host ${far}` });
    const host = await net.capture('bypass-host', {
      at: [net.host1.namespace, hostInterface],
      filter: `udp and src host ${far}`,
    });
    const before = await numbers();
    const ask = (port: number, count: number) => ({ source: net.host1.v4, destination: far, port, count });
    // Traffic that must not pass goes first: once the rest has arrived, it will not come any more.
    await send(net.host1.namespace, [ask(named + 1, 3)]);
    await send(net.host1.namespace, [ask(named, 4)]);
    const after = await until('all have passed', async () => {
      const now = await net.a.numbers();
      return now.bypass[rule]?.ingressPackets === 4 && now;
    });
    // From another port of the remote host no packet is accepted, whatever its destination port.
    await send(net.wire, [{ destination: net.host1.v4, port: named, count: 5 }]);
    const last = await until('what came back beside it is dropped', async () => {
      const now = await net.a.numbers();
      return dropped(before.a, now, 'ingress/not_psp') >= 5 && now;
    });
    await Promise.all([wire.stop(), host.stop()]);
    for (const answerer of answerers) answerer.kill('SIGTERM');

    expect(last.bypass).toEqual({ [rule]: { rule, egressPackets: 4, ingressPackets: 4 } });
    expect(dropped(before.a, after, 'egress/no_peer')).toBeGreaterThanOrEqual(3);
    const texts = (name: typeof wire) => name.frames().map(({ octets }) => octets.toString('latin1'));
    const questions = [0, 1, 2, 3].map((i) => `${net.host1.v4} ${far} ${i}`);
    for (const [i, question] of questions.entries()) {
      expect(texts(wire).filter((text) => text.endsWith(question)).length).toBe(2);
      expect(texts(host)[i]).toMatch(new RegExp(`answer to: ${question}$`));
    }
    const ports = wire.frames().map(({ octets }) => [octets.readUInt16BE(34), octets.readUInt16BE(36)]);
    expect(ports.filter((ends) => ends.includes(named + 1))).toEqual([]);
    expect(texts(host).length).toBe(4);
  });

  it('opens the fence by exactly as much: the kernel passes what it names and nothing beside it', async () => {
    const wire = await net.capture('fence', { filter: `udp and dst host ${far}` });
    const to = macIn(net.wire, 'wire');
    const own = macIn(net.a.namespace, 'veth-wire');
    const [beside, within] = [named + 1, named].map((port) =>
      frame(
        to,
        own,
        0x0800,
        ipv4({ from: net.host1.v4, to: far, protocol: 17, payload: udp(port, Buffer.from('x')) }),
      ),
    ) as [Buffer, Buffer];
    const once = startFrames(
      net.a.namespace,
      'veth-wire',
      [beside, within],
      join(net.folder, 'fenced'),
      3_000_000,
    );
    await until('one is out', () => wire.summary([]).frames > 0);
    await once.stop();
    await wire.stop();
    expect(wire.frames().map(({ octets }) => octets.readUInt16BE(36))).toEqual([named]);
  });

  it('is empty by default: the other gateway sends nothing to that host', async () => {
    const before = await net.b.numbers();
    await send(net.host2.namespace, [{ destination: far, port: named, count: 3 }]);
    await until('it is dropped', async () => {
      return dropped(before, await net.b.numbers(), 'egress/no_peer') >= 3;
    });
    expect((await net.b.numbers()).bypass).toEqual({});
  });

  it('is reported in status, metrics, log and audit', async () => {
    const { status, log, audit } = await told(net.a);
    expect(status).toContain(`note bypass: traffic passes unencrypted, both ways, by bypass: ${rule}`);
    expect(status).toMatch(new RegExp(`PASSED UNENCRYPTED BY.*\n.*${rule}\\s+4\\s+4`));
    expect(log).toMatch(/"err":"bypass\[0\]: .*"less protection by configuration"/);
    expect(audit).toMatch(new RegExp(`"psp.bypass.configured".*"rule":"${rule}"`));
    await until('the metrics have it, too', async () => {
      const now = await series(net.a);
      const passed = (direction: string) =>
        now[`psp_bypass_packets_total{rule="${rule}",direction="${direction}"}`];
      return passed('egress') === 4 && passed('ingress') === 4;
    });
    const other = await told(net.b);
    expect(`${other.status}${other.log}${other.audit}`).not.toMatch(
      /bypass\.configured|UNENCRYPTED|less prot/,
    );
    expect(Object.keys(other.metrics).filter((name) => name.startsWith('psp_bypass'))).toEqual([]);
  });
});

describe('a packet of another flow under a valid SPI', () => {
  const port = 7401;
  /** The packets that a host receives when the peer sends one of another flow, then one of the right flow. */
  async function received(into: 'a' | 'b') {
    const way = await keysInto(net, into);
    const listener = await Listener.start((into === 'a' ? net.host1 : net.host2).namespace, port);
    const before = await way.into.numbers();
    const frames = [sealed(way, way.other, port, 'another flow'), sealed(way, way.agreed, port, 'agreed')];
    await sendOnce(net.wire, way.port, frames);
    await until('the agreed flow has arrived', () => listener.received.some(({ text }) => text === 'agreed'));
    await listener.stop();
    return { way, before, after: await way.into.numbers(), received: listener.received };
  }

  it('is admitted with `ingressAcl: false`, and counted', async () => {
    const { way, before, after, received: datagrams } = await received('a');
    expect(datagrams).toEqual([
      { from: way.other, text: 'another flow' },
      { from: way.agreed, text: 'agreed' },
    ]);
    expect(grew(before, after, 'aclBypassed')).toBe(1);
    expect(dropped(before, after, 'ingress/acl_miss')).toBe(0);
  });

  it('is dropped by default', async () => {
    const { way, before, after, received: datagrams } = await received('b');
    expect(datagrams).toEqual([{ from: way.agreed, text: 'agreed' }]);
    expect(grew(before, after, 'aclBypassed')).toBe(0);
    expect(dropped(before, after, 'ingress/acl_miss')).toBe(1);
  });

  it('is reported in status, metrics, log and audit while it is possible', async () => {
    const { status, log, audit } = await told(net.a);
    expect(status).toMatch(/^note ingress_acl: ingressAcl is false: /m);
    expect(status).toMatch(/^ingressAcl is false: every packet that authenticates is admitted$/m);
    expect(log).toMatch(/"err":"ingressAcl: .*"less protection by configuration"/);
    expect(audit).toContain('"psp.acl.disabled"');
    const enabled = async (gateway: Gateway) => (await series(gateway)).psp_ingress_acl_enabled;
    expect(await enabled(net.a)).toBe(0);
    const other = await told(net.b);
    expect(`${other.status}${other.log}${other.audit}`).not.toMatch(/ingressAcl is false|acl\.disabled/);
    expect(await enabled(net.b)).toBe(1);
  });
});

describe('captures', () => {
  const written = (node: 'a' | 'b'): string => {
    const folder = join(net.folder, `state-${node}`, 'samples');
    const files = existsSync(folder) ? readdirSync(folder) : [];
    return files.map((file) => readFileSync(join(folder, file), 'latin1')).join('');
  };
  const count = (text: string, what: string): number => text.split(what).length - 1;

  it('store a packet that cannot be sealed, with its reason, if they are enabled', async () => {
    const before = await numbers();
    const marker = 'PSP-CAPTURED-ONE';
    for (const [from, to] of [
      [net.host1, net.host2],
      [net.host2, net.host1],
    ] as const) {
      const came = await echo(from.namespace, to.v4, { size: 1472, discovery: 'do', marker });
      expect(came.answered).toBe(false);
    }
    await until('it is in a file and in a line', () => {
      const line = /"point":"egress_failed".*"reason":"egress\/too_big"/;
      return count(written('a'), 'dropped as egress/too_big') > 0 && line.test(net.a.printed());
    });
    expect(written('a')).toContain(marker);
    const after = await numbers();
    for (const gateway of ['a', 'b'] as const) {
      expect(dropped(before[gateway], after[gateway], 'egress/too_big')).toBeGreaterThan(0);
    }
    expect(grew(before.b, after.b, 'capturesTaken')).toBe(0);
    expect(net.b.printed()).not.toContain('egress_failed');
  });

  it('store packets that cannot be opened, up to a rate limit, if they are enabled', async () => {
    const forged = 200;
    const before = await numbers();
    const began = performance.now();
    for (const into of ['a', 'b'] as const) {
      const way = await keysInto(net, into);
      const frames = Array.from({ length: forged }, () => {
        const octets = sealed(way, way.agreed, 7402, 'forged');
        octets.writeUInt8(octets.readUInt8(octets.length - 1) ^ 1, octets.length - 1);
        return octets;
      });
      await sendOnce(net.wire, way.port, frames);
    }
    const after = await until('all are dropped', async () => {
      const now = await numbers();
      const all = (['a', 'b'] as const).every(
        (gateway) => dropped(before[gateway], now[gateway], 'ingress/icv_failure') === forged,
      );
      return all && now;
    });
    const seconds = (performance.now() - began) / 1000;
    const taken = grew(before.a, after.a, 'capturesTaken');
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThanOrEqual(perSecond * seconds + 1);
    expect(taken + grew(before.a, after.a, 'capturesSuppressed')).toBe(forged);
    await until(
      'the files have them all',
      () => count(written('a'), 'dropped as ingress/icv_failure') === taken,
    );
    const line = /"point":"ingress_failed".*"reason":"ingress\/icv_failure"/g;
    await until('the lines have them all', () => (net.a.printed().match(line) ?? []).length === taken);

    expect(grew(before.b, after.b, 'capturesTaken')).toBe(0);
    expect(written('b')).toBe('');
    expect(net.b.printed()).not.toContain('_failed');
  });

  it('of plaintext are reported in status, log and audit', async () => {
    const { status, log, audit } = await told(net.a);
    expect(status).toMatch(/^note capture: capture\.egress is true: /m);
    expect(log).toMatch(/"err":"capture\.egress: .*"less protection by configuration"/);
    expect(audit).toMatch(/"captureEgress":true/);
    expect((await told(net.b)).status).not.toMatch(/^note /m);
  });
});
