// SPDX-License-Identifier: Apache-2.0
// The table "To add something" in CONTRIBUTING.md is true. For each kind of addition an existing example is traced
// through the sources: the files that mention it are the files that the table names.
import { describe, expect, it } from 'vitest';
import { files, read } from './sources.js';

const section = /^## To add something\n([\s\S]*?)^## /m.exec(read('CONTRIBUTING.md'))?.[1] ?? '';
const rows = new Map(
  [...section.matchAll(/^\| (?:a|an) ([a-z ]+)[^|]* \| (.+) \|$/gm)].map(([, what, text]) => [
    what as string,
    text as string,
  ]),
);

/** The files to touch that a row links, without anchors: a header of the engine's interface is only read. */
const linked = (what: string): string[] =>
  [...(rows.get(what) ?? '').matchAll(/\]\(([^)#]+)[^)]*\)/g)]
    .map(([, path]) => path as string)
    .filter((path) => path !== 'native/engine/engine.h')
    .sort();

/** Places that a row names without a link: a file or folder of each service or pipe. */
const places = (what: string): number =>
  (rows.get(what) ?? '').match(/`(?:services|adapters)\/[^`]*`|\bits folder\b|\bthe pipe\b/g)?.length ?? 0;

const production = files().filter((path) => /^(services|cli|native|proto)\/.*\.(ts|cc|h|proto)$/.test(path));
const mentioning = (text: RegExp, where: RegExp): string[] =>
  production.filter((path) => where.test(path) && text.test(read(path))).sort();

describe('the table "To add something"', () => {
  it('has a row for each kind of addition', () => {
    expect([...rows.keys()]).toEqual(
      expect.arrayContaining([
        'config key',
        'bus message',
        'drop reason',
        'counter',
        'gauge',
        'service',
        'engine',
      ]),
    );
  });

  it.each([
    ['config key', 5],
    ['bus message', 4],
    ['drop reason', 3],
    ['counter', 2],
    ['gauge', 2],
    ['service', 2],
    ['engine', 3],
  ])('names few files for a %s: at most %i', (what, most) => {
    const count = linked(what).length + places(what) + (what === 'bus message' ? 1 : 0);
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThanOrEqual(most);
  });

  it('is true of a config key: secured.hopLimit passes through the named files to the engine', () => {
    const carriers = mentioning(
      /\bhopLimit\b|\bhop_limit\b/,
      /^(services|native\/addon|native\/engine\/\w+\.h)/,
    );
    expect(carriers).toEqual([...linked('config key'), 'services/dataplane/config.ts'].sort());
  });

  it('is true of a bus message: cmd.keys.rotate is named by the payload, the contract and adapters', () => {
    const named = mentioning(/\bKeysRotate\b|\bkeysRotate\b/, /./);
    expect(named.filter((path) => !/\/adapters\/|^cli\//.test(path))).toEqual(linked('bus message'));
    expect(named.filter((path) => /\/adapters\/|^cli\//.test(path))).toHaveLength(2);
  });

  it('is true of a drop reason: egress multicast is in the table and in one pipe', () => {
    const named = mentioning(/\bkEgressMulticast\b/, /./);
    expect(named.filter((path) => !path.includes('/pipes/'))).toEqual(linked('drop reason'));
    expect(named.filter((path) => path.includes('/pipes/'))).toHaveLength(1);
  });

  it('is true of a counter: each is in one table of meanings and where it is counted', () => {
    const [engine, service] = linked('counter');
    const tableOf = (text: RegExp) =>
      mentioning(text, /./).filter((path) => linked('counter').includes(path));
    const counted = (text: RegExp) => mentioning(text, /./).length - tableOf(text).length;
    for (const [text, table] of [
      [/\bkSpisEvicted\b|\bspisEvicted\b/, engine],
      [/\bfilesVanished\b/, service],
    ] as const) {
      expect(tableOf(text)).toEqual([table]);
      expect(counted(text)).toBe(1);
    }
  });

  it('is true of a gauge: it is also in the row of its service', () => {
    const [engine] = linked('counter');
    const named = mentioning(/\bkReceiveSpis\b|\breceiveSpis\b/, /./);
    expect(linked('gauge')).toHaveLength(1);
    expect(named).toEqual(expect.arrayContaining([engine, ...linked('gauge')]));
    expect(named).toHaveLength(3);
  });

  it('is true of a service: outside its folder, only the contract table has the name of a service as a value', () => {
    const others = (name: string) =>
      mentioning(new RegExp(`'${name}'`), /^(services|cli)\//).filter(
        (path) => !path.startsWith(`services/${name}/`),
      );
    expect(others('stats')).toEqual(linked('service'));
    expect(others('sampler')).toEqual(linked('service'));
  });

  it('is true of an engine: outside its folder, its maker is called in the list of engines alone', () => {
    const named = mentioning(/\bmake_software_engine\b/, /^native\//);
    const inList = linked('engine').filter((path) => path.startsWith('native/'));
    expect(named.filter((path) => !path.startsWith('native/engine/software/'))).toEqual(inList);
  });
});
