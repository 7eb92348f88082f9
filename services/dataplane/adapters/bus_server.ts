// SPDX-License-Identifier: Apache-2.0
// The dataplane on the bus: one endpoint for each contract that only it answers.

import { flowKeyOf } from '../../shared/address.js';
import type { Bus } from '../../shared/bus/bus.js';
import { contracts } from '../../shared/contracts.js';
import { flowsPerPage } from '../../shared/limits.js';
import type { FlowTraces } from '../../shared/service/flow_traces.js';
import type { Commands } from './commands.js';
import type { Engine } from './engine.js';

interface Parts {
  commands: Commands;
  engine: Engine;
  traces: FlowTraces;
}

export function serve(bus: Bus, { commands, engine, traces }: Parts): void {
  bus.respond(contracts.flowAccept, (message) => commands.accept(message));
  bus.respond(contracts.flowInstall, (message) => commands.install(message));
  bus.respond(contracts.flowRefuse, (message) => commands.refuse(message));
  bus.respond(contracts.flowRemove, (message) => commands.remove(message));
  bus.respond(contracts.peerGreeted, (message) => commands.greeted(message));
  bus.respond(contracts.keysRotate, ({ cutsAtMost }) => commands.rotate(cutsAtMost));
  bus.respond(contracts.peerRotation, ({ peer }) => commands.rotateForPeer(peer));
  bus.respond(contracts.samplingSet, (message) => commands.sampling(message));
  bus.respond(contracts.dataplaneFlows, ({ cursor, limit }) =>
    engine.flows(cursor, Math.max(1, Math.min(limit, flowsPerPage))),
  );
  bus.respond(contracts.dataplaneTrace, ({ flow }) => ({
    exchanges: flow === undefined ? [] : traces.of(flowKeyOf(flow)),
  }));
}
