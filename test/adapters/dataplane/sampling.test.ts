// SPDX-License-Identifier: Apache-2.0
// Samples on a real bus, from an engine that makes them up to a sampler that the test speaks for: what it takes,
// what it never answers, what nobody takes; and the command that sets how many there are.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadAddon } from '../../../native/addon/load.js';
import { type Sample, SamplePoint } from '../../../proto/gen/bus.js';
import { readEvent } from '../../../services/shared/audit/event.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { contracts } from '../../../services/shared/contracts.js';
import { until } from '../../e2e/namespace.js';
import { asService } from '../shared/nats_server.js';
import { longMs } from '../shared/waiting.js';
import { missed, type Rig, startRig } from './rig.js';
import { sampleColumns } from './sample_columns.js';

/** Samples that may be on their way on one subject. */
const windowed = 32 * 256;

let rig: Rig;
let samplers: TestSampler[] = [];
beforeEach(async () => {
  rig = await startRig();
});
afterEach(async () => {
  await Promise.all(samplers.map(({ bus }) => bus.close()));
  samplers = [];
  await rig.close();
});

class TestSampler {
  readonly egress: Sample[] = [];
  readonly ingress: Sample[] = [];
  readonly failed: Sample[] = [];
  readonly batches: number[] = [];
  /** What a batch waits for before it is answered. */
  answers: Promise<void> = Promise.resolve();

  constructor(readonly bus: Bus) {}

  /** Source ports, in the order in which samples came. */
  get ports(): number[] {
    return this.egress.map(({ sourcePort }) => sourcePort);
  }
}

async function sampler(): Promise<TestSampler> {
  const made = new TestSampler(await rig.nats.connect('sampler', asService));
  samplers.push(made);
  const ways = {
    egress: contracts.sampleEgress,
    ingress: contracts.sampleIngress,
    failed: contracts.captureFailed,
  };
  for (const way of ['egress', 'ingress', 'failed'] as const) {
    const contract = ways[way];
    made.bus.respond(contract, async ({ samples }) => {
      made.batches.push(samples.length);
      made[way].push(...samples);
      await made.answers;
      return {};
    });
  }
  await made.bus.flush();
  return made;
}

const status = () => rig.operator.request(contracts.dataplaneStatus, {}, longMs);

/** Delivered, dropped, unanswered. */
async function counted(): Promise<number[]> {
  const { counters } = await status();
  const byName = new Map(counters.map(({ name, value }) => [name, Number(value)]));
  return ['samplesDelivered', 'samplesDropped', 'samplesUnanswered'].map((name) => byName.get(name) ?? -1);
}
const counts = (...expected: number[]) =>
  until(`the counters are ${expected}`, async () => `${await counted()}` === `${expected}`, longMs);

const ports = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i);

describe('a sample', () => {
  it('arrives as it was taken, on the subject of its point', async () => {
    const taker = await sampler();
    const beforeMs = Date.now();
    rig.engine.sample(sampleColumns({ count: 1, from: 1000, copied: 98 }));
    rig.engine.sample(sampleColumns({ count: 1, point: 'ingressOpened' }));
    await until('both came', () => taker.egress.length + taker.ingress.length === 2);
    const { atUs: sealedUs, ...sealed } = taker.egress[0] as Sample;
    expect(sealed).toEqual({
      point: SamplePoint.SAMPLE_POINT_EGRESS_SEALED,
      flow: { source: Buffer.from([10, 1, 0, 1]), destination: Buffer.from([10, 2, 0, 1]) },
      protocol: 17,
      sourcePort: 1000,
      destinationPort: 7000,
      peer: 'b',
      spi: 0x8000_0001,
      rateLog2: 4,
      originalLength: 1400,
      copy: Buffer.alloc(98, 1000 & 255),
      reason: '',
    });
    // The engine's clock is another one, which may be some milliseconds off.
    expect(Number(sealedUs) / 1000).toBeGreaterThan(beforeMs - 100);
    expect(Number(sealedUs) / 1000).toBeLessThan(Date.now() + 100);
    expect(taker.ingress[0]?.point).toBe(SamplePoint.SAMPLE_POINT_INGRESS_OPENED);
    expect(taker.ingress[0]?.rateLog2).toBeUndefined();
    await counts(2, 0, 0);
  });

  it('taken before the seal shares the subject and the order of those taken after it', async () => {
    const taker = await sampler();
    rig.engine.sample(sampleColumns({ count: 1, from: 1, point: 'egressPlain' }));
    rig.engine.sample(sampleColumns({ count: 1, from: 2 }));
    rig.engine.sample(sampleColumns({ count: 1, from: 3, point: 'egressPlain' }));
    await until('all came', () => taker.egress.length === 3);
    expect(taker.egress.map(({ point, sourcePort }) => [point, sourcePort])).toEqual([
      [SamplePoint.SAMPLE_POINT_EGRESS_PLAIN, 1],
      [SamplePoint.SAMPLE_POINT_EGRESS_SEALED, 2],
      [SamplePoint.SAMPLE_POINT_EGRESS_PLAIN, 3],
    ]);
  });

  it('of a packet that failed travels on a subject of its own, with the reason by its name', async () => {
    const taker = await sampler();
    const { dropReasons } = loadAddon();
    const icv = dropReasons.findIndex(({ name }) => name === 'icv_failure');
    rig.engine.sample(sampleColumns({ count: 2, point: 'ingressFailed', reason: icv }));
    rig.engine.sample(sampleColumns({ count: 1, point: 'egressFailed', reason: 0 }));
    await until('all came', () => taker.failed.length === 3);
    const [first] = dropReasons;
    expect(taker.failed.map(({ point, reason }) => [point, reason])).toEqual([
      [SamplePoint.SAMPLE_POINT_INGRESS_FAILED, 'ingress/icv_failure'],
      [SamplePoint.SAMPLE_POINT_INGRESS_FAILED, 'ingress/icv_failure'],
      [SamplePoint.SAMPLE_POINT_EGRESS_FAILED, `${first?.direction}/${first?.name}`],
    ]);
    expect(taker.egress.length + taker.ingress.length).toBe(0);
    await until('they are counted apart', async () => {
      const { counters } = await status();
      return counters.some(({ name, value }) => name === 'capturesDelivered' && value === 3n);
    });
    await counts(0, 0, 0);
  });

  it('keeps its place among others, in full batches of the longest copies, too', async () => {
    const taker = await sampler();
    for (let i = 0; i < 4; i++)
      rig.engine.sample(sampleColumns({ count: 512, from: 1 + i * 512, copied: 1024 }));
    await until('all came', () => taker.egress.length === 2048);
    expect(taker.ports).toEqual(ports(2048));
    expect(Math.max(...taker.batches)).toBe(256);
    expect(
      taker.egress.every(({ copy, sourcePort }) => copy.equals(Buffer.alloc(1024, sourcePort & 255))),
    ).toBe(true);
    await counts(2048, 0, 0);
  });
});

describe('a sampler', () => {
  it('that is absent costs samples at once, and they are reported', async () => {
    for (let i = 0; i < 20; i++) rig.engine.sample(sampleColumns({ count: 500 }));
    await counts(0, 10_000, 0);
    const { health } = await status();
    expect(health.map(({ part, message }) => `${part}: ${message}`)).toEqual([
      "samples: no sampler accepted 10000 samples in the last minute; see the sampler's log",
    ]);
    const taker = await sampler();
    await until('samples arrive', async () => {
      rig.engine.sample(sampleColumns({ count: 1 }));
      return taker.egress.length > 0;
    });
  });

  it('that never answers is given one window, then a batch at a time; misses go on', async () => {
    const stuck = await sampler();
    let release: () => void = () => undefined;
    stuck.answers = new Promise((resolve) => {
      release = resolve;
    });
    for (let i = 0; i < 10; i++) rig.engine.sample(sampleColumns({ count: 1024, from: 1 + i * 1024 }));
    const [delivered, dropped] = await counted();
    expect([delivered, dropped]).toEqual([0, 10_240 - windowed]);
    rig.engine.emit(...missed(1));
    const { want } = await rig.keyexchange.want(1);
    expect(await rig.keyexchange.install(rig.keyexchange.installOf(want))).toMatchObject({ code: '' });
    await counts(0, 10_240 - windowed, windowed);
    rig.engine.sample(sampleColumns({ count: 1024, from: 50_000 }));
    release();
    stuck.answers = Promise.resolve();
    await counts(256, 10_240 - windowed + 768, windowed);
    expect((await status()).health[0]?.message).toMatch(/^no sampler accepted 11008 samples/);
    rig.engine.sample(sampleColumns({ count: 1024, from: 1 }));
    await counts(1280, 10_240 - windowed + 768, windowed);
  });

  it('that dies with samples under way leaves the others to the next', async () => {
    const first = await sampler();
    first.answers = new Promise(() => undefined);
    rig.engine.sample(sampleColumns({ count: 10 }));
    await until('it has them', () => first.egress.length === 10);
    const second = await sampler();
    await first.bus.close();
    await counts(0, 0, 10);
    rig.engine.sample(sampleColumns({ count: 5 }));
    await counts(5, 0, 10);
    expect(second.ports).toEqual(ports(5));
  });

  it('shares samples with its replicas, each once', async () => {
    const both = [await sampler(), await sampler()];
    for (let i = 0; i < 40; i++) rig.engine.sample(sampleColumns({ count: 256, from: 1 + i * 256 }));
    await counts(windowed, 40 * 256 - windowed, 0);
    expect(both.every(({ egress }) => egress.length > 256)).toBe(true);
    const all = both.flatMap((each) => each.ports).sort((a, b) => a - b);
    expect(all).toEqual(ports(windowed));
  });
});

describe('the bus', () => {
  it('that is away costs samples, at once; nothing waits for it', async () => {
    const taker = await sampler();
    await rig.busIsAway();
    for (let i = 0; i < 10; i++) rig.engine.sample(sampleColumns({ count: 100 }));
    await rig.nats.start();
    await until('the dataplane is back', () => counted().catch(() => undefined));
    expect(await counted()).toEqual([0, 1000, 0]);
    await until('the sampler is back', async () => {
      rig.engine.sample(sampleColumns({ count: 1, from: 60_000 }));
      return taker.egress.length > 0;
    });
    expect(taker.ports[0]).toBe(60_000);
  });
});

describe('a stop', () => {
  it('waits for samples on their way, those that wait behind them included', async () => {
    const slow = await sampler();
    slow.answers = new Promise((resolve) => setTimeout(resolve, 300));
    rig.engine.sample(sampleColumns({ count: 300 }));
    await rig.dataplane.stop();
    expect(slow.ports).toEqual(ports(300));
  });

  it('does not wait for a sampler that never answers', async () => {
    const stuck = await sampler();
    stuck.answers = new Promise(() => undefined);
    rig.engine.sample(sampleColumns({ count: 300 }));
    await until('it has some', () => stuck.egress.length > 0);
    await rig.dataplane.stop();
    expect(rig.engine.calls.at(-1)?.name).toBe('stop');
  });
});

describe('cmd.sampling.set', () => {
  const set = (egressLog2: number | undefined, peer = '') =>
    rig.operator.request(contracts.samplingSet, { egressLog2, peer }, longMs);
  const told = () => rig.engine.called('sampling').map(({ about }) => about);

  it('sets a rate and takes it off again', async () => {
    expect((await status()).samplingLog2).toBeUndefined();
    expect(await set(4)).toEqual({ code: '', egressLog2: 4, faults: '' });
    expect((await status()).samplingLog2).toBe(4);
    expect(await set(0)).toEqual({ code: '', egressLog2: 0, faults: '' });
    expect(await set(undefined)).toEqual({ code: '', egressLog2: undefined, faults: '' });
    expect((await status()).samplingLog2).toBeUndefined();
    expect(told()).toEqual([4, 0, undefined]);
  });

  it('refuses what is no rate, and says so while the engine is busy; the rate stays', async () => {
    await set(16);
    expect(await set(17)).toEqual({ code: 'PAYLOAD_INVALID', egressLog2: 16, faults: '' });
    rig.engine.busy = 1;
    expect(await set(undefined)).toEqual({ code: 'ENGINE_BUSY', egressLog2: 16, faults: '' });
    expect(told()).toEqual([16, undefined]);
  });

  it('sets the rate towards one peer, until one is set towards all', async () => {
    const ratesOf = async () => {
      const { samplingLog2, terms } = await status();
      return [samplingLog2, ...terms.map((peer) => peer.samplingLog2)];
    };
    expect(await set(8)).toEqual({ code: '', egressLog2: 8, faults: '' });
    expect(await ratesOf()).toEqual([8, 8]);
    expect(await set(3, 'b')).toEqual({ code: '', egressLog2: 3, faults: '' });
    expect(await ratesOf()).toEqual([8, 3]);
    expect(await set(undefined, 'b')).toEqual({ code: '', egressLog2: undefined, faults: '' });
    expect(await ratesOf()).toEqual([8, undefined]);
    expect(await set(8)).toEqual({ code: '', egressLog2: 8, faults: '' });
    expect(await ratesOf()).toEqual([8, 8]);
    expect(told()).toEqual([8, { egressLog2: 3, peer: 0 }, { egressLog2: undefined, peer: 0 }, 8]);
  });

  it('refuses a peer that there is none, and changes nothing', async () => {
    await set(8);
    expect(await set(3, 'z')).toEqual({ code: 'PAYLOAD_INVALID', egressLog2: 8, faults: '' });
    expect(told()).toEqual([8]);
  });

  it('reports to operators and auditors what each of several commands at once changed', async () => {
    // The second of two that are the same changes nothing.
    const answers = await Promise.all([set(1), set(2), set(2), set(3)]);
    expect(answers.map(({ egressLog2 }) => egressLog2)).toEqual([1, 2, 2, 3]);
    const changes: unknown[] = [];
    await until('all are stored', async () => {
      changes.length = 0;
      const events = rig.auditStream.read({ follow: false }, new AbortController().signal);
      for await (const { octets } of events) {
        const event = readEvent(octets);
        if (event?.type === 'sampling.changed') changes.push(event.data);
      }
      return changes.length === 3;
    });
    const by = 'operator';
    expect(changes).toEqual([
      { from: null, to: 1, peer: null, by },
      { from: 1, to: 2, peer: null, by },
      { from: 2, to: 3, peer: null, by },
    ]);
  });
});
