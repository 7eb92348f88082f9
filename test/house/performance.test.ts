// SPDX-License-Identifier: Apache-2.0
// docs/performance.md and its plots are exactly what the script generates from the benches' JSON beside them. The
// text around the figures contains no figures of its own.
import { describe, expect, it } from 'vitest';
import { documentOf, readResults } from '../../bench/document/document.js';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { files, read } from './sources.js';

const results = readResults(fromPackageRoot('docs/performance'));
const made = documentOf(results);

describe('docs/performance.md', () => {
  it('and its plots are generated from the JSON beside them: npm run bench -- report', () => {
    expect([...made].filter(([path, text]) => read(`docs/${path}`) !== text).map(([path]) => path)).toEqual(
      [],
    );
  });

  it('has no plot that the script does not generate', () => {
    const plots = files().filter((path) => /^docs\/performance\/.*\.svg$/.test(path));
    expect(plots.filter((path) => !made.has(path.replace('docs/', '')))).toEqual([]);
  });

  it('shows every plot', () => {
    const shown = [...(made.get('performance.md') ?? '').matchAll(/\]\((performance\/\w+\.svg)\)/g)];
    expect(shown.map(([, path]) => path).sort()).toEqual(
      [...made.keys()].filter((path) => path.endsWith('.svg')).sort(),
    );
  });

  it('takes its figures from the JSON alone', () => {
    const words = read('bench/document/template.md').replace(/\{\{.*?\}\}/g, '');
    expect(
      words.match(/\d[\d.,]*\s*(%|ns\b|us\b|ms\b|Gb\/s|GB\b|GiB\b|Mpps|million|times\b)/g) ?? [],
    ).toEqual([]);
  });

  it('lacks no figure that its text refers to', () => {
    const lacking = [...made].filter(([, text]) => /NaN|undefined|Infinity|\(not measured\)|\{\{/.test(text));
    expect(lacking.map(([path]) => path)).toEqual([]);
  });

  it('compares with peers whose version and year it names, and so does README.md', () => {
    const notes = results.get('wire')?.notes ?? [];
    for (const peer of ['nebula', 'wireguard-go']) {
      expect(notes.find((note) => note.startsWith(`${peer}: `))).toMatch(/^[\w-]+: \S*\d\S* \(20\d\d\),/);
    }
    const claims = read('README.md')
      .split(/(?<=[.:])\s/)
      .filter((sentence) => /\btimes\b|faster|outruns/.test(sentence))
      .filter((sentence) => /nebula|wireguard/i.test(sentence));
    expect(claims.length).toBeGreaterThan(0);
    expect(claims.filter((sentence) => !/\b20\d\d/.test(sentence))).toEqual([]);
  });

  it('is of benches that were measured on one machine', () => {
    const machines = [...results.values()].map(
      ({ machine }) => `${machine.cpu}, ${machine.cores} cores, ${machine.kernel}`,
    );
    expect(new Set(machines).size).toBe(1);
  });
});
