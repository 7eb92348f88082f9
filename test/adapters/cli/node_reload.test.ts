// SPDX-License-Identifier: Apache-2.0
// A reload as `psp up` carries it out, with services that the test speaks for.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeReload, type ServiceCaller } from '../../../cli/node/node_reload.js';
import type { ConfigReload, ConfigReloaded } from '../../../proto/gen/bus.js';
import { checkConfig, type NodeConfig } from '../../../services/shared/config/config.js';
import { loadRunning, runningFileOf } from '../../../services/shared/config/running_file.js';
import type { Service } from '../../../services/shared/contracts.js';

const text = `node: a
unsecured: { port: veth-host }
secured: { port: veth-wire, address: 192.0.2.1/24 }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24]
`;
const withPeer = `${text}peers:\n  b: { endpoint: "198.51.100.2:3000", vips: [10.2.0.0/24] }\n`;

let folder: string;
let file: string;
let running: string;
let calls: { service: Service; request: ConfigReload }[];
/** Services that cannot be reached, and what others answer. */
let away: Service[];
let answers: Partial<Record<Service, (request: ConfigReload) => ConfigReloaded>>;
let applied: NodeConfig[];
let began: [string, string][];
let reload: NodeReload;

const call: ServiceCaller = async (service, request) => {
  calls.push({ service, request });
  if (away.includes(service)) return [];
  return [answers[service]?.(request) ?? { code: '', message: '' }];
};
/** The services that applied a configuration, in order. */
const appliedBy = () => calls.filter(({ request }) => !request.checkOnly).map(({ service }) => service);
const write = (content: string) => writeFileSync(file, content);
const digestOf = (content: string) => {
  const result = checkConfig(content, file);
  return 'config' in result ? result.config.digest : '';
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'psp-reload-'));
  file = join(folder, 'node.yaml');
  running = runningFileOf(folder);
  write(text);
  [calls, away, answers, applied, began] = [[], [], {}, [], []];
  const checked = checkConfig(text, file);
  if ('faults' in checked) throw new Error('faults');
  const log = pino({ level: 'silent' });
  reload = new NodeReload(text, checked.config, running, log, {
    begin: async (before, next) => void began.push([before.digest, next.digest]),
    end: async (config) => void applied.push(config),
  });
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('a reload', () => {
  it('asks every service first, applies the file with the dataplane last, and keeps it for restarts', async () => {
    write(withPeer);
    const answer = await reload.reload(call, 'operator');
    expect(answer).toEqual({ code: '', message: '', applied: ['peers.b'], restartKeys: [], waiting: [] });
    expect(calls.slice(0, 4).every(({ request }) => request.checkOnly)).toBe(true);
    expect(appliedBy()).toEqual(['stats', 'sampler', 'keyexchange', 'dataplane']);
    expect(calls.at(-1)?.request).toMatchObject({ config: withPeer, author: 'operator' });
    expect(Object.keys(loadRunning(file, running, {}).peers)).toEqual(['b']);
    expect(began).toEqual([[digestOf(text), digestOf(withPeer)]]);
    expect(applied.map(({ peers }) => Object.keys(peers))).toEqual([['b']]);
  });

  it('names the keys that take a restart, and applies all others', async () => {
    write(`${withPeer}engine: { lcores: 2 }\ntrustDomain: other\n`);
    const { code, restartKeys, applied } = await reload.reload(call, 'operator');
    expect([code, restartKeys, applied]).toEqual(['', ['trustDomain', 'engine.lcores'], ['peers.b']]);
    const kept = loadRunning(file, running, {});
    expect([kept.engine.lcores, kept.trustDomain, Object.keys(kept.peers)]).toEqual([1, 'psp', ['b']]);
    expect(kept.source.restartKeys).toEqual(['trustDomain', 'engine.lcores']);
    // They are named again, until the file has the values of the start.
    expect((await reload.reload(call, 'operator')).restartKeys).toEqual(['trustDomain', 'engine.lcores']);
    write(withPeer);
    expect((await reload.reload(call, 'operator')).restartKeys).toEqual([]);
  });

  it('applies nothing of a file with faults, and says why', async () => {
    write(withPeer.replace('10.2.0.0/24', '10.2.0.1/24'));
    const { code, message } = await reload.reload(call, 'SIGHUP');
    expect(code).toBe('CONFIG_INVALID');
    expect(message).toContain('peers.b.vips[0] (line 7): expected a prefix');
    expect(calls.map(({ request }) => request.state?.refusal)).toEqual(Array(4).fill('CONFIG_INVALID'));
    expect([applied, appliedBy().length]).toEqual([[], 4]);
    expect(() => loadRunning(file, running, {})).toThrow('a prefix');
  });

  it('applies nothing if the rest of the file needs a key that takes a restart', async () => {
    write(`${text.replace('192.0.2.1/24', '"2001:db8::1/64"')}bypass: [{ prefix: "2001:db8:9::/64" }]\n`);
    const { code, message } = await reload.reload(call, 'operator');
    expect(code).toBe('RESTART_NEEDED');
    expect(message).toMatch(
      /secured\.address\n {2}bypass\[0\]\.prefix: expected the family of secured\.address/,
    );
    expect(applied).toEqual([]);
  });

  it('applies nothing if a service refuses it', async () => {
    answers.dataplane = () => ({ code: 'ENGINE_UNSUPPORTED', message: 'the engine cannot do it' });
    write(withPeer);
    const { code, message } = await reload.reload(call, 'operator');
    expect(code).toBe('RELOAD_REFUSED');
    expect(message).toContain('ENGINE_UNSUPPORTED: the engine cannot do it');
    expect(applied).toEqual([]);
  });

  it('gives the former configuration back if the dataplane fails to apply it', async () => {
    answers.dataplane = ({ checkOnly, config }) =>
      checkOnly || config === text
        ? { code: '', message: '' }
        : { code: 'ENGINE_FAILED', message: 'no memory' };
    write(withPeer);
    expect((await reload.reload(call, 'operator')).code).toBe('RELOAD_REFUSED');
    const last = calls.filter(({ request }) => !request.checkOnly && request.state?.refusal === '');
    expect(last.slice(-4).map(({ request }) => request.config)).toEqual(Array(4).fill(text));
    expect(loadRunning(file, running, {}).source.fileDigest).toBe(digestOf(text));
    expect(applied.map(({ digest }) => digest)).toEqual([digestOf(text)]);
    answers = {};
    expect((await reload.reload(call, 'operator')).applied).toEqual(['peers.b']);
  });

  it('reaches a service that is away as soon as it answers', async () => {
    away = ['stats'];
    write(withPeer);
    expect((await reload.reload(call, 'operator')).waiting).toEqual(['stats']);
    expect(applied).toEqual([]);
    calls.length = 0;
    await reload.tend(call);
    expect(calls.map(({ service }) => service)).toEqual(['stats']);
    away = [];
    await reload.tend(call);
    await reload.tend(call);
    expect(calls.map(({ service, request }) => [service, request.config])).toEqual([
      ['stats', withPeer],
      ['stats', withPeer],
    ]);
    expect(applied).toHaveLength(1);
  });

  it('without a change applies nothing, and is answered all the same', async () => {
    expect(await reload.reload(call, 'operator')).toMatchObject({ code: '', applied: [], waiting: [] });
  });
});
