// SPDX-License-Identifier: Apache-2.0
// A node file that asks for more than its engine can do is refused with every fault at once.
import { describe, expect, it } from 'vitest';
import type { EngineCapabilities } from '../../../native/addon/engine.js';
import { loadAddon } from '../../../native/addon/load.js';
import { checkCapabilities, checkKind, faultsOf } from '../../../services/dataplane/capabilities.js';
import { checkConfig, type NodeConfig } from '../../../services/shared/config/config.js';
import { modes } from '../../../services/shared/modes.js';
import { samplePoints } from '../../../services/shared/samples/sample_points.js';

const wide: EngineCapabilities = {
  ...{ versions: [0, 1, 2, 3], modes: Object.values(modes), inner: [4, 6], outer: [4, 6] },
  samplePoints: Object.values(samplePoints),
  ...{ cryptOffset: 63, lcores: 64, maxFlows: 16_777_216, spisPerFlow: 8 },
};
const narrow: EngineCapabilities = {
  ...{
    versions: [1],
    modes: [modes.tunnel],
    inner: [4],
    outer: [6],
    samplePoints: [samplePoints.egressSealed],
  },
  ...{ cryptOffset: 0, lcores: 1, maxFlows: 4096, spisPerFlow: 4 },
};

function configOf(text: string): NodeConfig {
  const checked = checkConfig(text, '/etc/psp/node.yaml');
  if ('faults' in checked) throw new Error(JSON.stringify(checked.faults));
  return checked.config;
}

const least = configOf(`{ node: a, unsecured: { port: hosts }, secured: { port: wire, address: 192.0.2.1/24 },
  keyExchange: { listen: "127.0.0.1:1" }, vips: [10.1.0.0/24] }`);
const all = configOf(`{ node: a, unsecured: { port: hosts, gateway: ["fd00:1::1/64"] },
  secured: { port: wire, address: 192.0.2.1/24 }, keyExchange: { listen: "127.0.0.1:1" },
  vips: [10.1.0.0/24, "fd00:1::/64"], versions: [0, 1], engine: { lcores: 2, maxFlows: 8192 },
  peers: {
    b: { endpoint: "127.0.0.1:2", vips: ["fd00:2::/64", 10.2.0.0/24], mode: transport, cryptOffset: 2 },
    c: { endpoint: "127.0.0.1:3", vips: [10.3.0.0/24], authOnly: true, sampling: 4 } },
  sampling: { points: [sealed, plain] }, capture: { ingress: true, egress: true } }`);

describe('an engine that can do less than the node file asks', () => {
  it('is refused with every fault, each with its key, what the engine can do and what was asked', () => {
    expect(
      faultsOf(all, narrow).map(({ path, expected, received }) => `${path}: ${expected} / ${received}`),
    ).toEqual([
      'unsecured.gateway[0]: an IPv4 prefix / fd00:1::1/64',
      'secured.address: an IPv6 prefix / 192.0.2.1/24',
      'vips[1]: an IPv4 prefix / fd00:1::/64',
      'peers.b.vips[0]: an IPv4 prefix / fd00:2::/64',
      'peers.b.mode: tunnel / transport',
      'peers.b.cryptOffset: at most 0 / 2',
      'peers.c.authOnly: false, as the engine has PSP versions 1 only / true',
      'versions[0]: 1 / 0',
      'engine.lcores: at most 1 / 2',
      'engine.maxFlows: at most 4096 / 8192',
      'engine.kind: an engine with 8 receive SPIs for each flow / software',
      'sampling.points[1]: nothing, as the engine takes no copies there / plain',
      'capture.ingress: nothing, as the engine takes no copies there / true',
      'capture.egress: nothing, as the engine takes no copies there / true',
    ]);
  });

  it('is refused by one error that names the file, the engine and the remedy', () => {
    expect(() => checkCapabilities(all, narrow)).toThrow(
      expect.objectContaining({
        code: 'ENGINE_UNSUPPORTED',
        message: expect.stringMatching(
          /^\/etc\/psp\/node\.yaml asks for more than the engine "software" can do; change these keys, or choose another engine\.kind:\n {2}unsecured\.gateway\[0\]: expected an IPv4 prefix, received fd00:1::1\/64\n/,
        ),
      }),
    );
  });

  it('is not refused for sampling points while nothing is sampled', () => {
    expect(faultsOf(least, { ...wide, samplePoints: [] })).toEqual([]);
  });
});

describe('the engines that are built in', () => {
  it('can do all that a node file can ask for', () => {
    expect(faultsOf(all, wide)).toEqual([]);
  });

  it('are named when the node file names another', () => {
    const other = { ...least, engine: { ...least.engine, kind: 'doca' } };
    expect(() => checkKind(least, loadAddon().engines)).not.toThrow();
    expect(() => checkKind(other, loadAddon().engines)).toThrow(
      expect.objectContaining({
        code: 'ENGINE_MISSING',
        message:
          '/etc/psp/node.yaml: engine.kind: the engine "doca" is not built in; change it to one of software, or build the addon with it',
      }),
    );
  });
});
