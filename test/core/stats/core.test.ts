// SPDX-License-Identifier: Apache-2.0
// The core of the stats service: which reports it keeps, for how long and within which limits, and
// the metrics and health that follow from them.
import { beforeEach, describe, expect, it } from 'vitest';
import { Certificate, Mode, type PeerTerms, type ServiceStats } from '../../../proto/gen/bus.js';
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
import { bypassedRule, dataplaneReport, keyExchangeReport, plainReport } from './reports.js';

const at = (ms: number): Moment => ({ monotonicMs: 1000 + ms, unixMs: 1_700_000_000_000 + ms });

let reports: LatestReports;
beforeEach(() => {
  reports = new LatestReports({ peers: ['b', 'c'], bypass: [bypassedRule] }, at(0));
});

/** Values of a family by the text of their labels. */
function valuesOf(name: string, ms = 0): Record<string, number> {
  const family = familiesOf(reports, at(ms)).find((each) => each.name === name);
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
  reports.receive('dataplane', dataplaneReport(), at(ms));
  reports.receive('keyexchange', keyExchangeReport(), at(ms));
  reports.receive('sampler', plainReport('sampler'), at(ms));
  reports.receive('stats', plainReport('stats'), at(ms));
};

const certificateOf = (kind: string, number: number) => ({
  ...Certificate.fromPartial({ kind, notAfterMs: 1n }),
  fingerprint: number.toString(16).padStart(64, '0'),
});

describe('the reports of a service', () => {
  it('expire without new ones: first the replica is down, then its series end', () => {
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

  it('are replaced by newer ones of the same replica; the dataplane has one replica', () => {
    reports.receive('keyexchange', keyExchangeReport({ id: 'KX1' }), at(0));
    reports.receive('keyexchange', keyExchangeReport({ id: 'KX2' }), at(0));
    reports.receive('keyexchange', keyExchangeReport({ id: 'KX1', peers: [] }), at(1));
    expect(valuesOf('psp_peer_connected')).toEqual({ 'peer=b replica=KX2': 1 });
    reports.receive('dataplane', dataplaneReport({ id: 'DP1', generation: 1 }), at(0));
    reports.receive('dataplane', dataplaneReport({ id: 'DP2', generation: 2 }), at(1));
    expect(valuesOf('psp_master_key_generation')).toEqual({ '': 2 });
    expect(valuesOf('psp_service_start_time_seconds')).toMatchObject({ 'service=dataplane': 1_700_000_000 });
  });

  it('are accepted from a limited number of replicas, until others have expired', () => {
    for (let i = 0; i <= replicasPerService; i++)
      reports.receive('sampler', plainReport('sampler', `S${i}`), at(0));
    expect(reports.replicas('sampler', at(0))).toHaveLength(replicasPerService);
    expect(reports.counters).toMatchObject({ reportsAccepted: replicasPerService, replicasRefused: 1 });
    reports.receive('sampler', plainReport('sampler', 'late'), at(goneMs + 1));
    expect(reports.replicas('sampler', at(goneMs + 1)).map(({ stats }) => stats.id)).toEqual(['late']);
  });

  it('are rejected and counted when they name another service or no id', () => {
    reports.receive('keyexchange', plainReport('dataplane'), at(0));
    reports.receive('keyexchange', plainReport('keyexchange', ''), at(0));
    reports.receive('keyexchange', plainReport('keyexchange', 'a"b\n'), at(0));
    reports.receive('keyexchange', plainReport('keyexchange', 'x'.repeat(65)), at(0));
    expect(reports.counters).toMatchObject({ reportsAccepted: 0, reportsRejected: 4 });
    expect(reports.replicas('keyexchange', at(0))).toEqual([]);
  });
});

describe('series are bounded:', () => {
  const leftOutOf = (change: Partial<ServiceStats>): number => {
    const before = reports.counters.rowsLeftOut;
    const report = 'peers' in change || 'histograms' in change ? keyExchangeReport : dataplaneReport;
    reports.receive(report === keyExchangeReport ? 'keyexchange' : 'dataplane', report(change), at(0));
    return reports.counters.rowsLeftOut - before;
  };
  const [traffic] = dataplaneReport().traffic;
  const [peer] = keyExchangeReport().peers;
  const [histogram] = keyExchangeReport().histograms;
  if (!traffic || !peer || !histogram) throw new Error('the reports lack rows');

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
    const ports = dataplaneReport().ports.map((port) => ({ ...port, role: 'third' }));
    expect(leftOutOf({ ports })).toBe(2);
  });

  it('entries of bypass are those of the node file, modes those of the protocol', () => {
    const [bypassed] = dataplaneReport().bypass;
    const [terms] = dataplaneReport().terms;
    if (!bypassed || !terms) throw new Error('the reports lack rows');
    const own = certificateOf('node', 1);
    expect(
      leftOutOf({ certificates: [own, own, { ...own, kind: 'x' }, { ...own, fingerprint: 'a"} 1' }] }),
    ).toBe(3);
    expect(leftOutOf({ bypass: [bypassed, bypassed, { ...bypassed, rule: '0.0.0.0/0' }] })).toBe(2);
    expect(leftOutOf({ terms: [terms, { ...terms, name: 'mallory' }] })).toBe(1);
    expect(leftOutOf({ terms: [{ ...terms, mode: Mode.MODE_UNSPECIFIED }] })).toBe(1);
    expect(valuesOf('psp_peer_info')).toEqual({});
  });

  it('names have a form and are unique', () => {
    const named = (name: string) => ({ name, value: 1n });
    expect(leftOutOf({ counters: ['a b', '', '9x', 'a', 'a', 'B_c'].map(named) })).toBe(4);
    expect(leftOutOf({ pipes: ['x', 'x', 'X'].map((pipe) => ({ pipe, hit: 1n, miss: 1n })) })).toBe(2);
    expect(leftOutOf({ version: 'a"} 1\nforged 2' })).toBe(0);
    expect(valuesOf('psp_build_info')).toEqual({ 'service=dataplane version=': 1 });
  });

  it('lists have a maximum length', () => {
    const many = Array.from({ length: 200 }, (_, i) => `n${i}`);
    expect(leftOutOf({ counters: many.map((name) => ({ name, value: 1n })) })).toBe(200 - limits.counters);
    expect(leftOutOf({ pipes: many.map((pipe) => ({ pipe, hit: 1n, miss: 1n })) })).toBe(200 - limits.pipes);
    const drops = many.map((reason) => ({ reason, direction: 'egress', packets: 1n }));
    expect(leftOutOf({ drops })).toBe(200 - limits.drops);
    const lcores = many.map(() => ({ rxPackets: 1n, txPackets: 1n }));
    expect(leftOutOf({ lcores })).toBe(200 - limits.lcores);
    const certificates = many.map((_, i) => certificateOf('authority', i));
    expect(leftOutOf({ certificates })).toBe(200 - limits.certificates);
    const health = [...many, ...many.map((name) => `p${name}`)].map((part) => ({
      part,
      message: 'm'.repeat(10_000),
      sinceMs: 1n,
    }));
    expect(leftOutOf({ health })).toBe(400 - limits.health);
    const kept = reports.replicas('dataplane', at(0))[0]?.stats.health ?? [];
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
  it('count packets by pipe, drop, port and peer', () => {
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

  it('have times in seconds, and none for what never happened', () => {
    hearAll(0);
    expect(valuesOf('psp_peer_last_packet_timestamp_seconds')).toEqual({
      'peer=b direction=egress': 1_700_000_100.5,
    });
    expect(valuesOf('psp_master_key_created_timestamp_seconds')).toEqual({ '': 1_700_000_000.25 });
    expect(valuesOf('psp_peer_last_key_timestamp_seconds')).toEqual({ 'peer=b': 1_700_000_050 });
    expect(valuesOf('psp_peer_greeted')).toEqual({ 'peer=b': 1 });
  });

  it('have the share of packets that is sampled', () => {
    for (const [samplingLog2, ratio] of [
      [undefined, 0],
      [0, 1],
      [10, 1 / 1024],
    ] as const) {
      reports.receive('dataplane', dataplaneReport({ samplingLog2 }), at(0));
      expect(valuesOf('psp_sampling_ratio')).toEqual({ '': ratio });
    }
  });

  it.each(['connected', 'connecting', 'failed'])('report a link that is %s', (link) => {
    const peers = keyExchangeReport().peers.map((peer) => ({ ...peer, link, breaker: 'half-open' }));
    reports.receive('keyexchange', keyExchangeReport({ peers }), at(0));
    expect(valuesOf('psp_peer_connected')).toEqual({ 'peer=b replica=KX1': link === 'connected' ? 1 : 0 });
    expect(valuesOf('psp_peer_breaker')).toEqual({
      'peer=b state=closed replica=KX1': 0,
      'peer=b state=half-open replica=KX1': 1,
      'peer=b state=open replica=KX1': 0,
    });
  });

  it('have the duration of exchanges in cumulative buckets with +Inf', () => {
    hearAll(0);
    expect(valuesOf('psp_exchange_duration_seconds')).toEqual({
      '_bucket le=0.001 replica=KX1': 1,
      '_bucket le=0.01 replica=KX1': 3,
      '_bucket le=+Inf replica=KX1': 4,
      '_sum replica=KX1': 0.5,
      '_count replica=KX1': 4,
    });
  });

  it('separate gauges from counters, and have 64-bit counts as numbers', () => {
    hearAll(0);
    const counters = ['linesWaitingBytes', 'auditBacklog', 'held'].map((name) => ({ name, value: 1n }));
    reports.receive('sampler', plainReport('sampler', 'X1', { counters }), at(0));
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

  it('have what waits in the engine as gauges', () => {
    const waiting = ['neighbours', 'neighbourQueued', 'missesWaiting'];
    const counters = waiting.map((name) => ({ name, value: 1n }));
    reports.receive('dataplane', dataplaneReport({ counters }), at(0));
    expect(Object.keys(valuesOf('psp_service_level'))).toEqual(
      waiting.map((name) => `service=dataplane name=${name}`),
    );
    expect(valuesOf('psp_service_events_total')).toEqual({});
  });

  it('report what is not encrypted, and what bypasses encryption', () => {
    reports.receive('dataplane', dataplaneReport(), at(0));
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
    reports.receive('dataplane', dataplaneReport({ ingressAcl: true }), at(1));
    expect(valuesOf('psp_ingress_acl_enabled')).toEqual({ '': 1 });
    const [terms] = dataplaneReport().terms;
    reports.receive(
      'dataplane',
      dataplaneReport({ terms: [{ ...terms, cryptOffset: 10 } as PeerTerms] }),
      at(2),
    );
    expect(valuesOf('psp_peer_crypt_offset_bytes')).toEqual({ 'peer=b': 40 });
  });

  it("have the specification's counters by Linux's names, each once", () => {
    reports.receive('dataplane', dataplaneReport(), at(0));
    const names = 'rx-packets rx-bytes rx-auth-fail rx-error rx-bad tx-packets tx-bytes tx-error';
    const linux = [...names.split(' '), 'key-rotations', 'stale-events'];
    expect(linux.map((name) => valuesOf(`psp_${name.replaceAll('-', '_')}_total`))).toEqual(
      linux.map((_, i) => ({ '': 100 + i })),
    );
    expect(Object.keys(valuesOf('psp_service_events_total'))).toEqual(['service=dataplane name=heldTotal']);
  });

  it('are the same in another replica that received the same reports', () => {
    const other = new LatestReports({ peers: ['b', 'c'], bypass: [bypassedRule] }, at(-5000));
    const said: [Service, ServiceStats][] = [
      ['keyexchange', keyExchangeReport({ id: 'KX2' })],
      ['dataplane', dataplaneReport()],
      ['keyexchange', keyExchangeReport({ id: 'KX1' })],
    ];
    for (const [service, report] of said) reports.receive(service, report, at(0));
    for (const [service, report] of [...said].reverse()) other.receive(service, report, at(3));
    expect(familiesOf(other, at(10))).toEqual(familiesOf(reports, at(10)));
  });
});

describe('health', () => {
  const healthAt = (ms: number) => nodeHealthOf('a', reports, at(ms));

  it('is ok while every service reports and no fault is reported', () => {
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

  it('has the faults that a service reports, and since when', () => {
    hearAll(0);
    const wrong = { part: 'peer b', message: 'no connection', sinceMs: 5 };
    reports.receive('keyexchange', keyExchangeReport({ health: [{ ...wrong, sinceMs: 5n }] }), at(0));
    expect(healthAt(1).ok).toBe(false);
    expect(healthAt(1).services.keyexchange).toMatchObject({ ok: false, replicas: [{ wrong: [wrong] }] });
    expect(healthAt(1).services.dataplane.ok).toBe(true);
    reports.receive('dataplane', dataplaneReport({ notices: [{ ...wrong, sinceMs: 5n }] }), at(0));
    expect(healthAt(1).services.dataplane).toMatchObject({
      ok: true,
      replicas: [{ wrong: [], notices: [wrong] }],
    });
  });

  it('names services that stopped reporting, since when, and those that never reported', () => {
    reports.receive('dataplane', dataplaneReport(), at(100));
    const [silent] = healthAt(100 + upMs + 1).services.dataplane.wrong;
    expect(silent).toMatchObject({ part: 'dataplane', sinceMs: at(100).unixMs });
    expect(silent?.message).toMatch(/^dataplane stopped reporting; /);
    const [never] = healthAt(100).services.sampler.wrong;
    expect(never).toMatchObject({ part: 'sampler', sinceMs: at(0).unixMs });
    expect(never?.message).toMatch(/^sampler has not reported since the start of stats; /);
  });

  it('is that of the replicas that are up', () => {
    hearAll(0);
    const health = [{ part: 'x', message: 'y', sinceMs: 1n }];
    reports.receive('keyexchange', keyExchangeReport({ id: 'old', health }), at(0));
    reports.receive('keyexchange', keyExchangeReport({ id: 'new' }), at(upMs));
    const { keyexchange } = healthAt(upMs + 1).services;
    expect(keyexchange.ok).toBe(true);
    expect(keyexchange.replicas.map(({ id, up }) => [id, up])).toEqual([
      ['KX1', false],
      ['new', true],
      ['old', false],
    ]);
  });
});
