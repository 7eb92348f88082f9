// SPDX-License-Identifier: Apache-2.0
// What an operator sees of the dataplane: status with what is wrong first, and the counters that go out each
// second. Numbers come from the engine and the arbiter when they are asked for; only what is wrong is
// remembered here, with the time since when.
import type {
  Counter,
  DataplaneStatus,
  Health,
  PeerTerms,
  PeerTraffic,
  PortStatus,
  ServiceStats,
} from '../../../proto/gen/bus.js';
import { formatMac } from '../../shared/address.js';
import type { AuditTrail } from '../../shared/audit/trail.js';
import type { Bus } from '../../shared/bus/bus.js';
import { monotonicMs, unixMs, unixUsAt } from '../../shared/process/clock.js';
import { logCounters } from '../../shared/process/log.js';
import { version } from '../../shared/process/version.js';
import type { DataplaneConfig, Terms } from '../config.js';
import type { Arbiter } from '../core/arbiter.js';
import { Losses } from '../core/losses.js';
import type { Engine, EngineCounters, EngineInfo } from './engine.js';
import type { Fenced } from './fence.js';
import type { Links } from './links.js';
import type { Sampler } from './sampler_client.js';

export class Report {
  readonly #startedMs = BigInt(unixMs());
  readonly #wrong = new Map<string, Health>();
  #info: EngineInfo | undefined;
  #links: Pick<Links, 'of'> | undefined;
  #bus: Pick<Bus, 'counters'> | undefined;
  #audit: Pick<AuditTrail, 'counters' | 'health'> | undefined;
  readonly #eventsLost = new Losses();
  readonly #samplesLost = new Losses();
  readonly #samplesDropped = new Losses();
  readonly #capturesDropped = new Losses();

  constructor(
    private readonly config: Pick<
      DataplaneConfig,
      'node' | 'engine' | 'peers' | 'terms' | 'bypass' | 'warnings'
    >,
    private readonly arbiter: Arbiter,
    private readonly engine: Engine,
    private readonly sampler: Pick<Sampler, 'counters'>,
  ) {}

  /** Something is wrong until `well` is said of the same part; the message also says what to do. */
  wrong(part: string, message: string): void {
    const sinceMs = this.#wrong.get(part)?.sinceMs ?? BigInt(unixMs());
    this.#wrong.set(part, { part, message, sinceMs });
  }

  well(part: string): void {
    this.#wrong.delete(part);
  }

  /** What it counts is published, too. */
  useBus(bus: Pick<Bus, 'counters'>): void {
    this.#bus = bus;
  }

  /** What it has to tell of itself, too. */
  useAudit(audit: Pick<AuditTrail, 'counters' | 'health'>): void {
    this.#audit = audit;
  }

  started(info: EngineInfo, links: Pick<Links, 'of'>, fences: readonly Fenced[]): void {
    this.#info = info;
    this.#links = links;
    for (const { name, wasOpen, unwritable } of fences) {
      if (wasOpen) {
        this.wrong(
          `fence ${name}`,
          'the link was up without a fence before this start; bring it up only through the gateway',
        );
      }
      if (unwritable.length > 0) {
        this.wrong(
          `ipv6 ${name}`,
          `IPv6 may configure itself there: set net.ipv6.conf.${name}.disable_ipv6=1 (not writable: ${unwritable.join(', ')})`,
        );
      }
    }
  }

  status(): DataplaneStatus {
    const counts = this.engine.counters();
    const wait = this.arbiter.rotationWait(monotonicMs());
    this.#judge(counts, wait?.unanswered ?? 0);
    return {
      node: this.config.node,
      epoch: this.arbiter.epoch,
      generation: this.arbiter.generation,
      startedMs: this.#startedMs,
      crypto: this.#info?.crypto ?? '',
      health: [...this.#wrong.values(), ...(this.#audit?.health() ?? [])],
      ...this.#tables(counts),
      counters: this.#counters(counts),
      unansweredFlows: wait?.unanswered ?? 0,
      drainLeftMs: wait?.drainLeftMs ?? 0,
    };
  }

  stats(id: string): ServiceStats {
    const counts = this.engine.counters();
    this.#judge(counts, this.arbiter.rotationWait(monotonicMs())?.unanswered ?? 0);
    return {
      service: 'dataplane',
      id,
      startedMs: this.#startedMs,
      version,
      crypto: this.#info?.crypto ?? '',
      generation: this.arbiter.generation,
      health: [...this.#wrong.values(), ...(this.#audit?.health() ?? [])],
      ...this.#tables(counts),
      counters: this.#counters(counts),
      peers: [],
      histograms: [],
    };
  }

  /** What status and stats have in common and has a place of its own. */
  #tables(counts: EngineCounters) {
    const { rotatedMs } = this.arbiter;
    return {
      notices: openings(this.config).map((opening) => ({ ...opening, sinceMs: this.#startedMs })),
      ports: counts.ports.map((port) => this.#port(port)),
      pipes: counts.pipes.map(({ name, hit, miss }) => ({ pipe: name, hit, miss })),
      drops: counts.drops,
      lcores: counts.lcores,
      traffic: counts.peers.map((peer, number) => this.#traffic(peer, number)),
      samplingLog2: this.engine.samplingLog2(),
      bypass: counts.bypass.map((rule, i) => ({ rule: this.config.bypass[i] ?? '', ...rule })),
      terms: this.config.peers.map((name, peer) => this.#terms(name, peer)),
      ingressAcl: this.config.engine.ingressAcl,
      generationMs: rotatedMs === undefined ? this.#startedMs : unixMsAt(BigInt(rotatedMs)),
    };
  }

  #terms(name: string, peer: number): PeerTerms {
    const { mode, authOnly, cookie, cryptOffset, mtu } = this.config.terms[peer] as Terms;
    const samplingLog2 = this.engine.samplingLog2(peer);
    return { name, mode, authOnly, cookie, cryptOffset, mtu, samplingLog2 };
  }

  #traffic(peer: EngineCounters['peers'][number], number: number): PeerTraffic {
    const { lastEgressMs, lastIngressMs, ...counts } = peer;
    return {
      name: this.config.peers[number] ?? '',
      ...counts,
      lastEgressMs: unixMsAt(lastEgressMs),
      lastIngressMs: unixMsAt(lastIngressMs),
      lastKeyMs: unixMsAt(BigInt(this.arbiter.newestKeyMs(number) ?? 0)),
    };
  }

  /** What the numbers say by themselves. */
  #judge(counts: EngineCounters, unanswered: number): void {
    const check = (part: string, isWrong: boolean, message: string) =>
      isWrong ? this.wrong(part, message) : this.well(part);
    check(
      'rotation',
      unanswered > 0,
      `${unanswered} inbound flows have not answered the last rotation; see their peers`,
    );
    check('offers', this.arbiter.exhausted, 'the active master key has no SPI left; run `psp rotate`');
    const nowMs = monotonicMs();
    const { eventsLost = 0n, missesWaiting = 0n, samplesLost = 0n } = counts.values;
    check(
      'misses',
      missesWaiting > 0n,
      `${missesWaiting} flows wait to be told; they miss faster than they are taken: look who sends to so many addresses`,
    );
    check(
      'events',
      this.#eventsLost.recent(eventsLost, nowMs) > 0n,
      `${eventsLost} receive SPIs ended before their first packet could be told; the dataplane is overloaded`,
    );
    const { samplesDropped, samplesUnanswered, capturesDropped, capturesUnanswered } = this.sampler.counters;
    const untaken = this.#samplesDropped.recent(BigInt(samplesDropped + samplesUnanswered), nowMs);
    const uncaptured = this.#capturesDropped.recent(BigInt(capturesDropped + capturesUnanswered), nowMs);
    check(
      'captures',
      uncaptured > 0n,
      `${uncaptured} captured packets found no sampler to take them in the last minute; see the sampler's log`,
    );
    const overflown = this.#samplesLost.recent(samplesLost, nowMs);
    check(
      'samples',
      untaken + overflown > 0n,
      untaken > 0n
        ? `${untaken} samples found no sampler to take them in the last minute; see the sampler's log`
        : `${overflown} samples were lost in the last minute, drawn faster than they are published; sample fewer packets`,
    );
    const unlocked = counts.values.unlockedBytes ?? 0n;
    check(
      'memory',
      unlocked > 0n,
      `${unlocked} octets of secrets could not be locked in memory; raise the limit (ulimit -l)`,
    );
  }

  /** The engine's, by their names, then the arbiter's and those of the bus: docs/operations.md. */
  #counters({ values }: EngineCounters): Counter[] {
    const { wants, heldDownFlows, exchangesRemembered, unansweredFlows } = this.arbiter.gauges();
    const ours = {
      wants,
      heldDownFlows,
      exchangesRemembered,
      unansweredFlows,
      ...this.arbiter.counters,
      ...this.sampler.counters,
      ...this.#bus?.counters,
    };
    return [
      ...Object.entries(values).map(([name, value]) => ({ name, value })),
      ...Object.entries(ours).map(([name, value]) => ({ name, value: BigInt(value) })),
      ...logCounters(),
      ...(this.#audit?.counters() ?? []),
    ];
  }

  #port({ role, ...counts }: EngineCounters['ports'][number]): PortStatus {
    const link = this.#links?.of(role);
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

/** Entries of bypass in one notice. */
const rulesShown = 5;

/** What passes unencrypted or unchecked by configuration; never told in silence. */
function openings({ warnings, bypass }: Pick<DataplaneConfig, 'warnings' | 'bypass'>) {
  const lines = warnings.flatMap(({ kind, path, message }) => {
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

/** Unix milliseconds of an instant of CLOCK_MONOTONIC in milliseconds; 0n, never, stays 0n. */
const unixMsAt = (atMs: bigint): bigint => (atMs === 0n ? 0n : unixUsAt(atMs * 1_000_000n) / 1000n);
