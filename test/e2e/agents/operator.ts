// SPDX-License-Identifier: Apache-2.0
// Runs in a gateway's namespace: the operator's tool in a process that stays, so that a test with a hundred queries
// loads it once. Each line of stdin is one command line, a JSON array of the arguments after "psp". Each is answered
// with one JSON line on stdout: { code, stdout, stderr }. It ends when stdin ends.
import { createInterface } from 'node:readline';
import { run } from '../../../cli/program.js';

const answer = process.stdout.write.bind(process.stdout);
const said = { stdout: '', stderr: '' };
for (const name of ['stdout', 'stderr'] as const) {
  process[name].write = (text: string | Uint8Array): boolean => {
    said[name] += text.toString();
    return true;
  };
}
for await (const line of createInterface({ input: process.stdin })) {
  Object.assign(said, { stdout: '', stderr: '' });
  const code = await run(JSON.parse(line) as string[]);
  answer(`${JSON.stringify({ code, ...said })}\n`);
}
process.exit();
