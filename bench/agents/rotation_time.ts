// SPDX-License-Identifier: Apache-2.0
// Rotates the master key of a running node and prints after how many milliseconds its peers have new keys for all
// tunnels. Argument: the node file.
import { setTimeout as sleep } from 'node:timers/promises';
import { answerMs, asOperator } from '../../cli/operator.js';
import { contracts } from '../../services/shared/contracts.js';

const [file = ''] = process.argv.slice(2);
await asOperator(file, async (bus) => {
  const startMs = performance.now();
  const { code } = await bus.request(contracts.keysRotate, { cutsAtMost: undefined }, answerMs);
  if (code !== '') throw new Error(`the rotation was refused with ${code}`);
  let left: number;
  do {
    await sleep(5);
    left = (await bus.request(contracts.dataplaneStatus, {}, answerMs)).unansweredFlows;
  } while (left > 0);
  console.log(performance.now() - startMs);
});
