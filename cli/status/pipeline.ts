// SPDX-License-Identifier: Apache-2.0
// `psp pipeline`: the pipes of a running node with their counters, in the order in which packets meet them, one
// direction after the other; trace.ts does the same for the frames of a file. The data comes from the dataplane's
// status. JSON: { node, ways: [{ direction, pipes: [{ pipe, hit, miss }], drops: [{ reason, packets }] }] };
// docs/schemas/pipeline.json.
import type { Command } from 'commander';
import type { DataplaneStatus } from '../../proto/gen/bus.js';
import { contracts } from '../../services/shared/contracts.js';
import { addTrace } from '../capture/trace.js';
import { answerMs, asOperator, type SharedOptions } from '../operator.js';
import { print, printJson, table } from '../output.js';

/** docs/design.md draws them; ingress_root counts both directions. */
export const ways = [
  {
    direction: 'egress',
    from: 'unsecured',
    to: 'secured',
    pipes: ['ingress_root', 'egress_root', 'egress_acl', 'egress_sampling'],
  },
  {
    direction: 'ingress',
    from: 'secured',
    to: 'unsecured',
    pipes: ['ingress_root', 'ingress_decrypt', 'ingress_sampling', 'ingress_acl', 'syndrome_stats'],
  },
] as const;

type Way = (typeof ways)[number];

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command.action((_, command: Command) => pipelineOf(command.optsWithGlobals()));
  addTrace(command);
}

async function pipelineOf({ config, json }: SharedOptions): Promise<void> {
  const { node, status } = await asOperator(config, async (bus, { node }) => ({
    node,
    status: await bus.request(contracts.dataplaneStatus, {}, answerMs),
  }));
  const reports = ways.map((way) => reportOf(way, status));
  if (json) return printJson({ node, ways: reports });
  print(ways.map((way) => wayText(way, status)).join('\n\n'));
}

function reportOf({ direction, pipes }: Way, status: DataplaneStatus) {
  return {
    direction,
    pipes: pipes.flatMap((name) =>
      status.pipes.filter(({ pipe }) => pipe === name).map(({ pipe, hit, miss }) => ({ pipe, hit, miss })),
    ),
    drops: status.drops
      .filter((drop) => drop.direction === direction && drop.packets > 0n)
      .map(({ reason, packets }) => ({ reason, packets })),
  };
}

function wayText(way: Way, status: DataplaneStatus): string {
  const { pipes, drops } = reportOf(way, status);
  const port = (role: string) => status.ports.find((each) => each.role === role);
  const received = port(way.from)?.rxPackets ?? 0n;
  const sent = port(way.to)?.txPackets ?? 0n;
  const both = (pipe: string) => (pipe === 'ingress_root' ? `${pipe} (both directions)` : pipe);
  return [
    `${way.direction}: the ${way.from} port received ${received} frames`,
    table(
      ['PIPE', 'HIT', 'MISS'],
      pipes.map(({ pipe, hit, miss }) => [both(pipe), hit, miss]),
    ),
    ...drops.map(({ reason, packets }) => `dropped ${packets} as ${reason}`),
    `the ${way.to} port sent ${sent} frames`,
  ].join('\n');
}
