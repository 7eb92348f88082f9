// SPDX-License-Identifier: Apache-2.0
// The health of each service: what its replicas report to be wrong, and which service sends no reports. The types are
// those of /healthz; times are unix milliseconds.
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
  /** Since its latest report arrived. */
  ageMs: number;
  up: boolean;
  wrong: Wrong[];
  /** What passes unencrypted or unchecked by configuration; this is not wrong. */
  notices: Wrong[];
}

export interface ServiceHealth {
  ok: boolean;
  /** Faults of the service as a whole, not of a replica. */
  wrong: Wrong[];
  replicas: ReplicaHealth[];
}

export interface NodeHealth {
  node: string;
  ok: boolean;
  services: Record<Service, ServiceHealth>;
}

export function nodeHealthOf(node: string, reports: LatestReports, now: Moment): NodeHealth {
  const each = services.map((service) => [service, serviceHealthOf(service, reports, now)] as const);
  return {
    node,
    ok: each.every(([, { ok }]) => ok),
    services: Object.fromEntries(each) as Record<Service, ServiceHealth>,
  };
}

function serviceHealthOf(service: Service, reports: LatestReports, now: Moment): ServiceHealth {
  const up = new Set(reports.up(service, now));
  const replicas = reports.replicas(service, now).map((report): ReplicaHealth => {
    const { stats, received } = report;
    return {
      id: stats.id,
      version: stats.version,
      startedMs: Number(stats.startedMs),
      ageMs: now.monotonicMs - received.monotonicMs,
      up: up.has(report),
      wrong: stats.health.map(wrongOf),
      notices: stats.notices.map(wrongOf),
    };
  });
  const wrong = up.size > 0 ? [] : [silence(service, reports)];
  const ok = wrong.length === 0 && replicas.every((replica) => !replica.up || replica.wrong.length === 0);
  return { ok, wrong, replicas };
}

const wrongOf = ({ part, message, sinceMs }: Health): Wrong => ({ part, message, sinceMs: Number(sinceMs) });

function silence(service: Service, reports: LatestReports): Wrong {
  const { ever, at } = reports.lastReceived(service);
  const message = ever
    ? `${service} stopped reporting`
    : `${service} has not reported since the start of stats`;
  return { part: service, message: `${message}; see its log, \`psp up\` restarts it`, sinceMs: at.unixMs };
}
