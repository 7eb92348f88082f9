// SPDX-License-Identifier: Apache-2.0
// Receives the reports of all services, each on the subject that only this service may publish on.
import type { Bus } from '../../shared/bus/bus.js';
import { services, statsContracts } from '../../shared/contracts.js';
import { moment } from '../../shared/process/clock.js';
import type { LatestReports } from '../core/latest_reports.js';

export function listen(bus: Bus, reports: LatestReports): void {
  for (const service of services) {
    bus.receive(statsContracts[service], (stats) => reports.receive(service, stats, moment()));
  }
}
