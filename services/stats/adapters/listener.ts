// SPDX-License-Identifier: Apache-2.0
// Hears the words of all services, each on the subject that only this service may publish on.
import type { Bus } from '../../shared/bus/bus.js';
import { contracts, type Service } from '../../shared/contracts.js';
import type { LatestReports } from '../core/latest_reports.js';
import { moment } from './pages.js';

export const wordsOf = {
  dataplane: contracts.dataplaneStats,
  keyexchange: contracts.keyExchangeStats,
  sampler: contracts.samplerStats,
  stats: contracts.statsStats,
} as const satisfies Record<Service, unknown>;

export function listen(bus: Bus, words: LatestReports): void {
  for (const [service, contract] of Object.entries(wordsOf)) {
    bus.hear(contract, (stats) => words.hear(service as Service, stats, moment()));
  }
}
