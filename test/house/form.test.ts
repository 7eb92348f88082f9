// SPDX-License-Identifier: Apache-2.0
// Rules for every file: a licence line, a sentence on its purpose, and no promises for later. Rules for the
// documents: links that work, and safe commands.
import { describe, expect, it } from 'vitest';
import { files, read } from './sources.js';

const sources = files().filter((path) =>
  /\.(ts|mts|mjs|cc|h|proto|sh|py)$|CMakeLists\.txt$|^\.ci\/run$/.test(path),
);

describe('source files', () => {
  it('open with the SPDX line and then say what they are for', () => {
    const lacking = sources.filter((path) => {
      const lines = read(path)
        .split('\n')
        .filter((line) => !line.startsWith('#!'));
      return (
        !/^(\/\/|#) SPDX-License-Identifier: Apache-2\.0$/.test(lines[0] ?? '') ||
        !/^(\/\/|#) \S/.test(lines[1] ?? '')
      );
    });
    expect(lacking).toEqual([]);
  });

  it('contain no promises for later', () => {
    const promise = new RegExp(['TO' + 'DO', 'FIX' + 'ME', 'X'.repeat(3)].join('|'));
    expect(sources.filter((path) => promise.test(read(path)))).toEqual([]);
  });

  it('are named as lower_snake nouns', () => {
    const names = sources.filter(
      (path) => /^(services|cli|native|test)\//.test(path) && !path.endsWith('CMakeLists.txt'),
    );
    expect(
      names.filter((path) => !/^[a-z0-9_]+(\.test)?\.[a-z]+$/.test(path.split('/').at(-1) ?? '')),
    ).toEqual([]);
  });

  it('share no name, except the parts that every service has', () => {
    const parts = ['config.ts', 'main.ts', 'report.ts', 'service.ts'];
    const names = sources
      .filter((path) => /^(services|cli)\/.*\.ts$/.test(path))
      .map((path) => path.split('/').at(-1) ?? '');
    const shared = names.filter((name, i) => names.indexOf(name) !== i && !parts.includes(name));
    expect(shared).toEqual([]);
  });

  it('of services export no two classes or types of one name, except the parts that every service has', () => {
    const exported = sources
      .filter((path) => /^services\/.*\.ts$/.test(path))
      .flatMap((path) => [...read(path).matchAll(/^export (?:class|interface|type) (\w+)/gm)])
      .map(([, name]) => name);
    const shared = exported.filter((name, i) => exported.indexOf(name) !== i && name !== 'Report');
    expect(shared).toEqual([]);
  });

  it('are in no folder without a clear purpose', () => {
    expect(
      sources.filter((path) => /(^|\/)(utils?|helpers?|common|managers?|handlers?)(\/|\.|_)/.test(path)),
    ).toEqual([]);
  });
});

describe('the example', () => {
  it('has node files of at most 12 lines', () => {
    for (const node of ['a', 'b']) {
      expect(read(`deploy/examples/two-nodes/${node}.yaml`).trimEnd().split('\n').length).toBeLessThanOrEqual(
        12,
      );
    }
  });
});

describe('commands of the documentation', () => {
  const documents = files().filter((path) => path.endsWith('.md'));

  it('run no package from the registry with npx: the name psp belongs to an unrelated package there', () => {
    const commands = documents.flatMap((path) =>
      [...read(path).matchAll(/^ {4}(?:\S+=\S+ |sudo )*npx psp\b.*$/gm)].map(
        ([line]) => `${path}: ${line.trim()}`,
      ),
    );
    expect(commands).toEqual([]);
  });

  it('check the node file and the machine before the first start cuts traffic', () => {
    const quickStart = /^## A first pair of gateways\n([\s\S]*?)^## /m.exec(read('README.md'))?.[1] ?? '';
    expect(quickStart).toMatch(/cuts traffic[\s\S]*SSH[\s\S]*psp config check[\s\S]*psp up/);
  });
});

describe('links of the documentation', () => {
  it('lead to files that exist', () => {
    const known = new Set(files());
    const broken = files()
      .filter((path) => path.endsWith('.md'))
      .flatMap((path) => {
        const folder = path.includes('/') ? path.slice(0, path.lastIndexOf('/') + 1) : '';
        return [...read(path).matchAll(/\]\((?!https?:|#)([^)#]+)/g)]
          .map(([, target]) => new URL(target as string, `file:///${folder}`).pathname.slice(1))
          .filter((target) => !known.has(target) && ![...known].some((file) => file.startsWith(target)))
          .map((target) => `${path} -> ${target}`);
      });
    expect(broken).toEqual([]);
  });
});

describe('source files named in the documentation', () => {
  it('exist, by their path or their name', () => {
    const known = files();
    const missing = files()
      .filter((path) => path.endsWith('.md') && path !== 'CHANGELOG.md')
      .flatMap((path) =>
        [...read(path).matchAll(/`([\w./-]+\.(?:h|cc|ts|sh|py|lua|proto))`/g)]
          .map(([, name]) => name as string)
          .filter((name) => !known.some((file) => file === name || file.endsWith(`/${name}`)))
          .map((name) => `${path} names ${name}`),
      );
    expect(missing).toEqual([]);
  });
});
