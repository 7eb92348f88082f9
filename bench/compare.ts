// SPDX-License-Identifier: Apache-2.0
// Reports whether two runs of the benches agree. Prints each ratio of one folder's JSON beside that of the other's,
// which ones differ by more than the noise that both report, and how many. The exit code is 1 if some differ.
import { parseArgs } from 'node:util';
import { readResults } from './document/document.js';
import { refuse } from './shared/result.js';

const caseOf = (what: object) => Object.values(what).join(', ');

try {
  const { positionals } = parseArgs({ allowPositionals: true });
  const [first, second] = positionals;
  if (first === undefined || second === undefined || positionals.length > 2) {
    refuse('compare takes two folders with the JSON of benches');
  }
  const [before, after] = [readResults(first), readResults(second)];
  const compared = [...before].flatMap(([name, { rows }]) =>
    rows.flatMap((row) => {
      const other = after.get(name)?.rows.find(({ what }) => caseOf(what) === caseOf(row.what));
      if (other === undefined) return [];
      const apart = 100 * Math.abs(other.ratio / row.ratio - 1);
      const noise = Math.max(row.ratioNoisePercent, other.ratioNoisePercent);
      const shown = {
        bench: name,
        case: caseOf(row.what),
        first: row.ratio,
        second: other.ratio,
        'apart, %': Number(apart.toFixed(1)),
        'noise, %': noise,
      };
      return [{ shown, agrees: apart <= noise }];
    }),
  );
  if (compared.length === 0) refuse('the two have no case in common');
  const apart = compared.filter(({ agrees }) => !agrees);
  if (apart.length > 0) console.table(apart.map(({ shown }) => shown));
  console.log(
    `compare: ${compared.length - apart.length} of ${compared.length} ratios agree within their noise`,
  );
  if (apart.length > 0) process.exitCode = 1;
} catch (error) {
  refuse((error as Error).message);
}
