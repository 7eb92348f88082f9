// SPDX-License-Identifier: Apache-2.0
// The node file: valid files, their defaults, and how each fault is reported.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  checkConfig,
  filesBeside,
  formatFault,
  identityOf,
  loadConfig,
  type NodeConfig,
} from '../../../services/shared/config/config.js';
import type { PspError } from '../../../services/shared/errors.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';

const least = `node: a
unsecured: { port: veth-host }
secured: { port: veth-wire, address: 192.0.2.1/24 }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24]
`;
const check = (content: string, environment: Record<string, string> = {}) =>
  checkConfig(content, '/x/node.yaml', environment);
function load(content: string, environment: Record<string, string> = {}): NodeConfig {
  const result = check(content, environment);
  if ('faults' in result) throw new Error(result.faults.map(formatFault).join('\n'));
  return result.config;
}
function faults(content: string, environment: Record<string, string> = {}): string[] {
  const result = check(content, environment);
  return 'faults' in result ? result.faults.map((fault) => formatFault(fault).trim()) : [];
}

describe('a node file', () => {
  it.each(['a', 'b'])('of the examples loads: %s', (node) => {
    const file = fromPackageRoot(`deploy/examples/two-nodes/${node}.yaml`);
    const config = loadConfig(file, {});
    expect(config.node).toBe(node);
    expect(readFileSync(file, 'utf8').trim().split('\n').length).toBeLessThanOrEqual(12);
  });

  it("examples agree: each has the other's listen address, vips and address on the wire", () => {
    const [a, b] = ['a', 'b'].map((node) =>
      loadConfig(fromPackageRoot(`deploy/examples/two-nodes/${node}.yaml`), {}),
    ) as [NodeConfig, NodeConfig];
    expect(a.peers.b).toMatchObject({ endpoint: b.keyExchange.listen, vips: b.vips });
    expect(b.peers.a).toMatchObject({ endpoint: a.keyExchange.listen, vips: a.vips });
    expect(a.peers.b?.underlay).toEqual(['192.0.2.0/24']);
  });

  it('needs five keys; all others have a default', () => {
    expect(load(least)).toEqual({
      node: 'a',
      unsecured: { port: 'veth-host', gateway: [] },
      secured: {
        port: 'veth-wire',
        address: '192.0.2.1/24',
        onlink: false,
        hopLimit: 64,
        dscp: 'copy',
        udpChecksum: false,
        sourcePorts: 'hash',
      },
      keyExchange: {
        listen: '198.51.100.1:3000',
        exchangeMs: 1000,
        callMs: 700,
        limits: {
          requestsPerSecond: 2000,
          tunnelsPerSecond: 20_000,
          tunnelsPerRequest: 1024,
          connections: 32,
        },
      },
      vips: ['10.1.0.0/24'],
      peers: {},
      tunnels: [],
      trustDomain: 'psp',
      versions: [1, 0],
      ingressAcl: true,
      bypass: [],
      bus: { listen: '127.0.0.1:4270' },
      stateDir: '/var/lib/psp/a',
      keys: { rotateEvery: 86_400_000 },
      digest: createHash('sha256').update(least).digest('hex'),
      environment: {},
      source: { fileDigest: createHash('sha256').update(least).digest('hex'), restartKeys: [] },
      engine: {
        kind: 'software',
        polling: 'adaptive',
        lcores: 1,
        crypto: 'auto',
        maxFlows: 262_144,
        holdMs: 3000,
        retireMs: 1000,
        drainMs: 500,
        rotateGraceMs: 3_600_000,
      },
      sampling: { points: ['sealed'], snapBytes: 128, files: 8, fileBytes: 16_777_216 },
      capture: { ingress: false, egress: false, perSecond: 100 },
      metrics: { listen: '127.0.0.1:9464' },
      audit: { listen: '127.0.0.1:5270', spoolBytes: 16_777_216, streamBytes: 268_435_456 },
      log: { level: 'info' },
      files: filesBeside('/x/node.yaml'),
    });
  });

  it.each([
    ['', '127.0.0.1:5270'],
    ['bus: { listen: "[::1]:4271" }\n', '[::1]:5271'],
    ['bus: { listen: "127.0.0.9:65000" }\n', '127.0.0.9:64000'],
    ['audit: { listen: "127.0.0.2:4270" }\n', '127.0.0.2:4270'],
  ])('%swith %s for the server of the audit stream', (line, listen) => {
    expect(load(`${least}${line}`).audit.listen).toBe(listen);
  });

  it('gives the two servers of the bus separate addresses', () => {
    expect(faults(`${least}audit: { listen: "127.0.0.1:4270" }\n`)).toEqual([
      expect.stringMatching(/^audit\.listen .*an address other than bus\.listen/),
    ]);
  });

  it('finds its files beside it', () => {
    expect(filesBeside('/etc/psp/node.yaml')).toEqual({
      config: '/etc/psp/node.yaml',
      ca: '/etc/psp/tls/ca.crt',
      certificate: '/etc/psp/tls/node.crt',
      privateKey: '/etc/psp/tls/node.key',
      revocationLists: '/etc/psp/tls/ca.crl',
      refused: '/etc/psp/tls/refused.txt',
      busSecret: '/etc/psp/bus.secret',
      passwords: '/etc/psp/nats',
    });
  });

  it('gives addresses in canonical text and one gateway or many as a list', () => {
    const config = load(
      least
        .replace('port: veth-host', 'port: x, gateway: "FD00:0:0::1/64"')
        .replace('[10.1.0.0/24]', '["FD00:1:0::/64"]'),
    );
    expect(config.unsecured.gateway).toEqual(['fd00::1/64']);
    expect(config.vips).toEqual(['fd00:1::/64']);
  });

  it('may have an empty section whose keys are all commented out', () => {
    expect(load(`${least}log:\nengine:\n  # holdMs: 100\npeers:\n`).log.level).toBe('info');
  });

  it('is frozen deeply', () => {
    const config = load(`${least}peers: { b: { endpoint: "b:1", vips: [10.2.0.0/24] } }\n`) as unknown as {
      peers: { b: { vips: string[] } };
      engine: { holdMs: number };
      files: { ca: string };
    };
    expect(() => config.peers.b.vips.push('10.3.0.0/24')).toThrow(TypeError);
    expect(() => {
      config.engine.holdMs = 1;
    }).toThrow(TypeError);
    expect(() => {
      config.files.ca = 'x';
    }).toThrow(TypeError);
  });

  it('accepts one address of a prefix that has only host addresses', () => {
    for (const address of ['192.0.2.0/31', '192.0.2.1/32', '"2001:db8::/128"']) {
      expect(faults(least.replace('192.0.2.1/24', address)), address).toEqual([]);
    }
  });
});

describe('the environment', () => {
  it('overrides the file', () => {
    const config = load(`${least}log: { level: warn }\nengine: { crypto: auto, holdMs: 200 }\n`, {
      PSP_LOG_LEVEL: 'debug',
      PSP_CRYPTO: 'libcrypto',
      PSP_METRICS_LISTEN: '127.0.0.1:9470',
    });
    expect(config.log.level).toBe('debug');
    expect(config.metrics.listen).toBe('127.0.0.1:9470');
    expect(config.engine).toMatchObject({ crypto: 'libcrypto', holdMs: 200 });
    expect(load(least, { PSP_LOG_LEVEL: '' }).log.level).toBe('info');
  });

  it('is named if it has a fault, and hides no fault of the file', () => {
    expect(faults(`${least}log: { level: info }\n`, { PSP_LOG_LEVEL: 'loud' })).toEqual([
      'PSP_LOG_LEVEL: expected trace, debug, info, warn or error, received "loud"',
    ]);
    expect(faults(least, { PSP_METRICS_LISTEN: '9464' })).toEqual([
      expect.stringMatching(/^PSP_METRICS_LISTEN: expected host:port.*received "9464"$/),
    ]);
    expect(faults(`${least}log: 5\n`, { PSP_LOG_LEVEL: 'debug' })).toEqual([
      'log (line 6): expected a section with level, received 5',
    ]);
  });
});

describe('faults', () => {
  it('are all reported at once in the order of the file, with line, path, expected and received value', () => {
    const content = `node: A
unsecured: { gateway: [10.1.0.1/24, 10.1.0.0/24] }
secured:
  port: veth-wire
  address: 192.0.2.0/24
  gateway: 198.51.100.7
keyExchange: { listen: 198.51.100.1, callMs: 5 }
vips: [10.1.0.1/24, nonsense, 7]
peers:
  b:
    endpoint: "198.51.100.2:3000"
    vips: []
    color: red
  c: 5
versions: [1, 1]
bus: { listen: "0.0.0.0:4270" }
tunnels: { local: 10.1.0.1 }
stateDir: var
`;
    expect(faults(content)).toEqual([
      'node (line 1): expected a name of a-z, 0-9 and -, at most 63 characters, received "A"',
      'unsecured.port (line 2): expected an interface, a PCI address or a DPDK device string, received nothing',
      'unsecured.gateway[1] (line 2): expected our address with the length of its prefix, as in 192.0.2.1/24, received "10.1.0.0/24"',
      'secured.address (line 5): expected our address with the length of its prefix, as in 192.0.2.1/24, received "192.0.2.0/24"',
      'keyExchange.listen (line 7): expected host:port or [v6]:port, received "198.51.100.1"',
      'keyExchange.callMs (line 7): expected whole milliseconds from 50 to 60000, received 5',
      'vips[0] (line 8): expected a prefix (address/length with no host bits set), received "10.1.0.1/24"',
      'vips[1] (line 8): expected a prefix (address/length with no host bits set), received "nonsense"',
      'vips[2] (line 8): expected a prefix (address/length with no host bits set), received 7',
      'peers.b.vips (line 12): expected at least one prefix, received []',
      'peers.b.color (line 13): expected one of endpoint, vips, underlay, insecureReferenceInterop, mayRotate, maxTunnels, mode, cookie, cryptOffset, authOnly, mtu, sampling, received color',
      'peers.c (line 14): expected a section with endpoint, vips, underlay, insecureReferenceInterop, mayRotate, maxTunnels, mode, cookie, cryptOffset, authOnly, mtu, sampling, received 5',
      'versions (line 15): expected each version once, received [1,1]',
      'bus.listen (line 16): expected host:port on loopback, because the bus is not encrypted, received "0.0.0.0:4270"',
      'tunnels (line 17): expected a list of { local, remote }, received {"local":"10.1.0.1"}',
      'stateDir (line 18): expected an absolute path, received "var"',
    ]);
  });

  describe('in the next hop of the wire', () => {
    const wire = (secured: string) =>
      least.replace('port: veth-wire, address: 192.0.2.1/24', `port: veth-wire, ${secured}`);

    it.each([
      'address: 192.0.2.1/24, gateway: 192.0.2.254',
      'address: 192.0.2.1/24, gateway: 192.0.2.254, onlink: true',
      'address: 192.0.2.1/24, gateway: 203.0.113.254, onlink: true',
      'address: 192.0.2.1/32, gateway: 169.254.0.1, onlink: true',
      'address: 192.0.2.1/24, gateway: "fe80::1"',
      'address: 192.0.2.1/24, gateway: "2001:db8::1", onlink: true',
      'address: "fd00:99::1/64", gateway: "fe80::1"',
      'address: "fd00:99::1/64", gateway: "febf::1"',
      'address: "fd00:99::1/128", gateway: "fd00:98::1", onlink: true',
    ])('there is none: %s', (secured) => {
      expect(faults(wire(secured))).toEqual([]);
    });

    it.each([
      ['address: 192.0.2.1/24, onlink: true', 'onlink', 'secured.gateway, too, received true'],
      [
        'address: 192.0.2.1/24, gateway: "fd00:99::1"',
        'gateway',
        'an address in 192.0.2.0/24, an IPv6 link-local one, or onlink: true, received fd00:99::1',
      ],
      [
        'address: 192.0.2.1/24, gateway: 169.254.0.1',
        'gateway',
        'an address in 192.0.2.0/24, an IPv6 link-local one, or onlink: true, received 169.254.0.1',
      ],
      [
        'address: "fd00:99::1/64", gateway: "fec0::1"',
        'gateway',
        'an address in fd00:99::/64, an IPv6 link-local one, or onlink: true, received fec0::1',
      ],
      [
        'address: "fd00:99::1/64", gateway: 192.0.2.254, onlink: true',
        'gateway',
        'an IPv6 address where secured.address is IPv6, received 192.0.2.254',
      ],
      [
        'address: 192.0.2.1/24, gateway: 192.0.2.1',
        'gateway',
        'an address other than secured.address, received 192.0.2.1',
      ],
      [
        'address: 192.0.2.1/24, gateway: 224.0.0.1, onlink: true',
        'gateway',
        'the address of one host, received 224.0.0.1',
      ],
      [
        'address: 192.0.2.1/24, gateway: "ff02::1", onlink: true',
        'gateway',
        'the address of one host, received ff02::1',
      ],
      [
        'address: 192.0.2.1/24, gateway: "::", onlink: true',
        'gateway',
        'the address of one host, received ::',
      ],
    ])('%s', (secured, key, expected) => {
      expect(faults(wire(secured))).toEqual([`secured.${key} (line 3): expected ${expected}`]);
    });
  });

  it('between keys are reported beside those within them', () => {
    const content = `node: a
unsecured: { port: x }
secured: { port: y, address: 192.0.2.1/24, gateway: 198.51.100.7 }
keyExchange: { listen: "198.51.100.1:3000", colour: red }
vips: [10.1.0.0/24, "fd00:1::/64"]
peers:
  a: { endpoint: "x:1", vips: [10.1.0.0/24] }
  b: { endpoint: "x:1", vips: [10.2.0.0/24], underlay: ["2001:db8::/32"] }
tunnels:
  - { local: 10.1.0.2, remote: 10.2.0.2 }
  - { local: 10.9.0.2, remote: 10.2.0.2 }
  - { local: 10.1.0.2, remote: 10.9.0.2 }
  - { local: "fd00:1::2", remote: 10.2.0.2 }
`;
    expect(faults(content)).toEqual([
      'secured.gateway (line 3): expected an address in 192.0.2.0/24, an IPv6 link-local one, or onlink: true, received 198.51.100.7',
      'keyExchange.colour (line 4): expected one of listen, insecureReferenceListen, exchangeMs, callMs, limits, received colour',
      'peers.a.vips[0] (line 7): expected a prefix other than that of vips[0], received 10.1.0.0/24',
      'peers.a (line 7): expected a name other than that of this node, received a',
      'peers.b.underlay[0] (line 8): expected the family of secured.address, received 2001:db8::/32',
      'tunnels[1].local (line 11): expected an address in vips, received 10.9.0.2',
      'tunnels[2].remote (line 12): expected an address in the vips of a peer, received 10.9.0.2',
      'tunnels[3] (line 13): expected two addresses of one family, received fd00:1::2, 10.2.0.2',
    ]);
  });

  it('are addresses that no host may have', () => {
    const address = (text: string) => faults(least.replace('192.0.2.1/24', `"${text}"`));
    expect(address('192.0.2.255/24')).toEqual([
      'secured.address (line 3): expected an address other than the broadcast address of its prefix, received "192.0.2.255/24"',
    ]);
    expect(faults(least.replace('veth-host', 'veth-host, gateway: [10.1.0.1/24, 10.1.3.255/22]'))).toEqual([
      expect.stringMatching(
        /^unsecured\.gateway\[1\] \(line 2\): expected .*broadcast.*"10\.1\.3\.255\/22"$/,
      ),
    ]);
    for (const one of [
      '224.0.0.5/24',
      '127.0.0.1/8',
      '0.0.0.1/24',
      '240.0.0.1/24',
      'ff02::1/64',
      '::1/64',
      '::1/128',
    ]) {
      expect(address(one), one).toEqual([expect.stringContaining('a unicast address of this host')]);
    }
    for (const one of [
      '192.0.2.255/31',
      '192.0.2.255/32',
      '192.0.2.255/23',
      '2001:db8::ffff:ffff:ffff:ffff/64',
    ]) {
      expect(address(one), one).toEqual([]);
    }
  });

  it('are two sides on one interface', () => {
    const both = (inside: string, outside: string) =>
      faults(least.replace('veth-host', `"${inside}"`).replace('veth-wire', `"${outside}"`));
    expect(both('eth1', 'eth1')).toEqual([
      'secured.port (line 3): expected another interface than unsecured.port, received eth1',
    ]);
    expect(both('eth1', 'net_af_packet0,iface=eth1')).toHaveLength(1);
    expect(both('0000:03:00.0', '0000:03:00.0')).toHaveLength(1);
    expect(both('net_af_packet1,iface=eth2', 'net_af_packet0,iface=eth1')).toEqual([]);
  });

  it('are listeners on addresses of the dedicated ports', () => {
    const listens = (key: string, value: string) =>
      faults(
        `${least
          .replace('veth-host', 'veth-host, gateway: ["10.1.0.1/24", "fd00:1::1/64"]')
          .replace(
            key === 'keyExchange' ? '198.51.100.1:3000' : 'never',
            value,
          )}${key === 'keyExchange' ? '' : `${key}: { listen: "${value}" }\n`}`,
      );
    expect(listens('keyExchange', '192.0.2.1:3000')).toEqual([
      'keyExchange.listen (line 4): expected an address of another network than secured.address, whose port passes nothing but PSP, received 192.0.2.1:3000',
    ]);
    expect(listens('keyExchange', '[FD00:1:0::1]:3000')).toEqual([
      expect.stringContaining('unsecured.gateway'),
    ]);
    expect(listens('metrics', '10.1.0.1:9464')).toEqual([expect.stringContaining('unsecured.gateway')]);
    for (const free of ['198.51.100.1:3000', '0.0.0.0:3000', 'gateway-a.example:3000', '192.0.2.2:3000']) {
      expect(listens('keyExchange', free), free).toEqual([]);
    }
  });

  it('that follow only from another fault are not reported', () => {
    const content = `${least}peers: { b: { endpoint: "x:1", vips: [10.2.0.1/24] } }\ntunnels: [{ local: 10.1.0.2, remote: 10.2.0.2 }]\n`;
    expect(faults(content)).toEqual([
      'peers.b.vips[0] (line 6): expected a prefix (address/length with no host bits set), received "10.2.0.1/24"',
    ]);
  });

  it('are unknown keys at every level, with the valid keys', () => {
    expect(faults(`${least}extra:\n  deep: 1\n`)[0]).toMatch(
      /^extra \(line 6\): expected one of node, unsecured, secured, .*, received extra$/,
    );
    expect(faults(`${least}engine: { hold: 5 }\n`)[0]).toMatch(
      /^engine\.hold \(line 6\): expected one of kind, polling, lcores, .*holdMs.*, received hold$/,
    );
    expect(faults(`${least}tunnels: [{ local: 10.1.0.1, remote: 10.1.0.2, x: 1 }]\n`)).toContain(
      'tunnels[0].x (line 6): expected one of local, remote, received x',
    );
  });

  it('are peers without keys and invalid names', () => {
    expect(faults(`${least}peers:\n  b:\n`)).toEqual([
      'peers.b (line 7): expected a section with endpoint, vips, underlay, insecureReferenceInterop, mayRotate, maxTunnels, mode, cookie, cryptOffset, authOnly, mtu, sampling, received null',
    ]);
    expect(faults(`${least}peers: { B_b: { endpoint: "x:1", vips: [10.2.0.0/24] } }\n`)).toEqual([
      'peers.B_b (line 6): expected a name of a-z, 0-9 and -, at most 63 characters, received B_b',
    ]);
  });

  it('are broken YAML and duplicate keys, with the line', () => {
    expect(faults('node: a\n  b: : c\n')[0]).toMatch(/^the file \(line \d\): expected YAML, received /);
    expect(faults(`${least}vips: [10.3.0.0/24]\n`)).toEqual([
      'the file (line 6): expected YAML, received Map keys must be unique',
    ]);
    expect(faults('hello')[0]).toMatch(/^the file: expected a section with node, .*, received "hello"$/);
    expect(faults('[]')[0]).toMatch(/^the file: expected a section .*, received \[\]$/);
    expect(faults('')).toHaveLength(5);
  });

  it('show only the beginning of the received value', () => {
    const [fault] = faults(least.replace('veth-host', '[').replace('port: [', `port: [${'x'.repeat(500)}]`));
    expect(fault).toMatch(/received \["x{10,60}\.\.\.$/);
  });
});

describe('limits', () => {
  const within: [string, string, string][] = [
    ['engine: { holdMs: %s }', '100', '99'],
    ['engine: { holdMs: %s }', '60000', '60001'],
    ['engine: { maxFlows: %s }', '16777216', '16777217'],
    ['engine: { maxFlows: %s }', '1024', '1023'],
    ['engine: { drainMs: %s }', '1', '0'],
    ['engine: { rotateGraceMs: %s }', '1000', '1000.5'],
    ['keys: { rotateEvery: %s }', '1s', '999ms'],
    ['keys: { rotateEvery: %s }', 'off', '31d'],
    ['versions: %s', '[0]', '[]'],
    ['versions: %s', '[0, 1]', '[2]'],
    ['bus: { listen: "%s" }', '[::1]:4270', '192.0.2.1:4270'],
    ['bus: { listen: "%s" }', 'localhost:4270', '127.example.org:4270'],
    ['bus: { listen: "%s" }', '127.0.0.9:65535', '127.0.0.9:65536'],
    ['audit: { listen: "%s" }', '[::1]:4271', '192.0.2.1:4271'],
    ['audit: { listen: "%s" }', '127.0.0.1:4271', '127.0.0.1:4270'],
    ['trustDomain: %s', 'example.org', 'Example.org'],
    ['engine: { polling: %s }', 'busy', 'lazy'],
    ['engine: { lcores: %s }', '64', '0'],
  ];
  it.each(within)('%s: %s is accepted, %s is not', (line, yes, no) => {
    expect(faults(`${least}${line.replace('%s', yes)}\n`)).toEqual([]);
    expect(faults(`${least}${line.replace('%s', no)}\n`)).toHaveLength(1);
  });

  it('of names: 63 characters, one label', () => {
    const named = (name: string) => faults(least.replace('node: a', `node: "${name}"`)).length;
    for (const name of ['a', 'a-b', '0', 'a'.repeat(63)]) expect(named(name), name).toBe(0);
    for (const name of ['', '-a', 'a-', 'a.b', 'a b', 'a*', '>', 'a'.repeat(64), 'ä']) {
      expect(named(name), name).toBe(1);
    }
  });
});

describe('loadConfig', () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });
  const failure = (file: string): PspError => {
    try {
      loadConfig(file, {});
    } catch (error) {
      return error as PspError;
    }
    return expect.unreachable();
  };

  it('names the remedy for a file that is not there', () => {
    const error = failure('/nowhere/node.yaml');
    expect(error.code).toBe('FILE_UNREADABLE');
    expect(error.message).toBe(
      '/nowhere/node.yaml cannot be read (ENOENT); name a node file with -c FILE, or make one with `psp init`',
    );
  });

  it('lists every fault in one error', () => {
    const folder = mkdtempSync(join(tmpdir(), 'psp-config-'));
    folders.push(folder);
    const file = join(folder, 'node.yaml');
    writeFileSync(file, `${least.replace('node: a', 'node: A')}x: 1\n`);
    const error = failure(file);
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message.split('\n')).toEqual([
      `${file}:`,
      '  node (line 1): expected a name of a-z, 0-9 and -, at most 63 characters, received "A"',
      expect.stringMatching(/^ {2}x \(line 6\): expected one of /),
    ]);
  });
});

it('an identity is a SPIFFE URI of domain and name', () => {
  expect(identityOf('example.org', 'a')).toBe('spiffe://example.org/gateway/a');
});
