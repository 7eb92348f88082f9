// SPDX-License-Identifier: Apache-2.0
// The core of the stats service: what is kept of the words it hears, for how long and within which bounds, and
// what metrics and health say of them.
import { beforeEach, describe, expect, it } from 'vitest';
import { Mode, type PeerTerms, type ServiceStats } from '../../../proto/gen/bus.js';
import { type Service, services } from '../../../services/shared/contracts.js';
import type { Moment } from '../../../services/shared/moment.js';
import { limits } from '../../../services/stats/core/bounds.js';
import { familiesOf } from '../../../services/stats/core/families.js';
import {
  goneMs,
  LatestReports,
  replicasPerService,
  upMs,
} from '../../../services/stats/core/latest_reports.js';
import { nodeHealthOf } from '../../../services/stats/core/node_health.js';
import { bypassedRule, dataplaneWord, keyExchangeWord, plainWord } from './words.js';

const at = (ms: number): Moment => ({ monotonicMs: 1000 + ms, unixMs: 1_700_000_000_000 + ms });

let words: LatestReports;
beforeEach(() => {
  words = new LatestReports({ peers: ['b', 'c'], bypass: [bypassedRule] }, at(0));
});

/** Values of a family by the text of their labels. */
function valuesOf(name: string, ms = 0): Record<string, number> {
  const family = familiesOf(words, at(ms)).find((each) => each.name === name);
  if (family === undefined) throw new Error(`there is no ${name}`);
  return Object.fromEntries(
    family.samples.map(({ suffix, labels, value }) => [
      `${suffix}${Object.entries(labels)
        .map(([label, text]) => ` ${label}=${text}`)
        .join('')}`.trim(),
      value,
    ]),
  );
}
const hearAll = (ms: number) => {
  words.hear('dataplane', dataplaneWord(), at(ms));
  words.hear('keyexchange', keyExchangeWord(), at(ms));
  words.hear('sampler', plainWord('sampler'), at(ms));
  words.hear('stats', plainWord('stats'), at(ms));
};

describe('the words of a service', () => {
  it('last until it was silent for too long: first it is not up, then it is forgotten', () => {
    hearAll(0);
    expect(valuesOf('psp_service_replicas', upMs)).toEqual({
      'service=dataplane': 1,
      'service=keyexchange': 1,
      'service=sampler': 1,
      'service=stats': 1,
    });
    expect(valuesOf('psp_service_replicas', upMs + 1)).toMatchObject({ 'service=dataplane': 0 });
    expect(valuesOf('psp_master_key_generation', goneMs)).toEqual({ '': 4 });
    expect(valuesOf('psp_master_key_generation', goneMs + 1)).toEqual({});
    expect(valuesOf('psp_peer_connected', goneMs + 1)).toEqual({});
  });

  it('are replaced by its next, replica by replica; of the dataplane there is one', () => {
    words.hear('keyexchange', keyExchangeWord({ id: 'KX1' }), at(0));
    words.hear('keyexchange', keyExchangeWord({ id: 'KX2' }), at(0));
    words.hear('keyexchange', keyExchangeWord({ id: 'KX1', peers: [] }), at(1));
    expect(valuesOf('psp_peer_connected')).toEqual({ 'peer=b replica=KX2': 1 });
    words.hear('dataplane', dataplaneWord({ id: 'DP1', generation: 1 }), at(0));
    words.hear('dataplane', dataplaneWord({ id: 'DP2', generation: 2 }), at(1));
    expect(valuesOf('psp_master_key_generation')).toEqual({ '': 2 });
    expect(valuesOf('psp_service_start_time_seconds')).toMatchObject({ 'service=dataplane': 1_700_000_000 });
  });

  it('are taken from so many replicas and no more, until others are forgotten', () => {
    for (let i = 0; i <= replicasPerService; i++) words.hear('sampler', plainWord('sampler', `S${i}`), at(0));
    expect(words.replicas('sampler', at(0))).toHaveLength(replicasPerService);
    expect(words.counters).toMatchObject({ heard: replicasPerService, replicasRefused: 1 });
    words.hear('sampler', plainWord('sampler', 'late'), at(goneMs + 1));
    expect(words.replicas('sampler', at(goneMs + 1)).map(({ stats }) => stats.id)).toEqual(['late']);
  });

  it('count as those of strangers when they name another service or no id', () => {
    words.hear('keyexchange', plainWord('dataplane'), at(0));
    words.hear('keyexchange', plainWord('keyexchange', ''), at(0));
    words.hear('keyexchange', plainWord('keyexchange', 'a"b\n'), at(0));
    words.hear('keyexchange', plainWord('keyexchange', 'x'.repeat(65)), at(0));
    expect(words.counters).toMatchObject({ heard: 0, strangers: 4 });
    expect(words.replicas('keyexchange', at(0))).toEqual([]);
  });
});

describe('what becomes a series is bounded:', () => {
  const leftOutOf = (change: Partial<ServiceStats>): number => {
    const before = words.counters.rowsLeftOut;
    const word = 'peers' in change || 'histograms' in change ? keyExchangeWord : dataplaneWord;
    words.hear(word === keyExchangeWord ? 'keyexchange' : 'dataplane', word(change), at(0));
    return words.counters.rowsLeftOut - before;
  };
  const [traffic] = dataplaneWord().traffic;
  const [peer] = keyExchangeWord().peers;
  const [histogram] = keyExchangeWord().histograms;
  if (!traffic || !peer || !histogram) throw new Error('the words lack rows');

  it('peers are those of the node file', () => {
    expect(leftOutOf({ traffic: [traffic, { ...traffic, name: 'mallory' }] })).toBe(1);
    expect(leftOutOf({ peers: [peer, { ...peer, name: 'mallory' }] })).toBe(1);
    expect(Object.keys(valuesOf('psp_peer_packets_total'))).toEqual([
      'peer=b direction=egress',
      'peer=b direction=ingress',
    ]);
  });

  it('states are those of their tables', () => {
    expect(leftOutOf({ peers: [{ ...peer, breaker: 'ajar' }] })).toBe(1);
    expect(leftOutOf({ peers: [{ ...peer, link: 'perhaps' }] })).toBe(1);
    const drop = { reason: 'no_peer', direction: 'sideways', packets: 1n };
    expect(leftOutOf({ drops: [drop] })).toBe(1);
    const ports = dataplaneWord().ports.map((port) => ({ ...port, role: 'third' }));
    expect(leftOutOf({ ports })).toBe(2);
  });

  it('entries of bypass are those of the node file, modes those that there are', () => {
    const [bypassed] = dataplaneWord().bypass;
    const [terms] = dataplaneWord().terms;
    if (!bypassed || !terms) throw new Error('the words lack rows');
    expect(leftOutOf({ bypass: [bypassed, bypassed, { ...bypassed, rule: '0.0.0.0/0' }] })).toBe(2);
    expect(leftOutOf({ terms: [terms, { ...terms, name: 'mallory' }] })).toBe(1);
    expect(leftOutOf({ terms: [{ ...terms, mode: Mode.MODE_UNSPECIFIED }] })).toBe(1);
    expect(valuesOf('psp_peer_info')).toEqual({});
  });

  it('names have a shape and come once', () => {
    const named = (name: string) => ({ name, value: 1n });
    expect(leftOutOf({ counters: ['a b', '', '9x', 'a', 'a', 'B_c'].map(named) })).toBe(4);
    expect(leftOutOf({ pipes: ['x', 'x', 'X'].map((pipe) => ({ pipe, hit: 1n, miss: 1n })) })).toBe(2);
    expect(leftOutOf({ version: 'a"} 1\nforged 2' })).toBe(0);
    expect(valuesOf('psp_build_info')).toEqual({ 'service=dataplane version=': 1 });
  });

  it('lists have a length', () => {
    const many = Array.from({ length: 200 }, (_, i) => `n${i}`);
    expect(leftOutOf({ counters: many.map((name) => ({ name, value: 1n })) })).toBe(200 - limits.counters);
    expect(leftOutOf({ pipes: many.map((pipe) => ({ pipe, hit: 1n, miss: 1n })) })).toBe(200 - limits.pipes);
    const drops = many.map((reason) => ({ reason, direction: 'egress', packets: 1n }));
    expect(leftOutOf({ drops })).toBe(200 - limits.drops);
    const lcores = many.map(() => ({ rxPackets: 1n, txPackets: 1n }));
    expect(leftOutOf({ lcores })).toBe(200 - limits.lcores);
    const health = [...many, ...many.map((name) => `p${name}`)].map((part) => ({
      part,
      message: 'm'.repeat(10_000),
      sinceMs: 1n,
    }));
    expect(leftOutOf({ health })).toBe(400 - limits.health);
    const kept = words.replicas('dataplane', at(0))[0]?.stats.health ?? [];
    expect(kept.every(({ message }) => message.length === 500)).toBe(true);
  });

  it.each([
    ['counts that fall', { counts: [3n, 2n, 4n] }],
    ['a count too few', { counts: [1n, 2n] }],
    ['bounds that fall', { upperBounds: [0.1, 0.01] }],
    ['a bound that is no number', { upperBounds: [0.1, Number.NaN] }],
    ['a sum that is no number', { sum: Number.POSITIVE_INFINITY }],
    ['another name', { name: 'other' }],
  ])('a histogram with %s is none', (_, change) => {
    expect(leftOutOf({ histograms: [{ ...histogram, ...change }] })).toBe(1);
    expect(valuesOf('psp_exchange_duration_seconds')).toEqual({});
  });
});

describe('metrics', () => {
  it('tell packets by pipe, drop, port and peer', () => {
    hearAll(0);
    expect(valuesOf('psp_pipe_packets_total')).toMatchObject({
      'pipe=egress_acl outcome=hit': 70,
      'pipe=egress_acl outcome=miss': 2,
    });
    expect(valuesOf('psp_dropped_packets_total')).toEqual({
      'direction=egress reason=no_peer': 5,
      'direction=ingress reason=icv_failure': 1,
    });
    expect(valuesOf('psp_port_received_bytes_total')).toEqual({ 'port=secured': 2, 'port=unsecured': 6 });
    expect(valuesOf('psp_port_up')).toEqual({ 'port=secured': 1, 'port=unsecured': 0 });
    expect(valuesOf('psp_port_sent_packets_total')).toEqual({ 'port=secured': 3, 'port=unsecured': 7 });
    expect(valuesOf('psp_peer_bytes_total')).toEqual({
      'peer=b direction=egress': 7000,
      'peer=b direction=ingress': 6000,
    });
  });

  it('give times in seconds, and none for what never was', () => {
    hearAll(0);
    expect(valuesOf('psp_peer_last_packet_timestamp_seconds')).toEqual({
      'peer=b direction=egress': 1_700_000_100.5,
    });
    expect(valuesOf('psp_master_key_created_timestamp_seconds')).toEqual({ '': 1_700_000_000.25 });
    expect(valuesOf('psp_peer_last_key_timestamp_seconds')).toEqual({ 'peer=b': 1_700_000_050 });
  });

  it('give the share that is sampled', () => {
    for (const [samplingLog2, ratio] of [
      [undefined, 0],
      [0, 1],
      [10, 1 / 1024],
    ] as const) {
      words.hear('dataplane', dataplaneWord({ samplingLog2 }), at(0));
      expect(valuesOf('psp_sampling_ratio')).toEqual({ '': ratio });
    }
  });

  it.each(['connected', 'connecting', 'failed'])('tell a link that is %s', (link) => {
    const peers = keyExchangeWord().peers.map((peer) => ({ ...peer, link, breaker: 'half-open' }));
    words.hear('keyexchange', keyExchangeWord({ peers }), at(0));
    expect(valuesOf('psp_peer_connected')).toEqual({ 'peer=b replica=KX1': link === 'connected' ? 1 : 0 });
    expect(valuesOf('psp_peer_breaker')).toEqual({
      'peer=b state=closed replica=KX1': 0,
      'peer=b state=half-open replica=KX1': 1,
      'peer=b state=open replica=KX1': 0,
    });
  });

  it('tell how long exchanges took, cumulative and with +Inf', () => {
    hearAll(0);
    expect(valuesOf('psp_exchange_duration_seconds')).toEqual({
      '_bucket le=0.001 replica=KX1': 1,
      '_bucket le=0.01 replica=KX1': 3,
      '_bucket le=+Inf replica=KX1': 4,
      '_sum replica=KX1': 0.5,
      '_count replica=KX1': 4,
    });
  });

  it('tell levels from counters, and 64-bit counts as numbers', () => {
    hearAll(0);
    const counters = ['linesWaitingBytes', 'auditBacklog', 'held'].map((name) => ({ name, value: 1n }));
    words.hear('sampler', plainWord('sampler', 'X1', { counters }), at(0));
    expect(valuesOf('psp_service_level')).toEqual({
      'service=dataplane name=held': 3,
      'service=sampler name=auditBacklog replica=X1': 1,
      'service=sampler name=linesWaitingBytes replica=X1': 1,
    });
    expect(valuesOf('psp_service_events_total')).toEqual({
      'service=dataplane name=heldTotal': 2 ** 60,
      'service=keyexchange name=wants replica=KX1': 9,
      'service=sampler name=held replica=X1': 1,
    });
  });

  it('take what waits in the engine for levels', () => {
    const waiting = ['neighbours', 'neighbourQueued', 'missesWaiting'];
    const counters = waiting.map((name) => ({ name, value: 1n }));
    words.hear('dataplane', dataplaneWord({ counters }), at(0));
    expect(Object.keys(valuesOf('psp_service_level'))).toEqual(
      waiting.map((name) => `service=dataplane name=${name}`),
    );
    expect(valuesOf('psp_service_events_total')).toEqual({});
  });

  it('say what is not encrypted, and what passes the gateway by', () => {
    words.hear('dataplane', dataplaneWord(), at(0));
    expect(valuesOf('psp_peer_info')).toEqual({
      'peer=b mode=transport auth_only=true cookie=false': 1,
    });
    expect(valuesOf('psp_peer_sampling_ratio')).toEqual({ 'peer=b': 1 / 8 });
    expect(valuesOf('psp_lcore_packets_total')).toEqual({
      'lcore=0 direction=rx': 31,
      'lcore=0 direction=tx': 32,
      'lcore=1 direction=rx': 33,
      'lcore=1 direction=tx': 34,
    });
    expect(valuesOf('psp_bypass_packets_total')).toEqual({
      [`rule=${bypassedRule} direction=egress`]: 17,
      [`rule=${bypassedRule} direction=ingress`]: 18,
    });
    expect(valuesOf('psp_ingress_acl_enabled')).toEqual({ '': 0 });
    words.hear('dataplane', dataplaneWord({ ingressAcl: true }), at(1));
    expect(valuesOf('psp_ingress_acl_enabled')).toEqual({ '': 1 });
    const [terms] = dataplaneWord().terms;
    words.hear('dataplane', dataplaneWord({ terms: [{ ...terms, cryptOffset: 10 } as PeerTerms] }), at(2));
    expect(valuesOf('psp_peer_crypt_offset_bytes')).toEqual({ 'peer=b': 40 });
  });

  it("have the specification's counters by Linux's names, each once", () => {
    words.hear('dataplane', dataplaneWord(), at(0));
    const names = 'rx-packets rx-bytes rx-auth-fail rx-error rx-bad tx-packets tx-bytes tx-error';
    const linux = [...names.split(' '), 'key-rotations', 'stale-events'];
    expect(linux.map((name) => valuesOf(`psp_${name.replaceAll('-', '_')}_total`))).toEqual(
      linux.map((_, i) => ({ '': 100 + i })),
    );
    expect(Object.keys(valuesOf('psp_service_events_total'))).toEqual(['service=dataplane name=heldTotal']);
  });

  it('are the same in another replica that heard the same', () => {
    const other = new LatestReports({ peers: ['b', 'c'], bypass: [bypassedRule] }, at(-5000));
    const said: [Service, ServiceStats][] = [
      ['keyexchange', keyExchangeWord({ id: 'KX2' })],
      ['dataplane', dataplaneWord()],
      ['keyexchange', keyExchangeWord({ id: 'KX1' })],
    ];
    for (const [service, word] of said) words.hear(service, word, at(0));
    for (const [service, word] of [...said].reverse()) other.hear(service, word, at(3));
    expect(familiesOf(other, at(10))).toEqual(familiesOf(words, at(10)));
  });
});

describe('health', () => {
  const healthAt = (ms: number) => nodeHealthOf('a', words, at(ms));

  it('is good while all are heard and have nothing to say', () => {
    hearAll(0);
    const health = healthAt(1200);
    expect(health).toMatchObject({ node: 'a', ok: true });
    expect(Object.keys(health.services)).toEqual([...services]);
    expect(health.services.keyexchange).toEqual({
      ok: true,
      wrong: [],
      replicas: [
        {
          id: 'KX1',
          version: '0.1.0',
          startedMs: 1_700_000_000_000,
          ageMs: 1200,
          up: true,
          wrong: [],
          notices: [],
        },
      ],
    });
  });

  it('tells what a service says is wrong, since when', () => {
    hearAll(0);
    const wrong = { part: 'peer b', message: 'no connection', sinceMs: 5 };
    words.hear('keyexchange', keyExchangeWord({ health: [{ ...wrong, sinceMs: 5n }] }), at(0));
    expect(healthAt(1).ok).toBe(false);
    expect(healthAt(1).services.keyexchange).toMatchObject({ ok: false, replicas: [{ wrong: [wrong] }] });
    expect(healthAt(1).services.dataplane.ok).toBe(true);
    words.hear('dataplane', dataplaneWord({ notices: [{ ...wrong, sinceMs: 5n }] }), at(0));
    expect(healthAt(1).services.dataplane).toMatchObject({
      ok: true,
      replicas: [{ wrong: [], notices: [wrong] }],
    });
  });

  it('tells who fell silent since when, and who was never heard', () => {
    words.hear('dataplane', dataplaneWord(), at(100));
    const [silent] = healthAt(100 + upMs + 1).services.dataplane.wrong;
    expect(silent).toMatchObject({ part: 'dataplane', sinceMs: at(100).unixMs });
    expect(silent?.message).toMatch(/^dataplane fell silent; /);
    const [never] = healthAt(100).services.sampler.wrong;
    expect(never).toMatchObject({ part: 'sampler', sinceMs: at(0).unixMs });
    expect(never?.message).toMatch(/^sampler was never heard; /);
  });

  it('is that of the replicas that are up', () => {
    hearAll(0);
    const health = [{ part: 'x', message: 'y', sinceMs: 1n }];
    words.hear('keyexchange', keyExchangeWord({ id: 'old', health }), at(0));
    words.hear('keyexchange', keyExchangeWord({ id: 'new' }), at(upMs));
    const { keyexchange } = healthAt(upMs + 1).services;
    expect(keyexchange.ok).toBe(true);
    expect(keyexchange.replicas.map(({ id, up }) => [id, up])).toEqual([
      ['KX1', false],
      ['new', true],
      ['old', false],
    ]);
  });
});
