// SPDX-License-Identifier: Apache-2.0
// Each table of the project is declared once and documented everywhere alike: subjects, error codes, drop reasons, pipes,
// counters, configuration keys, and NVIDIA's field numbers.
import { describe, expect, it } from 'vitest';
import { ways } from '../../cli/status/pipeline.js';
import { loadAddon } from '../../native/addon/load.js';
import { docTables, generated, keysOf } from '../../scripts/doc_tables.js';
import { flag, section } from '../../services/shared/config/values.js';
import { contracts, type Service, serviceRow, services } from '../../services/shared/contracts.js';
import { commonCounters, ownCounters } from '../../services/shared/counter_help.js';
import { type ErrorHelp, errorHelp } from '../../services/shared/error_help.js';
import { errorCodes } from '../../services/shared/errors.js';
import { specCounters } from '../../services/shared/spec_counters.js';
import { files, read } from './sources.js';

const sources = files().filter((path) => /^(services|cli|native)\/.*\.(ts|cc|h)$/.test(path));

describe('subjects', () => {
  it('stand only in the contract table', () => {
    const rows = Object.values(contracts).map(({ subject }) => subject);
    const named = sources
      .filter((path) => path !== 'services/shared/contracts.ts' && !path.includes('/contracts.test'))
      .filter((path) =>
        rows.some((subject) => read(path).includes(`'${subject}'`) || read(path).includes(`psp.v1.`)),
      );
    expect(named).toEqual([]);
  });
});

describe('error codes', () => {
  it('have a cause and a remedy each, in the order of errors.ts', () => {
    const documented = Object.values<Record<string, ErrorHelp>>(errorHelp).flatMap((codes) =>
      Object.entries(codes),
    );
    expect(documented.map(([code]) => code)).toEqual([...errorCodes]);
    expect(documented.filter(([, { cause, remedy }]) => !/\.$/.test(cause) || !/\.$/.test(remedy))).toEqual(
      [],
    );
  });

  it('that the native side raises are in the table', () => {
    const raised = files()
      .filter((path) => /^native\/(engine|addon)\/.*\.cc$/.test(path))
      .flatMap((path) =>
        [...read(path).matchAll(/EngineError\{\s*"([A-Z_]+)"/g)].map(([, code]) => code as string),
      );
    expect(raised.filter((code) => !(errorCodes as string[]).includes(code))).toEqual([]);
  });
});

describe('drop reasons', () => {
  it('are unique in each direction', () => {
    const names = loadAddon().dropReasons.map(({ name, direction }) => `${direction}/${name}`);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('counters', () => {
  const engine = Object.fromEntries(loadAddon().values.map(({ name, meaning }) => [name, meaning]));
  const dataplane: Readonly<Record<string, string>> = { ...engine, ...ownCounters.dataplane };
  const documented: Readonly<Record<Service, Readonly<Record<string, string>>>> = {
    ...ownCounters,
    dataplane,
  };

  it('have a sentence each, and a name of their own in each service', () => {
    expect(Object.keys(engine).length).toBeGreaterThan(40);
    for (const own of [engine, ...Object.values(ownCounters), commonCounters])
      expect(Object.entries(own).filter(([, meaning]) => !/^[A-Z].*\.$/.test(meaning))).toEqual([]);
    const twice = Object.keys(engine).filter((name) => name in ownCounters.dataplane);
    expect(twice).toEqual([]);
  });

  it('of the PSP specification have the same meaning in both tables', () => {
    expect(specCounters.map(({ counter }) => dataplane[counter])).toEqual(
      specCounters.map(({ help }) => help),
    );
  });

  it('include every gauge of the contract table', () => {
    for (const service of services)
      expect(serviceRow(service).gauges.filter((name) => !(name in documented[service]))).toEqual([]);
  });
});

describe('pipes', () => {
  it('have the names that the documentation gives them', () => {
    const design = read('docs/design.md');
    expect(
      loadAddon()
        .pipes.map(({ name }) => name)
        .filter((name) => !design.includes(`\`${name}\``)),
    ).toEqual([]);
  });
});

describe('the ways of `psp pipeline`', () => {
  it('name every pipe, in the order of the engine', () => {
    const order = loadAddon().pipes.map(({ name }) => name);
    const named = ways.map(({ pipes }) => pipes.map((pipe) => order.indexOf(pipe)));
    expect(named.map((places) => [...places].sort((one, other) => one - other))).toEqual(named);
    expect([...new Set(named.flat())].sort()).toEqual([...order.keys()]);
  });
});

describe('generated tables of the documentation', () => {
  const documents = [...new Set(docTables.map(({ document }) => document))];

  it.each(documents)('%s is up to date (npm run docs)', (document) => {
    expect(generated(document, read(document))).toBe(read(document));
  });

  it('have a row for every key of the node file', () => {
    const paths = keysOf().map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(['node', 'peers.X.vips', 'bypass', 'log.level']));
    expect(new Set(paths).size).toBe(paths.length);
  });

  it('refuse a key without a meaning', () => {
    expect(() => keysOf(section({ silent: flag.default(false) }))).toThrow(/^silent needs its meaning/);
  });
});

describe('the peer protocol', () => {
  /** message name -> field -> [type, number]. */
  const messages = (): Record<string, Record<string, [string, number]>> => {
    const proto = read('proto/psp_gateway.proto').replace(/\/\/.*$/gm, '');
    return Object.fromEntries(
      [...proto.matchAll(/message (\w+) \{([^}]*)\}/g)].map(([, name, body]) => [
        name as string,
        Object.fromEntries(
          [...(body as string).matchAll(/((?:repeated |optional )?\w+) (\w+) = (\d+);/g)].map(
            ([, type, field, number]) => [field as string, [type as string, Number(number)]],
          ),
        ),
      ]),
    );
  };

  it("keeps NVIDIA's messages, types and field numbers", () => {
    const theirs = Object.fromEntries(
      Object.entries(messages()).map(([name, fields]) => [
        name,
        Object.fromEntries(Object.entries(fields).filter(([, [, number]]) => number < 1000)),
      ]),
    );
    expect(theirs).toEqual({
      TunnelParameters: {
        mac_addr: ['string', 1],
        ip_addr: ['string', 2],
        psp_version: ['uint32', 3],
        spi: ['uint32', 4],
        encryption_key: ['bytes', 5],
        virt_cookie: ['uint64', 6],
        encap_type: ['uint32', 7],
      },
      SingleTunnelRequest: {
        virt_src_ip: ['string', 1],
        virt_dst_ip: ['string', 2],
        inner_type: ['uint32', 3],
        reverse_params: ['TunnelParameters', 4],
      },
      MultiTunnelRequest: {
        request_id: ['uint64', 1],
        psp_versions_accepted: ['repeated uint32', 2],
        tunnels: ['repeated SingleTunnelRequest', 3],
      },
      MultiTunnelResponse: { request_id: ['uint64', 1], tunnels_params: ['repeated TunnelParameters', 2] },
      KeyRotationRequest: { request_id: ['uint64', 1], issue_new_keys: ['bool', 2] },
      KeyRotationResponse: { request_id: ['uint64', 1] },
    });
  });

  it('keeps the names that a peer calls', () => {
    const proto = read('proto/psp_gateway.proto');
    expect(proto).toMatch(/^package psp_gateway;$/m);
    expect(proto).toMatch(/service PSP_Gateway \{/);
    expect(proto).toMatch(
      /rpc RequestMultipleTunnelParams\(MultiTunnelRequest\) returns \(MultiTunnelResponse\);/,
    );
    expect(proto).toMatch(/rpc RequestKeyRotation\(KeyRotationRequest\) returns \(KeyRotationResponse\);/);
  });

  it('puts what is ours into optional fields numbered from 1000', () => {
    const ours = Object.values(messages()).flatMap((fields) =>
      Object.values(fields).filter(([, number]) => number >= 1000),
    );
    expect(ours.every(([type]) => type.startsWith('optional '))).toBe(true);
  });
});
