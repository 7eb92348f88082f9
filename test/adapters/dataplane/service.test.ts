// SPDX-License-Identifier: Apache-2.0
// The dataplane on a real bus, asked and told as the key exchange and an operator do.
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type FlowRemove, InstallResult, type ServiceStats, WantReason } from '../../../proto/gen/bus.js';
import { mapped, parseAddress } from '../../../services/shared/address.js';
import { readEvent } from '../../../services/shared/audit/event.js';
import { AuditTrail } from '../../../services/shared/audit/trail.js';
import { newBusSecret } from '../../../services/shared/bus/secret.js';
import { contracts } from '../../../services/shared/contracts.js';
import { monotonicNs } from '../../../services/shared/process/clock.js';
import { until } from '../../e2e/namespace.js';
import { longMs } from '../shared/waiting.js';
import { flow, keyOf, missed, type Rig, startRig, theirs } from './rig.js';

const { INSTALL_RESULT_INSTALLED, INSTALL_RESULT_NOT_IN_FLIGHT, INSTALL_RESULT_TABLE_FULL } = InstallResult;

describe('the dataplane', () => {
  let rig: Rig;
  beforeEach(async () => {
    rig = await startRig();
  });
  afterEach(() => rig.close());

  it('publishes one want for flows that miss together, with an offer for each under one seal', async () => {
    const before = monotonicNs();
    rig.engine.emit(...missed(1, 2, 3));
    const { want, subject, keys } = await rig.keyexchange.want(1);
    expect(subject).toBe('evt.flow.missed');
    expect(want).toMatchObject({ exchange: 1n, epoch: rig.keyexchange.epoch, peer: 'b' });
    expect(want.reason).toBe(WantReason.WANT_REASON_MISS);
    expect(want.flows).toEqual([flow(1), flow(2), flow(3)]);
    expect(want.publishedNs > before && want.publishedNs < monotonicNs()).toBe(true);
    expect(
      want.offers.map(({ spi, version, number, address }) => [spi, version, number, address.length]),
    ).toEqual([
      [1, 1, 1n, 4],
      [2, 1, 2n, 4],
      [3, 1, 3n, 4],
    ]);
    expect(keys.map(({ length }) => length)).toEqual([32, 32, 32]);
  });

  it('installs an answer once; the same message again is a replay, another late one is not in flight', async () => {
    rig.engine.emit(...missed(1, 2));
    const { want } = await rig.keyexchange.want(1);
    const answer = rig.keyexchange.installOf(want);
    expect(await rig.keyexchange.install(answer)).toEqual({
      code: '',
      epoch: want.epoch,
      results: [INSTALL_RESULT_INSTALLED, INSTALL_RESULT_INSTALLED],
    });
    expect(await rig.keyexchange.install(answer)).toMatchObject({ code: 'REPLAY', results: [] });
    const again = await rig.keyexchange.install(rig.keyexchange.installOf(want));
    expect(again.results).toEqual([INSTALL_RESULT_NOT_IN_FLIGHT, INSTALL_RESULT_NOT_IN_FLIGHT]);
    expect(rig.engine.called('install').map(({ about }) => about)).toEqual([
      { count: 2, rows: [0, 1], peer: 0 },
    ]);
    expect(rig.engine.released).toBe(1);
  });

  it('answers when each step of an exchange happened, of its own and of a peer', async () => {
    rig.engine.emit(...missed(1));
    const { want } = await rig.keyexchange.want(1);
    await rig.keyexchange.install(rig.keyexchange.installOf(want));
    await rig.keyexchange.accept(rig.keyexchange.acceptOf([flow(2)], [rig.keyexchange.offer()]));
    const stepsOf = async (i: number) => {
      const { exchanges } = await rig.operator.request(contracts.dataplaneTrace, { flow: flow(i) }, longMs);
      const times = exchanges.flatMap(({ steps }) => steps.map(({ atNs }) => atNs));
      expect(times).toEqual([...times].sort((one, other) => Number(one - other)));
      return exchanges.map(({ exchange, steps }) => [exchange, ...steps.map(({ step }) => step)]);
    };
    const own = ['missed', 'offerRequested', 'offerMade', 'wantPublished', 'installReceived', 'keyInstalled'];
    expect(await stepsOf(1)).toEqual([[1n, ...own]]);
    expect(await stepsOf(2)).toEqual([[0n, 'acceptReceived', 'returnOfferMade', 'acceptDone']]);
    expect(await stepsOf(3)).toEqual([]);
  });

  it('opens a seal of a bus secret that it has not read yet, and answers under it', async () => {
    rig.engine.emit(...missed(1));
    const { want } = await rig.keyexchange.want(1);
    const content = newBusSecret();
    writeFileSync(join(rig.folder, 'new.secret'), content, { mode: 0o640 });
    renameSync(join(rig.folder, 'new.secret'), join(rig.folder, 'bus.secret'));
    rig.keyexchange.useSecret(Buffer.from(content.toString('latin1', 0, 64), 'hex'));
    expect((await rig.keyexchange.install(rig.keyexchange.installOf(want))).code).toBe('');
    const accept = rig.keyexchange.acceptOf([flow(2)], [rig.keyexchange.offer()]);
    expect(rig.keyexchange.openAnswer(accept, await rig.keyexchange.accept(accept))).toHaveLength(1);
  });

  it('installs only the rows that are in flight', async () => {
    rig.engine.emit(...missed(1, 2));
    const { want } = await rig.keyexchange.want(1);
    await rig.keyexchange.accept(rig.keyexchange.acceptOf([flow(1)], [rig.keyexchange.offer()]));
    const { results } = await rig.keyexchange.install(rig.keyexchange.installOf(want));
    expect(results).toEqual([INSTALL_RESULT_NOT_IN_FLIGHT, INSTALL_RESULT_INSTALLED]);
    expect(rig.engine.called('install').at(-1)?.about).toMatchObject({ rows: [1] });
  });

  it('reports a full table, and drops the held packets of the flow', async () => {
    rig.engine.emit(...missed(1));
    const { want } = await rig.keyexchange.want(1);
    rig.engine.installSays = INSTALL_RESULT_TABLE_FULL;
    const { results } = await rig.keyexchange.install(rig.keyexchange.installOf(want));
    expect(results).toEqual([INSTALL_RESULT_TABLE_FULL]);
    expect(rig.engine.called('refuse').map(({ flows }) => flows)).toEqual([[keyOf(1)]]);
  });

  it('answers an accept with offers that only this request can open, and installs its keys', async () => {
    const request = rig.keyexchange.acceptOf(
      [flow(1), flow(2)],
      [rig.keyexchange.offer(), rig.keyexchange.offer()],
    );
    const answer = await rig.keyexchange.accept(request);
    expect(answer).toMatchObject({ code: '', epoch: rig.keyexchange.epoch });
    expect(rig.keyexchange.openAnswer(request, answer)).toHaveLength(2);
    const other = rig.keyexchange.acceptOf(request.flows, request.egress);
    expect(() => rig.keyexchange.openAnswer(other, answer)).toThrow('the seal cannot be opened');
    expect(rig.engine.called('install').map(({ about }) => about)).toEqual([
      { count: 2, rows: [0, 1], peer: 0 },
    ]);
  });

  it('answers an accept without keys, and one with keys that are not newer', async () => {
    const { keyexchange, engine } = rig;
    const offer = keyexchange.offer();
    const code = async (egress: (typeof offer)[]) =>
      (await keyexchange.accept(keyexchange.acceptOf([flow(1)], egress))).code;
    expect([await code([]), await code([offer]), await code([offer])]).toEqual(['', '', '']);
    expect(engine.called('install')).toHaveLength(1);
    expect(engine.released).toBe(2);
  });

  it('installs the keys of an accept as soon as the ring has room for them', async () => {
    const { keyexchange, engine } = rig;
    engine.busyFor = () => engine.called('install').length < 4;
    const answer = await keyexchange.accept(keyexchange.acceptOf([flow(1)], [keyexchange.offer()]));
    expect(answer).toMatchObject({ code: '', offers: [{ spi: 1 }] });
    expect([engine.called('install').length, engine.called('withdraw')]).toEqual([4, []]);
  });

  it('takes back the offers of an accept whose keys find no room in time, and fails it', async () => {
    const { keyexchange, engine, operator } = rig;
    engine.busyFor = () => true;
    const offer = keyexchange.offer();
    const answer = await keyexchange.accept(keyexchange.acceptOf([flow(1)], [offer]));
    expect(answer).toMatchObject({ code: 'ENGINE_BUSY', offers: [], seal: undefined });
    expect(engine.called('withdraw').map(({ about }) => about)).toEqual([[1]]);
    expect(engine.released).toBe(1);
    engine.busyFor = () => false;
    expect(await keyexchange.accept(keyexchange.acceptOf([flow(1)], [offer]))).toMatchObject({ code: '' });
    expect(engine.called('install').at(-1)?.about).toMatchObject({ rows: [0] });
    const { counters } = await operator.request(contracts.dataplaneStatus, {}, longMs);
    expect(counters.find(({ name }) => name === 'accepted')?.value).toBe(2n);
  });

  it('never puts an older key over a newer one that was decided on while the ring was full', async () => {
    const { keyexchange, engine } = rig;
    const [older, newer] = [keyexchange.offer(), keyexchange.offer()];
    engine.busyFor = (opened) => opened === 1;
    // One behind the other, so that the newer comes while the older waits for room.
    const answers = [older, newer].map((offer) =>
      keyexchange.accept(keyexchange.acceptOf([flow(1)], [offer])),
    );
    const second = await answers[1];
    engine.busyFor = () => false;
    const tries = engine.called('install').length;
    expect(tries).toBeGreaterThan(1);
    expect([second?.code, (await answers[0])?.code]).toEqual(['', '']);
    expect(engine.called('install')).toHaveLength(tries);
  });

  it('takes no message of keys in which an SPI comes twice', async () => {
    const { keyexchange, engine } = rig;
    const offer = keyexchange.offer();
    const twice = [offer, { ...keyexchange.offer(), spi: offer.spi }];
    const accepted = await keyexchange.accept(keyexchange.acceptOf([flow(1), flow(2)], twice));
    engine.emit(...missed(1, 2));
    const { want } = await keyexchange.want(1);
    const installed = await keyexchange.install(keyexchange.installOf(want, { egress: twice }));
    expect([accepted.code, installed.code]).toEqual(['PAYLOAD_INVALID', 'PAYLOAD_INVALID']);
    expect(engine.called('open')).toEqual([]);
  });

  it.each([0, 0x80000000])('takes no message of keys under the reserved SPI %i', async (spi) => {
    const { keyexchange, engine } = rig;
    const reserved = [{ ...keyexchange.offer(), spi }];
    const accepted = await keyexchange.accept(keyexchange.acceptOf([flow(1)], reserved));
    engine.emit(...missed(1));
    const { want } = await keyexchange.want(1);
    const installed = await keyexchange.install(keyexchange.installOf(want, { egress: reserved }));
    expect([accepted.code, installed.code]).toEqual(['PAYLOAD_INVALID', 'PAYLOAD_INVALID']);
    expect(engine.called('open')).toEqual([]);
  });

  it('does nothing for another epoch but name its own', async () => {
    const { keyexchange, engine } = rig;
    const { epoch } = keyexchange;
    keyexchange.epoch = epoch + 1n;
    expect(await keyexchange.accept(keyexchange.acceptOf([flow(1)], []))).toEqual({
      code: 'STALE',
      epoch,
      offers: [],
      seal: undefined,
    });
    engine.emit(...missed(1));
    const want = { ...(await keyexchange.want(1)).want, epoch: epoch + 1n };
    expect(await keyexchange.install(keyexchange.installOf(want))).toMatchObject({ code: 'STALE', epoch });
    expect(await keyexchange.refuse(want)).toEqual({ code: 'STALE', epoch });
    expect([engine.called('open'), engine.called('refuse'), engine.called('install')]).toEqual([[], [], []]);
  });

  it('does nothing of an accept for which no SPI is left, reports why, and rotates the master key', async () => {
    const { keyexchange, engine, operator } = rig;
    engine.offerFails = 'SPI_EXHAUSTED';
    const answer = await keyexchange.accept(keyexchange.acceptOf([flow(1)], [keyexchange.offer()]));
    expect(answer).toMatchObject({ code: 'SPI_EXHAUSTED', offers: [], seal: undefined });
    expect(engine.called('install')).toEqual([]);
    expect(engine.released).toBe(1);
    const { health, generation } = await operator.request(contracts.dataplaneStatus, {}, longMs);
    expect([health, generation]).toEqual([[], 2]);
  });

  it.each([
    ['another peer', { peer: 'c' }, 'PAYLOAD_INVALID'],
    ['a version that is not spoken', { version: 2 }, 'PAYLOAD_INVALID'],
    ['no flow', { flows: [] }, 'PAYLOAD_INVALID'],
    [
      'a flow of two families',
      { flows: [{ source: Buffer.alloc(4), destination: Buffer.alloc(16) }] },
      'PAYLOAD_INVALID',
    ],
    ['fewer flows than keys', { flows: [flow(1), flow(2)] }, 'PAYLOAD_INVALID'],
    ['no seal', { seal: undefined }, 'SEAL_INVALID'],
    ['a seal over other flows', { flows: [flow(3)] }, 'SEAL_INVALID'],
    ['a seal over another epoch of the peer', { peerEpoch: theirs + 1n }, 'SEAL_INVALID'],
  ])('refuses an accept with %s', async (_, changes, code) => {
    const { keyexchange } = rig;
    const message = { ...keyexchange.acceptOf([flow(1)], [keyexchange.offer()]), ...changes };
    expect(await keyexchange.accept(message)).toMatchObject({ code, offers: [] });
    expect([...rig.engine.called('offer'), ...rig.engine.called('install')]).toEqual([]);
  });

  it('passes a refusal on until the engine takes it', async () => {
    rig.engine.emit(...missed(1));
    const { want } = await rig.keyexchange.want(1);
    rig.engine.busy = 4;
    expect(await rig.keyexchange.refuse(want)).toMatchObject({ code: '' });
    await until('the ring has room', () => rig.engine.busy === 0 && rig.engine.called('refuse').length === 3);
    expect(rig.engine.called('refuse').at(-1)).toMatchObject({
      flows: [keyOf(1)],
      about: { refusal: 0, holdDownMs: 1000 },
    });
    expect(rig.engine.called('withdraw').at(-1)?.about).toEqual([want.offers[0]?.spi]);
  });

  it('repeats the want each second with a fresh offer, and leaves dropping of held packets to the engine', async () => {
    rig.engine.emit(...missed(1));
    const { wants } = rig.keyexchange;
    await until('it was wanted for the third time', () => wants.length === 3);
    expect(rig.engine.called('refuse')).toEqual([]);
    expect(wants.map(({ want }) => want.timeoutMs)).toEqual([1000, 2000, 3000]);
    expect(wants.map(({ want }) => [want.exchange, want.offers[0]?.spi])).toEqual([
      [1n, 1],
      [2n, 2],
      [3n, 3],
    ]);
  });

  it('rotates, offers every inbound flow anew, and goes again when all answered and drainMs passed', async () => {
    const { keyexchange, operator } = rig;
    const rotate = () => operator.request(contracts.keysRotate, {}, longMs);
    await keyexchange.accept(keyexchange.acceptOf([flow(1)], [keyexchange.offer()]));
    expect(await rotate()).toEqual({
      code: '',
      generation: 2,
      unansweredFlows: 0,
      drainLeftMs: 0,
      reofferedFlows: 1,
      cutFlows: 0,
    });
    const { want, subject } = await keyexchange.want(1);
    expect([subject, want.reason, want.offers[0]?.spi]).toEqual([
      'evt.flow.stale',
      WantReason.WANT_REASON_STALE,
      0x8000_0002,
    ]);
    expect(await rotate()).toMatchObject({ code: 'ROTATION_PENDING', generation: 2, unansweredFlows: 1 });
    const status = await operator.request(contracts.dataplaneStatus, {}, longMs);
    expect(status).toMatchObject({ generation: 2, unansweredFlows: 1, flowsToCut: 0, health: [] });
    expect(status.traffic).toMatchObject([{ name: 'b', unansweredFlows: 1 }]);
    expect(status.traffic[0]?.unansweredSinceMs).toBe(status.generationMs);
    await keyexchange.install(keyexchange.installOf(want));
    const pending = await rotate();
    expect(pending).toMatchObject({ code: 'ROTATION_PENDING', unansweredFlows: 0 });
    expect(pending.drainLeftMs).toBeGreaterThan(0);
    await until('the drain is over', async () => (await rotate()).generation === 3);
  });

  it('removes tunnels for an operator, with both of their flows, and refuses what it cannot understand', async () => {
    const { engine, operator, keyexchange } = rig;
    const remove = (message: Partial<FlowRemove>) =>
      operator.request(
        contracts.flowRemove,
        { peer: '', one: undefined, other: undefined, ...message },
        longMs,
      );
    engine.emit(...missed(1, 2));
    const { want } = await keyexchange.want(1);
    await keyexchange.install(keyexchange.installOf(want));
    const [one, other] = [
      { address: Buffer.from([10, 2, 0, 2]), length: 32 },
      { address: Buffer.from([10, 1, 0, 99]), length: 24 },
    ];
    expect(await remove({ one, other })).toEqual({ code: '', removed: 1 });
    expect(engine.called('remove').map(({ flows }) => flows)).toEqual([[keyOf(2)]]);
    expect(await remove({ peer: 'b' })).toEqual({ code: '', removed: 1 });
    expect(await remove({})).toEqual({ code: '', removed: 0 });
    expect(engine.called('remove').map(({ flows }) => flows)).toEqual([[keyOf(2)], [keyOf(1)]]);

    for (const malformed of [
      { peer: 'z' },
      { one },
      { one, other: { address: Buffer.alloc(16), length: 0 } },
      { one, other: { address: Buffer.alloc(4), length: 33 } },
      { one, other: { address: Buffer.alloc(5), length: 8 } },
    ])
      expect(await remove(malformed)).toEqual({ code: 'PAYLOAD_INVALID', removed: 0 });
  });

  it("refuses a peer's request for a rotation while the active key is less than a minute old", async () => {
    const { keyexchange, engine } = rig;
    await expect(
      keyexchange.bus.request(contracts.peerRotation, { peer: 'b' }, longMs),
    ).rejects.toMatchObject({
      code: 'ROTATION_LIMITED',
      data: { ms: expect.anything() },
    });
    await expect(
      keyexchange.bus.request(contracts.peerRotation, { peer: 'c' }, longMs),
    ).rejects.toMatchObject({
      code: 'PAYLOAD_INVALID',
    });
    expect(engine.called('rotate')).toEqual([]);
  });

  it('replaces a key that the engine reports as worn', async () => {
    const { keyexchange, engine } = rig;
    engine.emit(...missed(1));
    const { want } = await keyexchange.want(1);
    await keyexchange.install(keyexchange.installOf(want));
    const flow = missed(1)[0]?.flow as Buffer;
    engine.emit({ type: 'worn', flow, peer: 0, stopped: false });
    const renewal = await keyexchange.want(2);
    expect([renewal.subject, renewal.want.reason]).toEqual(['evt.flow.missed', WantReason.WANT_REASON_RENEW]);
  });

  it('counts the first packet under a new offer as proof that the peer has it', async () => {
    const { keyexchange, operator, engine } = rig;
    await keyexchange.accept(keyexchange.acceptOf([flow(1)], []));
    await operator.request(contracts.keysRotate, {}, longMs);
    const { want } = await keyexchange.want(1);
    const { source, destination } = flow(1);
    const inbound = missed(1).map(({ flow }) => Buffer.concat([flow.subarray(16), flow.subarray(0, 16)]))[0];
    expect(inbound?.subarray(12, 16)).toEqual(destination);
    expect(source).toHaveLength(4);
    engine.emit({ type: 'seen', flow: inbound as Buffer, spi: want.offers[0]?.spi ?? 0 });
    const { unansweredFlows } = await operator.request(contracts.dataplaneStatus, {}, longMs);
    expect(unansweredFlows).toBe(0);
  });

  it('reports its status, its flows and, each second, its counters', async () => {
    const { operator } = rig;
    const heard: ServiceStats[] = [];
    operator.receive(contracts.dataplaneStats, (stats) => {
      heard.push(stats);
    });
    const status = await operator.request(contracts.dataplaneStatus, {}, longMs);
    expect(status).toMatchObject({ node: 'a', generation: 1, crypto: 'none', health: [] });
    expect(status.ports[1]).toMatchObject({
      role: 'secured',
      name: 'net_null1',
      mac: '02:00:00:00:00:01',
      mtu: 1600,
      txBytes: 4n,
    });
    expect(status.pipes).toEqual([{ pipe: 'egress_acl', hit: 5n, miss: 6n }]);
    expect(status.drops).toEqual([{ reason: 'no_peer', direction: 'egress', packets: 7n }]);
    const page = await operator.request(contracts.dataplaneFlows, { cursor: 5n, limit: 100_000 }, longMs);
    expect(page.nextCursor).toBe(7n);
    expect(page.rows).toMatchObject([
      { peer: 'b', direction: 'ingress', state: 'seen', spi: 0x8000_0007, packets: 3n, liveSpis: 2 },
    ]);
    expect(page.rows[0]?.flow?.source).toEqual(Buffer.from([10, 2, 0, 1]));
    expect(rig.engine.called('flows')[0]?.about).toEqual({ cursor: 5, limit: 1000 });
    await until('counters came twice', () => heard.length >= 2);
    const { id: _, counters, ...stats } = heard[0] as ServiceStats;
    const { startedMs, ports, pipes, drops, health, crypto, generation, generationMs } = status;
    expect(stats).toMatchObject({ service: 'dataplane', version: '0.1.0', crypto, generation, health });
    expect(stats).toMatchObject({ startedMs, ports, pipes, drops, generationMs });
    expect(stats.traffic.map(({ name }) => name)).toEqual(['b']);
    const names = new Map(counters.map(({ name, value }) => [name, value]));
    expect([names.get('held'), names.get('samplesDropped'), names.get('wants')]).toEqual([8n, 0n, 0n]);
    expect(['busUnsent', 'busOverrun', 'busMalformed'].map((name) => names.get(name))).toEqual([0n, 0n, 0n]);
  });

  it('reports the traffic with a peer, and the age of its newest key and of the master key', async () => {
    const { operator, engine, keyexchange } = rig;
    const status = () => operator.request(contracts.dataplaneStatus, {}, longMs);
    const beforeMs = Date.now();
    const first = await status();
    const afterMs = Date.now();
    expect(first.traffic).toMatchObject([
      { name: 'b', egressPackets: 11n, ingressBytes: 14n, keyedFlows: 15, inboundFlows: 16 },
    ]);
    expect([first.traffic[0]?.lastIngressMs, first.traffic[0]?.lastKeyMs]).toEqual([0n, 0n]);
    // The engine says "5 s ago" by a clock of its own, which may be some milliseconds off.
    const lastEgressMs = Number(first.traffic[0]?.lastEgressMs) + 5000;
    expect(lastEgressMs).toBeGreaterThan(beforeMs - 100);
    expect(lastEgressMs).toBeLessThan(afterMs + 100);
    expect(first.generationMs).toBe(first.startedMs);
    engine.emit(...missed(1));
    const { want } = await keyexchange.want(1);
    await keyexchange.install(keyexchange.installOf(want));
    await operator.request(contracts.keysRotate, {}, longMs);
    const then = await status();
    expect(Number(then.traffic[0]?.lastKeyMs)).toBeGreaterThan(afterMs - 100);
    expect(then.generationMs).toBeGreaterThan(first.generationMs);
    expect(Number(then.generationMs)).toBeGreaterThan(afterMs - 100);
  });

  it('writes one line a second of commands that fail alike, and says how many it left out', async () => {
    const { keyexchange, lines } = rig;
    const fail = () => keyexchange.accept(keyexchange.acceptOf([], []));
    for (let i = 0; i < 5; i++) await fail();
    await delay(1100);
    await fail();
    const failures = lines().filter(({ code }) => code === 'PAYLOAD_INVALID');
    const suppressed = failures.reduce((sum, line) => sum + (line.suppressed ?? 0), 0);
    expect(suppressed).toBeGreaterThan(0);
    expect(failures.length + suppressed).toBe(6);
  });

  it('answers the services protocol', async () => {
    const found = await rig.operator.discover(300, longMs);
    expect(found).toMatchObject([{ name: 'dataplane', version: '0.1.0' }]);
  });

  it('publishes no want while the bus is down, and publishes at once when it is back', async () => {
    await rig.busIsAway();
    rig.engine.emit(...missed(1));
    expect(rig.engine.called('offer')).toEqual([]);
    await rig.nats.start();
    const { want } = await rig.keyexchange.want(1);
    expect(want.flows).toEqual([flow(1)]);
    expect(await rig.keyexchange.install(rig.keyexchange.installOf(want))).toMatchObject({ code: '' });
  });

  const link = { type: 'link', mac: Uint8Array.of(2, 0, 0, 0, 0, 1), up: true, present: true } as const;
  const wire = { ...link, port: 'secured', mtu: 1600, usedMtu: 1600 } as const;
  const removed = { ...wire, present: false, up: false } as const;

  it('ends with a code of its own when an interface was removed', async () => {
    rig.engine.emit(removed);
    expect(await rig.dataplane.failed).toMatchObject({ code: 'INTERFACE_REMOVED' });
  });

  it('follows the links of its ports in status, health, log and audit', async () => {
    const changed = () => rig.lines().filter(({ msg }) => msg === 'link changed');
    const status = () => rig.operator.request(contracts.dataplaneStatus, {}, longMs);
    const told = async () => {
      const { ports, health } = await status();
      const port = ports.find(({ role }) => role === 'secured');
      return { mtu: port?.mtu, mac: port?.mac, up: port?.up, health: health.map(({ message }) => message) };
    };
    const well = { mtu: 1600, mac: '02:00:00:00:00:01', up: true, health: [] };
    // As at the start, there is nothing to report.
    rig.engine.emit(wire, { ...wire, port: 'unsecured' });
    expect([await told(), changed()]).toEqual([well, []]);
    rig.engine.emit({ ...wire, up: false });
    expect(await told()).toEqual({
      ...well,
      up: false,
      health: [expect.stringMatching(/^LINK_DOWN: the link of net_null1 is down.*bring.*secured\.port/)],
    });
    rig.engine.emit(wire, { ...wire, mtu: 1400, usedMtu: 1400 });
    expect(await told()).toEqual({ ...well, mtu: 1400 });
    rig.engine.emit({ ...wire, mtu: 575, usedMtu: 575 });
    expect((await told()).health).toEqual([
      expect.stringMatching(/^MTU_TOO_SMALL: .*net_null1 has MTU 575.*576/),
    ]);
    rig.engine.emit({ ...wire, mtu: 9000, usedMtu: 1600 });
    expect(await told()).toEqual({
      ...well,
      health: [expect.stringMatching(/^MTU_NEEDS_RESTART: net_null1 now has MTU 9000, but .*1600.*restart/)],
    });
    rig.engine.emit({ ...wire, mac: Uint8Array.of(2, 0, 0, 0, 0, 2) });
    expect(await told()).toEqual({ ...well, mac: '02:00:00:00:00:02' });

    const secured = { port: 'secured', interface: 'net_null1' };
    const changes = [
      { what: 'state', from: 'up', to: 'down' },
      { what: 'state', from: 'down', to: 'up' },
      { what: 'mtu', from: 1600, to: 1400 },
      { what: 'mtu', from: 1400, to: 575 },
      { what: 'mtu', from: 575, to: 9000 },
      { what: 'mtu', from: 9000, to: 1600 },
      { what: 'mac', from: '02:00:00:00:00:01', to: '02:00:00:00:00:02' },
    ].map((change) => ({ ...secured, ...change }));
    expect(changed()).toMatchObject(changes);
    const audited = async () => {
      const events = rig.auditStream.read({ follow: false }, new AbortController().signal);
      const found: unknown[] = [];
      for await (const { octets } of events) {
        const event = readEvent(octets);
        if (event?.type === 'link.changed') found.push(event.data);
      }
      return found;
    };
    await until('auditors were told', async () => (await audited()).length >= changes.length);
    expect(await audited()).toEqual(changes);
  });

  it('says so too when the disk of its audit hangs', async () => {
    const end = vi.spyOn(AuditTrail.prototype, 'end').mockReturnValue(new Promise(() => undefined));
    rig.engine.emit(removed);
    expect(await rig.dataplane.failed).toMatchObject({ code: 'INTERFACE_REMOVED' });
    end.mockRestore();
  });

  it('audits what a command changed that was under way when the service was stopped', async () => {
    const asked = vi.spyOn(rig.engine, 'sampling').mockImplementation(async () => delay(200));
    const answer = rig.operator.request(contracts.samplingSet, { egressLog2: 4, peer: '' }, longMs);
    await until('the command is under way', () => asked.mock.calls.length === 1);
    const stopped = rig.dataplane.stop();
    expect(await answer).toEqual({ code: '', egressLog2: 4, faults: '' });
    await stopped;
    const types: unknown[] = [];
    const events = rig.auditStream.read({ follow: false }, new AbortController().signal);
    for await (const { octets } of events) types.push(readEvent(octets)?.type);
    expect(types.slice(-2)).toEqual(['sampling.changed', 'service.stopped']);
  });
});

describe('a dataplane that starts before the bus', () => {
  it('runs at once, reports its epoch when the bus connects, and requests keys for flows that missed meanwhile', async () => {
    const rig = await startRig({ busFirst: false, engineMs: ', holdMs: 20000' });
    const { want } = await rig.keyexchange.want(1);
    expect(want.flows).toEqual([flow(1)]);
    expect(rig.keyexchange.epoch).toBe(want.epoch);
    await rig.close();
  });
});

describe('stopping', () => {
  it('leaves the bus first, then stops the engine, and gives it no command afterwards', async () => {
    const rig = await startRig();
    rig.engine.emit(...missed(1));
    await rig.keyexchange.want(1);
    await rig.close();
    expect(rig.engine.calls.at(-1)?.name).toBe('stop');
    rig.engine.emit(...missed(2));
    expect(rig.engine.calls.at(-1)?.name).toBe('stop');
  });

  it('does not wait for a bus that is gone', async () => {
    const rig = await startRig();
    await rig.nats.stop('SIGKILL');
    await rig.close();
    expect(rig.engine.calls.at(-1)?.name).toBe('stop');
  });
});

describe('greetings', () => {
  let rig: Rig;
  beforeEach(async () => {
    rig = await startRig();
  });
  afterEach(() => rig.close());

  const trafficOf = async () =>
    (await rig.operator.request(contracts.dataplaneStatus, {}, longMs)).traffic[0];
  const unknown = (address: string, spi: number) => ({
    type: 'unknownSpi' as const,
    source: mapped(parseAddress(address)),
    spi,
  });

  it('are published each second until the peer answers, and the status shows the answer', async () => {
    const { keyexchange } = rig;
    const [first, second] = await until(
      'two greetings came',
      () => keyexchange.greetings.length > 1 && keyexchange.greetings,
    );
    expect(first).toMatchObject({ peer: 'b', epoch: keyexchange.epoch, unknownSpis: [] });
    expect((second?.publishedNs ?? 0n) - (first?.publishedNs ?? 0n)).toBeGreaterThan(900_000_000n);
    expect(await trafficOf()).toMatchObject({ greeting: 'unanswered', epoch: undefined });
    const answer = { answeredEpoch: keyexchange.epoch };
    expect(await keyexchange.greeted(answer)).toEqual({ code: '', epoch: keyexchange.epoch });
    expect(await trafficOf()).toMatchObject({ greeting: 'answered', epoch: theirs });
    const sent = keyexchange.greetings.length;
    await delay(1500);
    expect(keyexchange.greetings).toHaveLength(sent);
  });

  it('count as answered only for the epoch that they stated', async () => {
    const { keyexchange } = rig;
    const late = await keyexchange.greeted({ answeredEpoch: keyexchange.epoch + 1n });
    expect(late).toEqual({ code: 'STALE', epoch: keyexchange.epoch });
    expect(await trafficOf()).toMatchObject({ greeting: 'unanswered' });
    await keyexchange.greeted({ answeredEpoch: keyexchange.epoch, peerEpoch: undefined });
    expect(await trafficOf()).toMatchObject({ greeting: 'unsupported' });
  });

  it('name the SPIs that the engine reports, once the peer has answered', async () => {
    const { keyexchange, engine } = rig;
    await keyexchange.greeted({ answeredEpoch: keyexchange.epoch });
    await delay(1100);
    keyexchange.greetings.length = 0;
    engine.emit(unknown('192.0.2.2', 7), unknown('192.0.2.2', 0x8000_0001), unknown('203.0.113.9', 8));
    await until('a greeting came', () => keyexchange.greetings.length > 0);
    expect(keyexchange.greetings.map(({ unknownSpis }) => unknownSpis)).toEqual([[7, 0x8000_0001]]);
  });

  it('of a peer with a new epoch renew its flows, are answered with our epoch, and are audited', async () => {
    const { keyexchange, engine } = rig;
    await keyexchange.accept(
      keyexchange.acceptOf([flow(1), flow(2)], [keyexchange.offer(), keyexchange.offer()]),
    );
    expect(await keyexchange.greeted({ peerEpoch: 901n })).toEqual({ code: '', epoch: keyexchange.epoch });
    const { want, subject } = await keyexchange.want(1);
    expect(want).toMatchObject({ reason: WantReason.WANT_REASON_RENEW, flows: [flow(1), flow(2)] });
    expect(subject).toBe('evt.flow.missed');
    expect(engine.called('withdraw')).toEqual([]);
    await keyexchange.install(keyexchange.installOf(want, { peerEpoch: 901n }));
    const audited = async () => {
      const events = rig.auditStream.read({ follow: false }, new AbortController().signal);
      for await (const { octets } of events) {
        const event = readEvent(octets);
        if (event?.type === 'peer.restarted') return event.data;
      }
      return undefined;
    };
    const data = await until('the audit has the event', audited);
    expect(data).toEqual({ peer: 'b', epoch: '0x0000000000000385', flows: 2 });
    await delay(1200);
    expect(keyexchange.wants).toHaveLength(1);
  });

  it('of a peer that names an SPI in use renew its flow', async () => {
    const { keyexchange } = rig;
    const [one, other] = [keyexchange.offer(), keyexchange.offer()];
    await keyexchange.accept(keyexchange.acceptOf([flow(1), flow(2)], [one, other]));
    await keyexchange.greeted({ unknownSpis: [other.spi, 999] });
    expect((await keyexchange.want(1)).want.flows).toEqual([flow(2)]);
  });

  it('are malformed without an epoch, or from a peer that is not configured', async () => {
    const { keyexchange } = rig;
    expect((await keyexchange.greeted({ peerEpoch: undefined })).code).toBe('PAYLOAD_INVALID');
    expect((await keyexchange.greeted({ peer: 'z' })).code).toBe('PAYLOAD_INVALID');
  });
});

it('rotates on schedule without a command, and the audit says why', async () => {
  const rig = await startRig({ more: 'keys: { rotateEvery: 1s }' });
  try {
    await until('it has rotated twice', () => rig.engine.called('rotate').length >= 2);
    const rotated = await until('the audit has a rotation', async () => {
      for await (const { octets } of rig.auditStream.read({ follow: false }, new AbortController().signal)) {
        const event = readEvent(octets);
        if (event?.type === 'keys.rotated') return event.data;
      }
      return undefined;
    });
    expect(rotated).toMatchObject({ generation: 2, by: 'us', why: 'schedule', peer: null, cutFlows: 0 });
  } finally {
    await rig.close();
  }
});
