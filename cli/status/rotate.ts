// SPDX-License-Identifier: Apache-2.0
// `psp rotate`: makes a new master key and new offers for every inbound flow. While the last rotation is not complete
// it is refused with ROTATION_PENDING, exit code 3, and the remaining wait. JSON: { rotated, generation,
// reofferedFlows, unansweredFlows, drainLeftMs }.
import type { Command } from 'commander';
import { contracts } from '../../services/shared/contracts.js';
import { isErrorCode, PspError } from '../../services/shared/errors.js';
import { answerMs, asOperator, type SharedOptions } from '../operator.js';
import { print, printJson } from '../output.js';

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command.action((_, command: Command) => rotate(command.optsWithGlobals()));
}

async function rotate({ config, json }: SharedOptions): Promise<void> {
  const answer = await asOperator(config, (bus) => bus.request(contracts.keysRotate, {}, answerMs));
  const { code, generation, reofferedFlows, unansweredFlows, drainLeftMs } = answer;
  if (json) printJson({ rotated: code === '', generation, reofferedFlows, unansweredFlows, drainLeftMs });
  if (code !== '') {
    throw new PspError(isErrorCode(code) ? code : 'ENGINE_FAILED', {
      unanswered: unansweredFlows,
      ms: drainLeftMs,
      detail: code,
    });
  }
  if (!json) print(`rotated to generation ${generation}; ${reofferedFlows} flows get new offers`);
}
