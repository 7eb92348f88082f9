// SPDX-License-Identifier: Apache-2.0
// Sums up the reports of all test stages in one closing line. It is plain JavaScript so that it works even if the
// build failed. A stage that failed without a failing test of its own (it crashed, or has none) counts as one
// failure. The exit status is 0 only if nothing failed and something passed.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
const read = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'));

/** The counts of one report of gtest, of vitest, or of a stage itself. */
function countsOf(name) {
  const report = read(name);
  if (name.startsWith('gtest-')) {
    const skipped = report.testsuites
      .flatMap((suite) => suite.testsuite)
      .filter((test) => test.result === 'SKIPPED').length;
    return {
      passed: report.tests - report.failures - (report.disabled ?? 0) - skipped,
      failed: report.failures,
      skipped: skipped + (report.disabled ?? 0),
    };
  }
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** The stage that a report belongs to. */
const stageOf = (name) =>
  name.startsWith('gtest-') ? 'native' : name.replace(/^(vitest|stage)-/, '').replace(/\.json$/, '');

const total = { passed: 0, failed: 0, skipped: 0 };
const failedIn = new Set();
const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
for (const name of names.filter((name) => !name.startsWith('stage-'))) {
  const counts = countsOf(name);
  for (const key of Object.keys(total)) total[key] += counts[key];
  if (counts.failed > 0) failedIn.add(stageOf(name));
}
const passedTests = total.passed;
for (const name of names.filter((name) => name.startsWith('stage-'))) {
  if (read(name).failed && !failedIn.has(stageOf(name))) total.failed++;
}
if (passedTests === 0 && total.failed === 0) total.failed = 1;
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 ? 1 : 0;
