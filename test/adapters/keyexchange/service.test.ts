// SPDX-License-Identifier: Apache-2.0
// Two key exchanges over real gRPC with TLS, each on a real nats-server, with substitutes for the dataplanes.
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { flowKeyOf } from '../../../services/shared/address.js';
import { newBusSecret } from '../../../services/shared/bus/secret.js';
import { contracts } from '../../../services/shared/contracts.js';
import { monotonicNs } from '../../../services/shared/process/clock.js';
import { eventually, longMs } from '../shared/waiting.js';
import { Authority } from './certificates.js';
import { flowOf, freePorts, startNode, type TestNode, unhurried } from './rig.js';

// A command to the dataplane has a timeout of 300 ms; here it is longer, so that a busy machine does not decide the
// result.
vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  shortestCommandMs: 5000,
}));

let a: TestNode;
let b: TestNode;
beforeAll(async () => {
  const authority = await Authority.create();
  const ports = await freePorts('a', 'b');
  a = await startNode('a', authority, { ports, times: unhurried });
  b = await startNode('b', authority, { ports, times: unhurried });
  a.dataplane.announce();
  b.dataplane.announce();
});
afterAll(async () => {
  await a?.stop();
  await b?.stop();
});

const installOf = (node: TestNode, exchange: bigint) =>
  eventually(() => {
    const install = node.dataplane.installs.find(({ message }) => message.exchange === exchange);
    expect(install).toBeDefined();
    return install as NonNullable<typeof install>;
  });

/** Publishes wants as a dataplane does, and waits for the keys. */
async function keyed(node: TestNode, ...[peer, flows, options]: Parameters<TestNode['dataplane']['want']>) {
  const want = node.dataplane.want(peer, flows, options);
  return { want, ...(await installOf(node, want.exchange)) };
}

const acceptsOf = (node: TestNode, source: string) =>
  node.dataplane.accepts.filter(({ message }) =>
    message.flows[0]?.source.equals(flowOf(source, source).source),
  );

it('exchanges keys for both directions with one want', async () => {
  const { want, message, keys } = await keyed(a, 'b', [flowOf('10.1.0.5', '10.2.0.7')]);
  expect(message).toMatchObject({ epoch: a.dataplane.epoch, peer: 'b', peerEpoch: b.dataplane.epoch });
  expect(message.flows).toEqual([flowOf('10.1.0.5', '10.2.0.7')]);
  expect(keys[0]).toEqual(b.dataplane.offered.get(message.egress[0]?.spi as number));
  expect(message.egress[0]?.number).toBeGreaterThan(0n);

  const accept = acceptsOf(b, '10.2.0.7').at(-1);
  expect(accept?.message).toMatchObject({ peer: 'a', peerEpoch: a.dataplane.epoch, version: 1 });
  expect(accept?.message.flows).toEqual([flowOf('10.2.0.7', '10.1.0.5')]);
  expect(accept?.message.egress).toEqual(want.offers);
  expect(accept?.keys[0]).toEqual(a.dataplane.offered.get(want.offers[0]?.spi as number));
});

it('exchanges a batch of IPv6 flows in order, and wants after a rotation', async () => {
  const flows = [1, 2, 3].map((i) => flowOf(`fd00:1::${i}`, `fd00:2::${9 - i}`));
  const { message, keys } = await keyed(a, 'b', flows, { stale: true });
  expect(message.flows).toEqual(flows);
  expect(keys).toEqual(message.egress.map(({ spi }) => b.dataplane.offered.get(spi)));
});

it('exchanges in both directions at once', async () => {
  await Promise.all(
    Array.from({ length: 50 }, (_, i) => [
      keyed(a, 'b', [flowOf(`10.1.0.${i + 100}`, '10.2.0.9')]),
      keyed(b, 'a', [flowOf(`10.2.0.${i + 100}`, '10.1.0.9')]),
    ]).flat(),
  );
});

it('requests versions in our order and answers with the first allowed one', async () => {
  a.dataplane.version = 0;
  const want = a.dataplane.want('b', [flowOf('10.1.0.6', '10.2.0.8')]);
  a.dataplane.version = 1;
  const { message } = await installOf(a, want.exchange);
  expect(message.egress[0]?.version).toBe(1);
  expect(acceptsOf(b, '10.2.0.8')[0]?.message.egress[0]?.version).toBe(0);
});

it('sends the same flows and keys once more if the dataplane has a new epoch', async () => {
  const resent = await b.counter('requestsResent');
  b.dataplane.epoch += 1n;
  const want = a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.20')]);
  const { message } = await installOf(a, want.exchange);
  expect(message.peerEpoch).toBe(b.dataplane.epoch);
  const accepts = acceptsOf(b, '10.2.0.20');
  expect(accepts.map((accept) => accept.message.epoch)).toEqual([b.dataplane.epoch - 1n, b.dataplane.epoch]);
  expect(accepts[1]?.keys).toEqual(accepts[0]?.keys);
  expect(accepts[1]?.keys[0]).toEqual(a.dataplane.offered.get(want.offers[0]?.spi as number));
  expect(accepts[1]?.message.seal?.counter).not.toBe(accepts[0]?.message.seal?.counter);
  expect(await b.counter('requestsResent')).toBe(resent + 1);
  const next = a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.21')]);
  await installOf(a, next.exchange);
  expect(acceptsOf(b, '10.2.0.21')).toHaveLength(1);
});

it('uses the new epoch of a dataplane that started', async () => {
  b.dataplane.epoch += 1n;
  b.dataplane.announce();
  await eventually(async () => expect((await b.status()).node).toBe('b'));
  const want = a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.22')]);
  await installOf(a, want.exchange);
  expect(acceptsOf(b, '10.2.0.22')).toHaveLength(1);
});

it('never repeats an accept that was not answered in time', async () => {
  const before = await b.counter('SERVICE_TIMEOUT');
  const flow = '10.1.0.5 -> 10.2.0.23';
  b.dataplane.answers = false;
  a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.23')]);
  await eventually(() => expect(a.linesOf('PEER_DOWN')).toContainEqual(expect.objectContaining({ flow })));
  b.dataplane.answers = true;
  expect(acceptsOf(b, '10.2.0.23')).toHaveLength(1);
  expect(b.linesOf('SERVICE_TIMEOUT')).toContainEqual(expect.objectContaining({ peer: 'a', flow }));
  expect(await b.counter('SERVICE_TIMEOUT')).toBe(before + 1);
  expect(a.dataplane.refusals).toEqual([]);
});

it('drops a want that is older than half the exchange deadline, and counts it', async () => {
  const before = b.dataplane.accepts.length;
  const halfNs = BigInt(unhurried.exchangeMs / 2) * 1_000_000n;
  a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.30')], { publishedNs: monotonicNs() - halfNs });
  await eventually(async () => expect(await a.counter('wantsExpired')).toBe(1));
  expect(b.dataplane.accepts.length).toBe(before);
  const want = a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.30')], {
    publishedNs: monotonicNs() - 1_000_000n,
  });
  await installOf(a, want.exchange);
});

it('opens a want once, and not at all if any part of it was changed', async () => {
  const before = b.dataplane.accepts.length;
  const want = a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.31')], { twice: true });
  await installOf(a, want.exchange);
  await eventually(async () => expect(await a.counter('wantsReplayed')).toBe(1));
  a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.32')], {
    change: (changed) => {
      changed.flows = [flowOf('10.1.0.5', '10.2.0.33')];
    },
  });
  await eventually(() => expect(a.linesOf('SEAL_INVALID')).toHaveLength(1));
  expect(a.linesOf('SEAL_INVALID')[0]).toMatchObject({ peer: 'b', flow: '10.1.0.5 -> 10.2.0.33' });
  expect(b.dataplane.accepts.length).toBe(before + 1);
});

it('refuses a want for a peer that is not configured, or whose flows have no offers', async () => {
  a.dataplane.want('z', [flowOf('10.1.0.5', '10.9.0.1')]);
  await eventually(() => expect(a.linesOf('PAYLOAD_INVALID')[0]).toMatchObject({ peer: 'z' }));
  a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.1')], { change: (want) => void want.offers.pop() });
  await eventually(async () => expect(await a.counter('PAYLOAD_INVALID')).toBe(2));
});

it('reports the state of its peer', async () => {
  const { peers, health } = await a.status();
  expect(health).toEqual([]);
  expect(peers).toHaveLength(1);
  expect(peers[0]).toMatchObject({ name: 'b', breaker: 'closed', refused: 0n });
  expect(peers[0]?.answered).toBeGreaterThan(50n);
  expect(peers[0]?.exchanges).toBe((peers[0]?.answered ?? 0n) + (peers[0]?.failed ?? 0n));
  expect(Number(peers[0]?.lastAnswerMs)).toBeGreaterThan(Date.now() - 60_000);
});

it('counts messages that its bus could not decode', async () => {
  const { counters } = await b.status();
  expect(counters).toContainEqual({ name: 'busUnsent', value: 0n });
  expect(counters).toContainEqual({ name: 'busOverrun', value: 0n });
  await b.sendRaw(contracts.flowMissed, Buffer.from([0x2a, 0x7f, 0x61]));
  await eventually(async () => expect(await b.counter('busMalformed')).toBe(1));
});

it('reports requests for which the dataplane has no space', async () => {
  b.dataplane.refuses = 'TABLE_FULL';
  a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.40')]);
  await eventually(() => expect(b.linesOf('TABLE_FULL')).toHaveLength(1));
  b.dataplane.refuses = '';
  expect(b.linesOf('TABLE_FULL')[0]?.err).toBe('the flow table or the table of receive SPIs is full');
  const linesAbout = async (node: TestNode, peer: string) =>
    (await node.status()).health.filter(({ part }) => part === `peer ${peer}`).map(({ message }) => message);
  const remedy = '; raise engine.maxFlows of the gateway whose table is full';
  expect(await linesAbout(b, 'a')).toEqual([
    `TABLE_FULL: the flow table or the table of receive SPIs is full${remedy}`,
  ]);
  await eventually(async () =>
    expect(await linesAbout(a, 'b')).toEqual([
      `PEER_REFUSED: peer b refused: RESOURCE_EXHAUSTED: TABLE_FULL: the flow table or the table of receive SPIs is full${remedy}`,
    ]),
  );
  // For us the fault is over once the flow is answered.
  a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.40')]);
  await eventually(async () => expect(await linesAbout(a, 'b')).toEqual([]));
});

it('keys every flow of a burst within a few repetitions, though not all at once', async () => {
  const flows = Array.from({ length: 400 }, (_, i) => flowOf(`10.1.1.${i & 255}`, `10.2.2.${i >> 8}`));
  const keyed = () => new Set(a.dataplane.installs.flatMap(({ message }) => message.flows.map(flowKeyOf)));
  for (let repetition = 0; repetition < 20; repetition++) {
    for (const flow of flows) if (!keyed().has(flowKeyOf(flow))) a.dataplane.want('b', [flow]);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (flows.every((flow) => keyed().has(flowKeyOf(flow)))) break;
  }
  expect(flows.filter((flow) => !keyed().has(flowKeyOf(flow)))).toEqual([]);
});

describe('a greeting', () => {
  const spis = [7, 0x8000_0009];

  it('of the dataplane reaches the peer, and the answer contains the epoch of the peer', async () => {
    a.dataplane.greet('b', spis);
    await eventually(() =>
      expect(b.dataplane.greetings).toContainEqual({
        peer: 'a',
        peerEpoch: a.dataplane.epoch,
        answeredEpoch: undefined,
        unknownSpis: spis,
      }),
    );
    await eventually(() =>
      expect(a.dataplane.greetings).toContainEqual({
        peer: 'b',
        peerEpoch: b.dataplane.epoch,
        answeredEpoch: a.dataplane.epoch,
        unknownSpis: [],
      }),
    );
    expect(await a.counter('greetingsAnswered')).toBe(1);
    expect(await b.counter('greetingsReceived')).toBe(1);
  });

  it('makes the epoch of the dataplane known to the key exchange', async () => {
    b.dataplane.epoch += 1n;
    a.dataplane.greet('b');
    await eventually(() => expect(a.dataplane.greetings.at(-1)?.peerEpoch).toBe(b.dataplane.epoch));
    const want = a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.60')]);
    await installOf(a, want.exchange);
    expect(acceptsOf(b, '10.2.0.60')).toHaveLength(1);
  });

  it('that waited on the bus for half a second is not sent, because the dataplane repeats it', async () => {
    const before = await a.counter('greetings');
    a.dataplane.greet('b', [], monotonicNs() - 600_000_000n);
    a.dataplane.greet('z');
    a.dataplane.greet('b');
    await eventually(async () => expect(await a.counter('greetings')).toBe(before + 1));
  });

  it('without an answer of the dataplane there is neither a fault nor a failure of the peer', async () => {
    const before = await a.status();
    b.dataplane.answers = false;
    const failed = await a.counter('greetingsFailed');
    for (let i = 0; i < 4; i++) {
      a.dataplane.greet('b');
      await eventually(async () => expect(await a.counter('greetingsFailed')).toBe(failed + i + 1));
    }
    b.dataplane.answers = true;
    const after = await a.status();
    expect(after.health).toEqual([]);
    expect(after.peers[0]).toMatchObject({ breaker: 'closed', failed: before.peers[0]?.failed });
  });

  it('is refused if it has no epoch, or names too many SPIs', async () => {
    const greeted = b.dataplane.greetings.length;
    a.dataplane.greet(
      'b',
      Array.from({ length: 65 }, (_, i) => i + 1),
    );
    await eventually(() =>
      expect(b.linesOf('REQUEST_INVALID').at(-1)?.err).toContain('65 SPIs in a greeting'),
    );
    const { epoch } = a.dataplane;
    a.dataplane.epoch = 0n;
    a.dataplane.greet('b');
    await eventually(async () => expect(await b.counter('REQUEST_INVALID')).toBeGreaterThan(1));
    a.dataplane.epoch = epoch;
    expect(b.dataplane.greetings).toHaveLength(greeted);
    expect((await a.status()).health).toEqual([]);
  });
});

it('answers when each step of an exchange happened, at both ends', async () => {
  const flow = flowOf('10.1.0.5', '10.2.0.62');
  const want = a.dataplane.want('b', [flow]);
  await installOf(a, want.exchange);
  const stepsOf = async (node: TestNode, asked: typeof flow) => {
    const answers = await node.operator.requestAll(contracts.keyexchangeTrace, { flow: asked }, 200, longMs);
    return answers.flatMap(({ exchanges }) => exchanges.map(({ steps }) => steps.map(({ step }) => step)));
  };
  const own = ['wantReceived', 'requestSent', 'responseReceived', 'installSent', 'installAnswered'];
  await eventually(async () => expect(await stepsOf(a, flow)).toEqual([own]));
  const answered = ['requestReceived', 'acceptSent', 'acceptAnswered', 'responseSent'];
  expect(await stepsOf(b, flowOf('10.2.0.62', '10.1.0.5'))).toEqual([answered]);
});

it('a bus secret that is replaced fails no exchange, even before the key exchange has read it', async () => {
  const failed = await a.counter('SEAL_INVALID');
  for (const node of [a, b]) {
    const content = newBusSecret();
    writeFileSync(join(node.folder, 'new.secret'), content, { mode: 0o640 });
    renameSync(join(node.folder, 'new.secret'), join(node.folder, 'bus.secret'));
    node.dataplane.useSecret(Buffer.from(content.toString('latin1', 0, 64), 'hex'));
  }
  const want = a.dataplane.want('b', [flowOf('10.1.0.5', '10.2.0.61')]);
  await installOf(a, want.exchange);
  expect(acceptsOf(b, '10.2.0.61')).toHaveLength(1);
  expect(await a.counter('SEAL_INVALID')).toBe(failed);
  for (const node of [a, b])
    expect(node.lines).toContainEqual(expect.objectContaining({ msg: 'bus secret replaced' }));
});

it('never logs a key', () => {
  const text = JSON.stringify([a.lines, b.lines]);
  for (const key of [...a.dataplane.offered.values(), ...b.dataplane.offered.values()]) {
    expect(text).not.toContain(key.toString('hex'));
    expect(text).not.toContain(key.toString('base64'));
  }
});
