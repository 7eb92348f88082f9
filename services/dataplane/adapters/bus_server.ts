// SPDX-License-Identifier: Apache-2.0
// Connects the dataplane with the bus: an endpoint for each contract that it answers, and its counters once a second.
import type { Bus } from '../../shared/bus/bus.js';
import { contracts } from '../../shared/contracts.js';
import type { Commands } from './commands.js';
import type { Engine } from './engine.js';
import type { Report } from './report.js';

const statsMs = 1000;
/** The most rows of one page of flows. */
const pageLimit = 1000;

/** @returns a function that ends the counters. */
export async function serve(
  bus: Bus,
  version: string,
  { commands, engine, report }: { commands: Commands; engine: Engine; report: Report },
): Promise<() => void> {
  const id = await bus.announce('Moves packets and arbitrates flows and keys', version);
  report.useBus(bus);
  bus.respond(contracts.flowAccept, (message) => commands.accept(message));
  bus.respond(contracts.flowInstall, (message) => commands.install(message));
  bus.respond(contracts.flowRefuse, (message) => commands.refuse(message));
  bus.respond(contracts.keysRotate, () => commands.rotate());
  bus.respond(contracts.samplingSet, (message) => commands.sampling(message));
  bus.respond(contracts.dataplaneStatus, () => report.status());
  bus.respond(contracts.dataplaneFlows, ({ cursor, limit }) =>
    engine.flows(cursor, Math.max(1, Math.min(limit, pageLimit))),
  );
  const stats = setInterval(() => bus.publish(contracts.dataplaneStats, report.stats(id), id), statsMs);
  return () => clearInterval(stats);
}
