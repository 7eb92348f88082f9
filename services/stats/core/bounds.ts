// SPDX-License-Identifier: Apache-2.0
// Which rows of a report may become series: names of the node file or of a fixed table, and everything else within a form
// and a limit. No service, however faulty, can make the metrics grow without bound or a scrape fail: rows beyond a limit,
// duplicate rows and rows that contradict themselves are left out and counted, and the rest is kept.
import type { Health, Histogram, ServiceStats } from '../../../proto/gen/bus.js';
import { nameOfMode } from '../../shared/modes.js';

/** The most rows of each list of a report. */
export const limits = {
  counters: 128,
  pipes: 32,
  drops: 128,
  health: 256,
  lcores: 64,
  buckets: 32,
  certificates: 32,
} as const;
const longestText = 500;

const roles = new Set(['unsecured', 'secured']);
const directions = new Set(['egress', 'ingress']);
export const breakerStates = ['closed', 'half-open', 'open'] as const;
const certificateKinds = ['node', 'intermediate', 'authority'] as const;
const linkStates = ['connected', 'connecting', 'failed'] as const;
/** Histograms of durations, by their name in the report. */
export const durations = ['exchange', 'answer'] as const;

const isId = (text: string): boolean => /^[A-Za-z0-9_-]{1,64}$/.test(text);
const isCounterName = (text: string): boolean => /^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(text);
const isTableName = (text: string): boolean => /^[a-z][a-z0-9_]{0,63}$/.test(text);
/** SHA-256 in hex. */
const isFingerprint = (text: string): boolean => /^[0-9a-f]{64}$/.test(text);
const shortText = (text: string): string => (/^[\w.+ -]{0,64}$/.test(text) ? text : '');
const isOneOf = (table: readonly string[], text: string): boolean => table.includes(text);

/** Whether a report has the name of the service that its subject names, and an id that fits a label. */
export const isFrom = (service: string, stats: ServiceStats): boolean =>
  stats.service === service && isId(stats.id);

/** Names in the node file that may become labels. */
export interface Named {
  peers: ReadonlySet<string>;
  /** Entries of `bypass`, as `bypassRule` writes them. */
  bypass: ReadonlySet<string>;
}

/** @returns the report within its limits, and how many of its rows were left out. */
export function bounded(
  stats: ServiceStats,
  { peers, bypass }: Named,
): { stats: ServiceStats; leftOut: number } {
  let leftOut = 0;
  const keep = <T>(
    rows: readonly T[],
    limit: number,
    fits: (row: T) => boolean,
    keyOf: (row: T, index: number) => string,
  ) => {
    const seen = new Set<string>();
    const kept = rows.filter((row, index) => {
      const key = keyOf(row, index);
      if (seen.size >= limit || !fits(row) || seen.has(key)) return false;
      seen.add(key);
      return true;
    });
    leftOut += rows.length - kept.length;
    return kept;
  };
  const keepLines = (lines: readonly Health[]) =>
    keep(
      lines.map(({ part, message, sinceMs }) => ({
        part: part.slice(0, longestText),
        message: message.slice(0, longestText),
        sinceMs,
      })),
      limits.health,
      () => true,
      ({ part, message }) => `${part}: ${message}`,
    );
  const isPeer = ({ name }: { name: string }) => peers.has(name);
  const nameOf = ({ name }: { name: string }) => name;
  const dropOf = ({ direction, reason }: { direction: string; reason: string }) => `${direction}/${reason}`;
  const kept = {
    ...stats,
    version: shortText(stats.version),
    crypto: shortText(stats.crypto),
    counters: keep(stats.counters, limits.counters, ({ name }) => isCounterName(name), nameOf),
    health: keepLines(stats.health),
    notices: keepLines(stats.notices),
    pipes: keep(
      stats.pipes,
      limits.pipes,
      ({ pipe }) => isTableName(pipe),
      ({ pipe }) => pipe,
    ),
    drops: keep(
      stats.drops,
      limits.drops,
      ({ direction, reason }) => directions.has(direction) && isTableName(reason),
      dropOf,
    ),
    ports: keep(
      stats.ports,
      roles.size,
      ({ role }) => roles.has(role),
      ({ role }) => role,
    ),
    lcores: keep(
      stats.lcores,
      limits.lcores,
      () => true,
      (_, number) => String(number),
    ),
    traffic: keep(stats.traffic, peers.size, isPeer, nameOf),
    bypass: keep(
      stats.bypass,
      bypass.size,
      ({ rule }) => bypass.has(rule),
      ({ rule }) => rule,
    ),
    terms: keep(
      stats.terms,
      peers.size,
      (terms) => isPeer(terms) && nameOfMode(terms.mode) !== undefined,
      nameOf,
    ),
    peers: keep(
      stats.peers,
      peers.size,
      (peer) => isPeer(peer) && isOneOf(breakerStates, peer.breaker) && isOneOf(linkStates, peer.link),
      nameOf,
    ),
    certificates: keep(
      stats.certificates,
      limits.certificates,
      ({ kind, fingerprint }) => isOneOf(certificateKinds, kind) && isFingerprint(fingerprint),
      ({ kind, fingerprint }) => `${kind} ${fingerprint}`,
    ),
    histograms: keep(stats.histograms, durations.length, isSound, nameOf),
  };
  return { stats: kept, leftOut };
}

const isSound = ({ name, upperBounds, counts, sum }: Histogram): boolean =>
  isOneOf(durations, name) &&
  upperBounds.length <= limits.buckets &&
  counts.length === upperBounds.length + 1 &&
  Number.isFinite(sum) &&
  sum >= 0 &&
  upperBounds.every((bound, i) => Number.isFinite(bound) && bound > (upperBounds[i - 1] ?? 0)) &&
  counts.every((count, i) => count >= (counts[i - 1] ?? 0n));
