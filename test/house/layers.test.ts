// SPDX-License-Identifier: Apache-2.0
// Imports run downwards only. The lists draw the layers, the lowest first: a module may import from its own layer
// and from the layers above it in the list. What stands side by side in a row knows nothing of its neighbours.
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { services } from '../../services/shared/contracts.js';
import { files, importsOf, read, valueImportsOf } from './sources.js';

const native = [
  ['native/psp'],
  ['native/engine', 'native/pcap'],
  ['native/engine/memory', 'native/engine/control'],
  ['native/engine/ports'],
  ['native/engine/ip'],
  ['native/engine/neighbours'],
  ['native/engine/software/tables'],
  ['native/engine/software/lcore'],
  ['native/engine/software/pipes'],
  ['native/engine/software/pipes/egress'],
  ['native/engine/software/pipes/ingress'],
  ['native/engine/software'],
  ['native/trace'],
  ['native/addon'],
];

const typescript = [
  ['proto/gen'],
  ['services/shared'],
  ['services/shared/samples'],
  ['services/shared/rate'],
  ['services/shared/certificates'],
  services.map((service) => `services/${service}/core`),
  ['services/shared/config'],
  ['services/shared/process'],
  ['services/shared/bus'],
  ['services/shared/audit'],
  ['services/shared/service'],
  ['native/addon'],
  ['services/dataplane/config.ts', 'services/dataplane/capabilities.ts'],
  services.map((service) => `services/${service}/adapters`),
  services.map((service) => `services/${service}`),
  ['cli'],
  ['cli/audit', 'cli/capture', 'cli/tap'],
  ['cli/node', 'cli/status'],
  ['cli/program.ts'],
  ['cli/psp.ts'],
];

const sources = files().filter((path) => /^(services|cli|native)\/.*\.(ts|cc|h)$/.test(path));
const modules = sources.filter((path) => path.endsWith('.ts'));
const nativeModules = sources.filter((path) => /\.(cc|h)$/.test(path));
const inCore = modules.filter((path) => /^services\/[^/]+\/core\//.test(path));

/** Headers of ours that a C++ file includes, as paths below the root. */
const includesOf = (path: string): string[] =>
  [...read(path).matchAll(/^#include "([^"]+)"$/gm)].map(([, name]) => `native/${name}`);

/** The layer of a file: itself, where the list names it, otherwise its folder. */
const layerOf = (path: string, layers: string[][]): string =>
  layers.some((row) => row.includes(path)) ? path : dirname(path);

/** The imports of `paths` that run upwards, or sideways, or into a folder that is in no layer. */
function faults(paths: string[], layers: string[][], imports: (path: string) => string[]): string[] {
  const heightOf = (path: string) => layers.findIndex((row) => row.includes(layerOf(path, layers)));
  return paths.flatMap((path) =>
    imports(path)
      .filter((imported) => layerOf(imported, layers) !== layerOf(path, layers))
      .filter((imported) => heightOf(imported) < 0 || heightOf(imported) >= heightOf(path))
      .map((imported) => `${path} imports ${imported}`),
  );
}

describe('layers', () => {
  it('are the folders of the code, each in one place', () => {
    const named = [...native, ...typescript].flat();
    const folders = new Set(sources.map((path) => dirname(path)));
    expect([...folders].filter((folder) => !named.includes(folder))).toEqual([]);
  });

  it('import downwards in TypeScript', () => {
    const ours = (path: string) =>
      importsOf(path).filter((name) => /^(services|cli|native|proto)\//.test(name));
    expect(faults(modules, typescript, ours)).toEqual([]);
  });

  it('include downwards in C++', () => {
    expect(faults(nativeModules, native, includesOf)).toEqual([]);
  });

  it('hold about a dozen modules each', () => {
    const countOf = (folder: string) =>
      new Set(sources.filter((path) => dirname(path) === folder).map((path) => path.replace(/\.\w+$/, '')))
        .size;
    const crowded = [...native, ...typescript]
      .flat()
      .filter((layer) => /^(native\/engine|services\/shared)(\/|$)/.test(layer) && countOf(layer) > 14);
    expect(crowded).toEqual([]);
  });
});

describe('what each layer must not know', () => {
  it('core: packages of the world, clocks, processes, randomness, timers', () => {
    expect(inCore.length).toBeGreaterThan(4);
    const packages = /^(nats|@grpc\/.*|pino|opossum|prom-client|node:(?!crypto$).*)$/;
    const world =
      /\bDate\.now\b|\bnew Date\b|\bperformance\.|\bprocess\.|\bsetTimeout\b|\bsetInterval\b|\bMath\.random\b/;
    expect(inCore.filter((path) => importsOf(path).some((name) => packages.test(name)))).toEqual([]);
    expect(inCore.filter((path) => world.test(withoutComments(read(path))))).toEqual([]);
  });

  it('all but the engine adapter, the offline tools and config check: how the native addon is loaded', () => {
    const loaders = modules.filter((path) => valueImportsOf(path).includes('native/addon/load.ts'));
    expect(loaders).toEqual([
      'cli/capture/pcap.ts',
      'cli/capture/trace.ts',
      'cli/node/machine.ts',
      'services/dataplane/adapters/engine.ts',
    ]);
  });

  it('all but the bus: the nats package', () => {
    const importers = modules.filter((path) => importsOf(path).includes('nats'));
    expect(importers.filter((path) => dirname(path) !== 'services/shared/bus')).toEqual([]);
  });

  it('all but the key exchange: gRPC', () => {
    const importers = modules.filter((path) => importsOf(path).some((name) => name.startsWith('@grpc/')));
    expect(importers.filter((path) => !path.startsWith('services/keyexchange/'))).toEqual([]);
  });

  it('all but one module of the addon: how JavaScript values are read', () => {
    const reads =
      /\.(As<|Is(Array|BigInt|Boolean|Function|Number|Object|String|TypedArray|Undefined)\(|Get\()|\.To(Boolean|Number|Object|String)\(/;
    const readers = nativeModules.filter(
      (path) => path.startsWith('native/addon/') && reads.test(read(path)),
    );
    expect(readers).toEqual(['native/addon/js_value.cc', 'native/addon/js_value.h']);
  });

  it('all but the software engine and the tracer, which runs its pipes: master keys, and what encrypts packets', () => {
    const makesKeys = /engine\/software\/|psp\/(master_key|spi_allocator)\.h/;
    const owners = /^native\/(engine\/software|psp|pcap|trace)\//;
    const importers = nativeModules.filter((path) =>
      [...read(path).matchAll(/^#include "([^"]+)"$/gm)].some(([, name]) => makesKeys.test(name ?? '')),
    );
    expect(importers.filter((path) => !owners.test(path))).toEqual(['native/addon/engine_kinds.cc']);
  });

  it('the author of an engine: anything but the five headers of the interface', () => {
    const source = read('test/native/null_engine/null_engine.cc');
    const header = read('test/native/null_engine/null_engine.h');
    const ours = [...`${header}\n${source}`.matchAll(/^#include "([^"]+)"$/gm)].map(([, name]) => name);
    expect(ours.sort()).toEqual(['engine/engine.h', 'null_engine.h']);
    const withWords = withoutComments(source)
      .split('\n')
      .filter((line) => /\w/.test(line) && !line.startsWith('#include'));
    expect(withWords.length).toBeLessThan(80);
    const five = ['commands', 'config', 'counts', 'events'].map((name) => `native/engine/${name}.h`);
    const allowed = /^native\/(psp\/(address|key_limit|mode|secret)|engine\/sample)\.h$/;
    const included = [...includesOf('native/engine/engine.h'), ...five.flatMap(includesOf)];
    expect(included.filter((path) => !five.includes(path) && !allowed.test(path))).toEqual([]);
  });

  it('production code: that it is tested', () => {
    const knows = /NODE_ENV|VITEST|\btesting\b|from 'vitest'|\/test\//;
    expect(modules.filter((path) => knows.test(withoutComments(read(path))))).toEqual([]);
  });

  it('bytes, files and the engine: DPDK, threads and Node, as far as each does without them', () => {
    const foreign = (path: string) =>
      [...read(path).matchAll(/^#include <([^>]+)>/gm)].map(([, name]) => name ?? '');
    const faulty = nativeModules.filter((path) => {
      const forbidden = /^native\/(psp|pcap)\//.test(path) ? /^rte_|^napi|^node_api/ : /^napi|^node_api/;
      if (path.startsWith('native/addon/')) return false;
      return foreign(path).some(
        (name) => forbidden.test(name) || (path.startsWith('native/psp/') && name === 'thread'),
      );
    });
    expect(faulty).toEqual([]);
  });
});

function withoutComments(source: string): string {
  return source
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/\s\/\/ .*$/gm, '');
}
