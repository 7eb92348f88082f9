// SPDX-License-Identifier: Apache-2.0
// Every line knows its room, and knowledge flows only downward: main, adapters, core, shared. The native side
// mirrors it: addon, engine, psp.
import { describe, expect, it } from 'vitest';
import { files, importsOf, read, valueImportsOf } from './sources.js';

const typescript = files().filter((path) => path.endsWith('.ts'));
const inCore = typescript.filter((path) => /^services\/[^/]+\/core\//.test(path));
const inShared = typescript.filter((path) => path.startsWith('services/shared/'));

/** The files of `paths` that import something which `forbidden` names. */
function offenders(paths: string[], forbidden: (imported: string, path: string) => boolean): string[] {
  return paths.flatMap((path) =>
    importsOf(path)
      .filter((imported) => forbidden(imported, path))
      .map((imported) => `${path} imports ${imported}`),
  );
}

describe('rooms', () => {
  it('has services with a core', () => {
    expect(inCore.length).toBeGreaterThan(4);
  });

  it('core imports only core of its own service, shared words and message types', () => {
    const world =
      /^(nats|@grpc\/.*|pino|opossum|prom-client|node:(?!crypto$).*)$|native\/|\/adapters\/|main\.ts$|^cli\/|shared\/(bus|bus_link|bus_stream|folders|audit_\w+|log|log_lines|signals|clock|privileges|nats_config|package_root|parent|service_process|outlet)\.ts$/;
    expect(
      offenders(inCore, (imported, path) => {
        const [, service] = path.split('/');
        const other = /^services\/([^/]+)\//.exec(imported)?.[1];
        return world.test(imported) || (other !== undefined && other !== 'shared' && other !== service);
      }),
    ).toEqual([]);
  });

  it('core reads no clock, no process, no randomness of its own and sets no timer', () => {
    const world =
      /\bDate\.now\b|\bnew Date\b|\bperformance\.|\bprocess\.|\bsetTimeout\b|\bsetInterval\b|\bMath\.random\b/;
    expect(inCore.filter((path) => world.test(withoutComments(read(path))))).toEqual([]);
  });

  it('shared imports no service', () => {
    expect(
      offenders(inShared, (imported) => /^services\/(?!shared\/)|^cli\/|^native\//.test(imported)),
    ).toEqual([]);
  });

  it('adapters import no main, and no other service', () => {
    const adapters = typescript.filter((path) => /^services\/[^/]+\/adapters\//.test(path));
    expect(
      offenders(adapters, (imported, path) => {
        const other = /^services\/([^/]+)\//.exec(imported)?.[1];
        return (
          /main\.ts$/.test(imported) ||
          (other !== undefined && other !== 'shared' && other !== path.split('/')[1])
        );
      }),
    ).toEqual([]);
  });

  it('only the engine adapter loads the native border, and only the dataplane knows its types', () => {
    const border = 'native/addon.ts';
    const production = typescript.filter((path) => !path.startsWith('test/'));
    const loaders = production.filter((path) => valueImportsOf(path).includes(border));
    const knowers = production.filter((path) => importsOf(path).includes(border));
    expect(loaders.filter((path) => !/^cli\/(pcap|trace)\.ts$/.test(path))).toEqual([
      'services/dataplane/adapters/engine.ts',
    ]);
    expect(knowers.filter((path) => !/^services\/dataplane\/(?!core\/)|^cli\//.test(path))).toEqual([]);
  });

  it('only the bus, its connection and its stream know the nats package', () => {
    const importers = typescript.filter((path) => importsOf(path).some((name) => name === 'nats'));
    expect(importers.filter((path) => !path.startsWith('test/')).sort()).toEqual([
      'services/shared/bus.ts',
      'services/shared/bus_link.ts',
      'services/shared/bus_stream.ts',
    ]);
  });

  it('production code does not know that it is tested', () => {
    const production = typescript.filter((path) => /^(services|cli|native)\//.test(path));
    const knows = /NODE_ENV|VITEST|\btesting\b|from 'vitest'|\/test\//;
    expect(production.filter((path) => knows.test(withoutComments(read(path))))).toEqual([]);
  });

  it('psp knows no engine, the engine no files, and none of them Node', () => {
    const includes = (path: string) =>
      [...read(path).matchAll(/#include [<"]([^>"]+)[>"]/g)].map(([, name]) => name);
    const native = (room: string) =>
      files().filter((path) => path.startsWith(`native/${room}/`) && /\.(h|cc)$/.test(path));
    const faults = [
      ...native('psp').filter((path) =>
        includes(path).some((name) =>
          /^(engine|pcap|trace|addon)\/|^rte_|^napi|^node_api|^thread$/.test(name ?? ''),
        ),
      ),
      ...native('pcap').filter((path) =>
        includes(path).some((name) => /^(engine|trace|addon)\/|^rte_|^napi|^node_api/.test(name ?? '')),
      ),
      ...native('engine').filter((path) =>
        includes(path).some((name) => /^(pcap|trace|addon)\/|^napi|^node_api/.test(name ?? '')),
      ),
      ...native('trace').filter((path) =>
        includes(path).some((name) => /^addon\/|^napi|^node_api/.test(name ?? '')),
      ),
    ];
    expect(faults).toEqual([]);
  });
});

function withoutComments(source: string): string {
  return source
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/\s\/\/ .*$/gm, '');
}
