// SPDX-License-Identifier: Apache-2.0
// What an operator sees of the dataplane: what is wrong, and its counters. Numbers come from the engine and the arbiter
// when they are read; only what is wrong is kept, with the time since when.
import type { Counter, PeerTerms, PeerTraffic, PortStatus } from '../../../proto/gen/bus.js';
import { formatMac } from '../../shared/address.js';
import type { OwnCounters } from '../../shared/counter_help.js';
import { countersOf } from '../../shared/counters.js';
import { monotonicMs, unixUsAt } from '../../shared/process/clock.js';
import type { Logger } from '../../shared/process/log.js';
import type { FaultList } from '../../shared/service/fault_list.js';
import type { OwnReport } from '../../shared/service/service_runtime.js';
import type { DataplaneConfig, Terms } from '../config.js';
import type { Arbiter } from '../core/arbiter.js';
import { Losses } from '../core/losses.js';
import type { Engine, EngineCounters, EngineInfo } from './engine.js';
import type { Fenced } from './fence.js';
import type { PortLinks } from './port_links.js';
import type { SamplerClient } from './sampler_client.js';

/** The sources of the report. */
export interface ReportSources {
  arbiter: Arbiter;
  engine: Engine;
  /** The engine as it started. */
  info: EngineInfo;
  sampler: Pick<SamplerClient, 'counters'>;
  links: Pick<PortLinks, 'of'>;
  startedMs: number;
}

/** A peer that has not answered a rotation for this long is a fault. */
const answerExpectedMs = 10_000;

/** Reports the faults that were found when the fences were set. */
export function reportFences(fences: readonly Fenced[], faults: FaultList): void {
  for (const { name, wasOpen, unwritable } of fences) {
    if (wasOpen) {
      faults.set(
        `fence ${name}`,
        'the link was up without a fence before this start; bring it up only through the gateway',
      );
    }
    if (unwritable.length > 0) {
      faults.set(
        `ipv6 ${name}`,
        `IPv6 may configure itself there: set net.ipv6.conf.${name}.disable_ipv6=1 (not writable: ${unwritable.join(', ')})`,
      );
    }
  }
}

export class Report {
  readonly #startedMs: bigint;
  readonly #eventsLost = new Losses();
  readonly #samplesLost = new Losses();
  readonly #samplesDropped = new Losses();
  readonly #capturesDropped = new Losses();

  constructor(
    private readonly config: Pick<
      DataplaneConfig,
      'node' | 'engine' | 'peers' | 'terms' | 'bypass' | 'warnings'
    >,
    private readonly sources: ReportSources,
    private readonly faults: FaultList,
    private readonly log: Pick<Logger, 'warn'>,
  ) {
    this.#startedMs = BigInt(sources.startedMs);
  }

  read(): OwnReport<'dataplane'> {
    const { arbiter, engine, info } = this.sources;
    const counts = engine.counters();
    const nowMs = monotonicMs();
    this.#checkCounters(counts);
    const both = { generation: arbiter.generation, crypto: info.crypto, ...this.#tables(counts) };
    const wait = arbiter.rotationWait(nowMs);
    return {
      health: this.faults.list(),
      counters: this.#counters(counts),
      status: {
        ...both,
        epoch: arbiter.epoch,
        unansweredFlows: wait?.unanswered ?? 0,
        drainLeftMs: Math.ceil(wait?.drainLeftMs ?? 0),
        rotationDue: arbiter.rotationDue(nowMs) ?? '',
      },
      stats: both,
    };
  }

  /** Fields that status and stats have in common. */
  #tables(counts: EngineCounters) {
    const { rotatedMs, nextRotationMs, flowsToCut, spisLeft } = this.sources.arbiter;
    return {
      notices: noticesOf(this.config).map((notice) => ({ ...notice, sinceMs: this.#startedMs })),
      ports: counts.ports.map((port) => this.#port(port)),
      pipes: counts.pipes.map(({ name, hit, miss }) => ({ pipe: name, hit, miss })),
      drops: counts.drops,
      lcores: counts.lcores,
      traffic: counts.peers.flatMap((peer, number) =>
        this.config.peers[number] ? [this.#traffic(peer, number)] : [],
      ),
      samplingLog2: this.sources.engine.samplingLog2(),
      bypass: counts.bypass.map((rule, i) => ({ rule: this.config.bypass[i] ?? '', ...rule })),
      terms: this.config.peers.flatMap((name, peer) => (name === '' ? [] : [this.#terms(name, peer)])),
      ingressAcl: this.config.engine.ingressAcl,
      generationMs: rotatedMs === undefined ? this.#startedMs : unixMsAt(msOf(rotatedMs)),
      nextRotationMs: unixMsAt(msOf(nextRotationMs)),
      flowsToCut,
      spisLeft,
    };
  }

  #terms(name: string, peer: number): PeerTerms {
    const { mode, authOnly, cookie, cryptOffset, mtu } = this.config.terms[peer] as Terms;
    const samplingLog2 = this.sources.engine.samplingLog2(peer);
    return { name, mode, authOnly, cookie, cryptOffset, mtu, samplingLog2 };
  }

  #traffic(peer: EngineCounters['peers'][number], number: number): PeerTraffic {
    const { lastEgressMs, lastIngressMs, ...counts } = peer;
    const unanswered = this.sources.arbiter.unansweredOf(number);
    return {
      name: this.config.peers[number] ?? '',
      ...counts,
      lastEgressMs: unixMsAt(lastEgressMs),
      lastIngressMs: unixMsAt(lastIngressMs),
      greeting: this.sources.arbiter.greetingOf(number) ?? '',
      epoch: this.sources.arbiter.epochOf(number),
      lastKeyMs: unixMsAt(msOf(this.sources.arbiter.newestKeyMs(number))),
      unansweredFlows: unanswered.flows,
      tunnelsLeft: this.sources.arbiter.tunnelsLeft(number)?.left,
      unansweredSinceMs: unixMsAt(msOf(unanswered.flows === 0 ? undefined : unanswered.sinceMs)),
    };
  }

  /** Faults that follow from the counters. */
  #checkCounters(counts: EngineCounters): void {
    const check = (part: string, isWrong: boolean, message: string) =>
      isWrong ? this.faults.set(part, message) : this.faults.clear(part);
    const nowMs = monotonicMs();
    const late = this.#lateWithRotation(nowMs);
    check(
      'rotation',
      late !== '',
      `these peers have not answered the last rotation and may still use the older master key: ${late}; check those peers`,
    );
    for (const [peer, name] of this.config.peers.entries()) if (name !== '') this.#checkTunnels(peer, name);
    check(
      'offers',
      this.sources.arbiter.exhausted,
      'the active master key has no SPI left; it is rotated once the bus is connected, or run `psp rotate`',
    );
    const { eventsLost = 0n, missesWaiting = 0n, samplesLost = 0n } = counts.values;
    check(
      'misses',
      missesWaiting > 0n,
      `${missesWaiting} flows wait for a key exchange: new flows arrive faster than they are processed; find the host that sends to so many addresses`,
    );
    check(
      'events',
      this.#eventsLost.recent(eventsLost, nowMs) > 0n,
      `${eventsLost} receive SPIs ended before their first packet could be reported; the dataplane is overloaded`,
    );
    const { samplesDropped, samplesUnanswered, capturesDropped, capturesUnanswered } =
      this.sources.sampler.counters;
    const unaccepted = this.#samplesDropped.recent(BigInt(samplesDropped + samplesUnanswered), nowMs);
    const uncaptured = this.#capturesDropped.recent(BigInt(capturesDropped + capturesUnanswered), nowMs);
    check(
      'captures',
      uncaptured > 0n,
      `no sampler accepted ${uncaptured} captured packets in the last minute; see the sampler's log`,
    );
    const overflown = this.#samplesLost.recent(samplesLost, nowMs);
    check(
      'samples',
      unaccepted + overflown > 0n,
      unaccepted > 0n
        ? `no sampler accepted ${unaccepted} samples in the last minute; see the sampler's log`
        : `${overflown} samples were lost in the last minute because they could not be published fast enough; lower the sampling rate`,
    );
    const unlocked = counts.values.unlockedBytes ?? 0n;
    check(
      'memory',
      unlocked > 0n,
      `${unlocked} octets of secrets could not be locked in memory; raise the limit (ulimit -l)`,
    );
  }

  /** Warns of a peer that never frees a tunnel, well before it can be offered no more. */
  #checkTunnels(peer: number, name: string): void {
    const part = `tunnels ${name}`;
    const tunnels = this.sources.arbiter.tunnelsLeft(peer);
    if (!tunnels?.isLow) {
      this.faults.clear(part);
      return;
    }
    const { left, most } = tunnels;
    const effect =
      left === 0 ? 'it gets no more keys, and rotations that would cut its flows wait' : 'plan it';
    const isNew = !this.faults.has(part);
    this.faults.set(
      part,
      `${left} of ${most} tunnels of peer ${name} are left (peers.${name}.maxTunnels): ${effect}; restart its application, then the dataplane of this gateway`,
    );
    if (isNew) this.log.warn({ peer: name, left, most }, 'few tunnels of a peer are left');
  }

  /** The peers that had time to answer the last rotation and did not: "b (2 flows), c (1 flow)". */
  #lateWithRotation(nowMs: number): string {
    return this.config.peers
      .flatMap((name, peer) => {
        const { flows, sinceMs } = this.sources.arbiter.unansweredOf(peer);
        if (flows === 0 || nowMs - sinceMs < answerExpectedMs) return [];
        return [`${name} (${flows} ${flows === 1 ? 'flow' : 'flows'})`];
      })
      .join(', ');
  }

  /** Counters of the engine, of the arbiter and of samples. */
  #counters({ values }: EngineCounters): Counter[] {
    const { arbiter, sampler } = this.sources;
    const { wants, heldDownFlows, exchangesRemembered, unansweredFlows } = arbiter.gauges();
    const gauges = { wants, heldDownFlows, exchangesRemembered, unansweredFlows };
    const own = { ...gauges, ...arbiter.counters, ...sampler.counters } satisfies OwnCounters<'dataplane'>;
    return countersOf({ ...values, ...own });
  }

  #port({ role, ...counts }: EngineCounters['ports'][number]): PortStatus {
    const link = this.sources.links.of(role);
    return {
      role,
      name: this.config.engine[role].device,
      mac: link === undefined ? '' : formatMac(link.mac),
      mtu: link?.usedMtu ?? 0,
      up: link?.up ?? false,
      ...counts,
    };
  }
}

/** The most entries of bypass in one notice. */
const rulesShown = 5;

/** Notices of what passes unencrypted or unchecked by configuration. */
function noticesOf({ warnings, bypass }: Pick<DataplaneConfig, 'warnings' | 'bypass'>) {
  const lines = warnings.flatMap(({ kind, path, message }) => {
    if (kind === 'insecureReferenceInterop')
      return [
        { part: `peer ${path[1]}`, message: `KEYS IN PLAINTEXT (insecureReferenceInterop): ${message}` },
      ];
    if (kind === 'authOnly')
      return [{ part: `peer ${path[1]}`, message: `NOT ENCRYPTED (authOnly): ${message}` }];
    if (kind === 'ingressAcl') return [{ part: 'ingress_acl', message: `ingressAcl is false: ${message}` }];
    if (kind === 'samplingPlain')
      return [{ part: 'sampling', message: `sampling.points has plain: ${message}` }];
    if (kind === 'captureEgress') return [{ part: 'capture', message: `capture.egress is true: ${message}` }];
    return [];
  });
  if (bypass.length === 0) return lines;
  const shown = bypass.slice(0, rulesShown).join('; ');
  const more = bypass.length > rulesShown ? `; and ${bypass.length - rulesShown} more` : '';
  const message = `traffic passes unencrypted, both ways, by bypass: ${shown}${more}`;
  return [...lines, { part: 'bypass', message }];
}

/** Whole milliseconds; 0n: never. */
const msOf = (ms: number | undefined): bigint => BigInt(Math.round(ms ?? 0));

/** Unix milliseconds of an instant of CLOCK_MONOTONIC in milliseconds; 0n, never, stays 0n. */
const unixMsAt = (atMs: bigint): bigint => (atMs === 0n ? 0n : unixUsAt(atMs * 1_000_000n) / 1000n);
