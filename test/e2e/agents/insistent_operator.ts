// SPDX-License-Identifier: Apache-2.0
// Runs in a gateway's namespace: an operator who gives one command many times at once and takes every answer. The
// command changes nothing: sampling is off, and off it shall be. Arguments: node file, how many times. Prints one JSON
// line: how often each code was the answer, '' where it was done.
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
