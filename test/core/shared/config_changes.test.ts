// SPDX-License-Identifier: Apache-2.0
// What changed between two node files, and what a reload applies of it.
import { describe, expect, it } from 'vitest';
import { changesBetween, withoutRestartKeys } from '../../../services/shared/config/changes.js';
import { checkConfig, contentOf, type NodeConfig } from '../../../services/shared/config/config.js';
import { schema } from '../../../services/shared/config/schema.js';

const base = `node: a
unsecured: { port: veth-host }
secured: { port: veth-wire, address: 192.0.2.1/24 }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24]
`;
const b = 'b: { endpoint: "198.51.100.2:3000", vips: [10.2.0.0/24] }';
const load = (text: string): NodeConfig => {
  const result = checkConfig(text, '/x/node.yaml', {});
  if ('faults' in result) throw new Error(JSON.stringify(result.faults));
  return result.config;
};
const changes = (before: string, after: string) =>
  changesBetween(load(before), load(after)).map(({ path, takes }) => `${path}: ${takes}`);

describe('changes between two node files', () => {
  it('are none where only text or order differ, or a default is written out', () => {
    expect(changes(base, `# comment\n${base}log: { level: info }\npeers: {}\n`)).toEqual([]);
  });

  it('name each key with what it takes', () => {
    const after = `${base.replace('10.1.0.0/24', '10.1.0.0/16')}engine: { lcores: 2, drainMs: 600 }\nlog: { level: debug }\n`;
    expect(changes(base, after)).toEqual([
      'vips: reload',
      'engine.lcores: restart',
      'engine.drainMs: reload',
      'log.level: reload',
    ]);
  });

  it('name a peer that was added or removed as a whole, and the changed keys of others', () => {
    const c = 'c: { endpoint: "198.51.100.3:3000", vips: [10.3.0.0/24] }';
    const before = `${base}peers:\n  ${b}\n  ${c}\n`;
    const after = `${base}peers:\n  ${b.replace(':3000', ':3001').replace(' }', ', mtu: 1400 }')}\n  d: { endpoint: "198.51.100.4:3000", vips: [10.4.0.0/24] }\n`;
    expect(changes(before, after)).toEqual([
      'peers.b.endpoint: reload',
      'peers.b.mtu: reload',
      'peers.c: reload',
      'peers.d: reload',
    ]);
  });

  it('follow from every key of the schema', () => {
    expect(Object.keys(schema.shape)).toEqual(expect.arrayContaining(['peers', 'tunnels', 'bypass', 'vips']));
    const after = `${base}tunnels: []\nbypass: [{ prefix: 192.168.0.0/24 }]\nversions: [0]\ntrustDomain: other\n`;
    expect(changes(base, after)).toEqual(['trustDomain: restart', 'versions: restart', 'bypass: reload']);
  });
});

describe('a file without the changes that take a restart', () => {
  const kept = (file: string, running: string) =>
    JSON.stringify(withoutRestartKeys(contentOf(file), contentOf(running)));

  it('has the values of the running one for them, and its own for all others', () => {
    const file = `${base.replace('veth-host', 'eth9')}engine: { lcores: 4, drainMs: 600 }\npeers:\n  ${b}\n`;
    const config = load(kept(file, base));
    expect(config.unsecured.port).toBe('veth-host');
    expect(config.engine).toMatchObject({ lcores: 1, drainMs: 600 });
    expect(Object.keys(config.peers)).toEqual(['b']);
    expect(changesBetween(config, load(file)).map(({ path }) => path)).toEqual([
      'unsecured.port',
      'engine.lcores',
    ]);
  });

  it('keeps a value that the file leaves out', () => {
    expect(load(kept(base, `${base}engine: { lcores: 2 }\n`)).engine.lcores).toBe(2);
  });
});
