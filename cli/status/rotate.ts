// SPDX-License-Identifier: Apache-2.0
// `psp rotate`: makes a new master key and new offers for every inbound flow. While the last rotation is not complete
// it is refused with ROTATION_PENDING, exit code 3, and the remaining wait. `--force` goes ahead: it first reports how
// many flows that cuts, by peer, and asks on a terminal; elsewhere it cuts none unless `--yes` is given. JSON:
// { rotated, generation, reofferedFlows, cutFlows, unansweredFlows, drainLeftMs }.
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import type { DataplaneStatus } from '../../proto/gen/bus.js';
import type { Bus } from '../../services/shared/bus/bus.js';
import { contracts } from '../../services/shared/contracts.js';
import { isErrorCode, PspError } from '../../services/shared/errors.js';
import { unixMs } from '../../services/shared/process/clock.js';
import { answerMs, asOperator, type SharedOptions } from '../operator.js';
import { formatAge, print, printJson, Reported } from '../output.js';

interface RotateOptions extends SharedOptions {
  force?: true;
  yes?: true;
}

/** With `--yes`, whatever it cuts. */
const anyNumber = 0xffff_ffff;

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .option('--force', 'do not wait for the last rotation; report the flows that this cuts, and ask')
    .option('--yes', 'with --force: do not ask')
    .action((_, command: Command) => rotate(command.optsWithGlobals()));
}

async function rotate({ config, json, force, yes }: RotateOptions): Promise<void> {
  const answer = await asOperator(config, async (bus) => {
    const cutsAtMost = force ? await agreedCuts(bus, yes ?? false) : undefined;
    return bus.request(contracts.keysRotate, { cutsAtMost }, answerMs);
  });
  const { code, generation, reofferedFlows, cutFlows, unansweredFlows, drainLeftMs } = answer;
  if (json)
    printJson({ rotated: code === '', generation, reofferedFlows, cutFlows, unansweredFlows, drainLeftMs });
  if (code !== '') {
    throw new PspError(isErrorCode(code) ? code : 'ENGINE_FAILED', {
      unanswered: unansweredFlows,
      ms: drainLeftMs,
      cut: cutFlows,
      detail: code,
    });
  }
  if (json) return;
  const cut = cutFlows === 0 ? '' : `; ${cutFlows} flows were cut`;
  print(`rotated to generation ${generation}; ${reofferedFlows} flows get new offers${cut}`);
}

/** How many flows the operator agrees to cut. @throws Reported if the operator does not agree. */
async function agreedCuts(bus: Bus, yes: boolean): Promise<number> {
  const status = await bus.request(contracts.dataplaneStatus, {}, answerMs);
  const { flowsToCut } = status;
  if (flowsToCut > 0) process.stderr.write(`${cutText(status)}\n`);
  if (yes) return anyNumber;
  if (flowsToCut === 0) return 0;
  if (!process.stdin.isTTY) {
    process.stderr.write('nothing was cut; add --yes to rotate without being asked\n');
    return 0;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question('rotate and cut them? [y/N] ').finally(() => terminal.close());
  if (/^y(es)?$/i.test(answer.trim())) return flowsToCut;
  process.stderr.write('nothing was rotated\n');
  throw new Reported();
}

function cutText({ flowsToCut, traffic }: DataplaneStatus): string {
  const peers = traffic
    .filter(({ unansweredFlows }) => unansweredFlows > 0)
    .map(({ name, unansweredSinceMs }) => `${name} (for ${formatAge(unixMs() - Number(unansweredSinceMs))})`);
  const flows = flowsToCut === 1 ? '1 flow' : `${flowsToCut} flows`;
  return `--force cuts ${flows}, because these peers still use the older key: ${peers.join(', ')}`;
}
