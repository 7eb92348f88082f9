// SPDX-License-Identifier: Apache-2.0
// Runs in a gateway's namespace: an operator that sends one command many times at once and collects every answer. The
// command changes nothing: it turns off sampling, which is off. Arguments: node file, number of times. Prints one
// JSON line: the number of answers by code, '' for success.
import { asOperator } from '../../../cli/operator.js';
import { contracts } from '../../../services/shared/contracts.js';

const patienceMs = 60_000;
const [file, times] = process.argv.slice(2) as [string, string];
const off = { egressLog2: undefined, peer: '' };
const answers = await asOperator(file, (bus) =>
  Promise.all(
    Array.from({ length: Number(times) }, () => bus.request(contracts.samplingSet, off, patienceMs)),
  ),
);
const counts: Record<string, number> = {};
for (const { code } of answers) counts[code] = (counts[code] ?? 0) + 1;
process.stdout.write(`${JSON.stringify(counts)}\n`);
