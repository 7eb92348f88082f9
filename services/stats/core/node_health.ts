// SPDX-License-Identifier: Apache-2.0
// How each service fares, as the stats service knows it: what its replicas say of themselves, and who is silent.
// The shape is that of /healthz; times are unix milliseconds.
import type { Health } from '../../../proto/gen/bus.js';
import type { Service } from '../../shared/contracts.js';
import { services } from '../../shared/contracts.js';
import type { Moment } from '../../shared/moment.js';
import type { LatestReports } from './latest_reports.js';

export interface Wrong {
  part: string;
  message: string;
  sinceMs: number;
}

export interface ReplicaHealth {
  id: string;
  version: string;
  startedMs: number;
  /** How long ago its last word came. */
  ageMs: number;
  up: boolean;
  wrong: Wrong[];
  /** What the node file lets pass unencrypted or unchecked: not wrong. */
  notices: Wrong[];
}

export interface ServiceHealth {
  ok: boolean;
  /** Only what the service as a whole lacks. */
  wrong: Wrong[];
  replicas: ReplicaHealth[];
}

export interface NodeHealth {
  node: string;
  ok: boolean;
  services: Record<Service, ServiceHealth>;
}

export function nodeHealthOf(node: string, words: LatestReports, now: Moment): NodeHealth {
  const each = services.map((service) => [service, serviceHealthOf(service, words, now)] as const);
  return {
    node,
    ok: each.every(([, { ok }]) => ok),
    services: Object.fromEntries(each) as Record<Service, ServiceHealth>,
  };
}

function serviceHealthOf(service: Service, words: LatestReports, now: Moment): ServiceHealth {
  const up = new Set(words.up(service, now));
  const replicas = words.replicas(service, now).map((word): ReplicaHealth => {
    const { stats, heard } = word;
    return {
      id: stats.id,
      version: stats.version,
      startedMs: Number(stats.startedMs),
      ageMs: now.monotonicMs - heard.monotonicMs,
      up: up.has(word),
      wrong: stats.health.map(wrongOf),
      notices: stats.notices.map(wrongOf),
    };
  });
  const wrong = up.size > 0 ? [] : [silence(service, words)];
  const ok = wrong.length === 0 && replicas.every((replica) => !replica.up || replica.wrong.length === 0);
  return { ok, wrong, replicas };
}

const wrongOf = ({ part, message, sinceMs }: Health): Wrong => ({ part, message, sinceMs: Number(sinceMs) });

function silence(service: Service, words: LatestReports): Wrong {
  const { ever, at } = words.lastHeard(service);
  const message = ever ? `${service} fell silent` : `${service} was never heard`;
  return { part: service, message: `${message}; see its log, \`psp up\` restarts it`, sinceMs: at.unixMs };
}
