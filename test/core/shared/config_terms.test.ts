// SPDX-License-Identifier: Apache-2.0
// The keys of the node file for encapsulation, plaintext traffic and copies: their values, their exclusions, and the
// warnings for a valid file.
import { describe, expect, it } from 'vitest';
import { bypassRule } from '../../../services/shared/config/bypass.js';
import {
  checkConfig,
  formatFault,
  formatWarning,
  type NodeConfig,
  versionsWith,
} from '../../../services/shared/config/config.js';

interface Choices {
  /** Of the peer b. */
  peer?: string;
  /** Of `secured`. */
  secured?: string;
  address?: string;
  more?: string;
}

const fileOf = ({ peer = '', secured = '', address = '192.0.2.1/24', more = '' }: Choices): string =>
  `node: a
unsecured: { port: veth-host }
secured: { port: veth-wire, address: "${address}"${secured && `, ${secured}`} }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24]
peers: { b: { endpoint: "198.51.100.2:3000", vips: [10.2.0.0/24, "fd00:2::/64"]${peer && `, ${peer}`} } }
${more}
`;
const check = (choices: Choices) => checkConfig(fileOf(choices), '/x/node.yaml');
const faults = (choices: Choices): string[] => {
  const result = check(choices);
  return 'faults' in result ? result.faults.map((fault) => formatFault(fault).trim()) : [];
};
const warnings = (choices: Choices): string[] => {
  const result = check(choices);
  if ('faults' in result) throw new Error(result.faults.map(formatFault).join());
  return result.warnings.map(formatWarning);
};
const load = (choices: Choices): NodeConfig => {
  const result = check(choices);
  if ('faults' in result) throw new Error(result.faults.map(formatFault).join());
  return result.config;
};

describe('the terms with a peer', () => {
  it('are a tunnel, completely encrypted, without a cookie, by default', () => {
    expect(load({}).peers.b).toEqual({
      endpoint: '198.51.100.2:3000',
      vips: ['10.2.0.0/24', 'fd00:2::/64'],
      underlay: ['192.0.2.0/24'],
      mayRotate: false,
      mode: 'tunnel',
      cookie: false,
      cryptOffset: 0,
      authOnly: false,
      insecureReferenceInterop: false,
    });
  });

  it.each<[string, string, string]>([
    ['mode: %s', 'transport', 'both'],
    ['mayRotate: %s', 'true', 'once'],
    ['maxTunnels: %s', '1', '0'],
    ['cookie: %s', 'true', 'sometimes'],
    ['cryptOffset: %s', '63', '64'],
    ['cryptOffset: %s', '0', '-1'],
    ['authOnly: %s', 'true', '1'],
    ['mtu: %s', '576', '575'],
    ['mtu: %s', '65535', '65536'],
    ['sampling: %s', 'off', 'on'],
    ['sampling: %s', '16', '17'],
  ])('%s: %s is taken, %s is not', (key, yes, no) => {
    expect(faults({ peer: key.replace('%s', yes) })).toEqual([]);
    expect(faults({ peer: key.replace('%s', no) })).toHaveLength(1);
  });

  it('have no crypt offset if nothing is encrypted, and at least the minimum MTU of IPv6', () => {
    expect(faults({ peer: 'authOnly: true, cryptOffset: 4' })).toEqual([
      'peers.b.cryptOffset (line 6): expected 0 with authOnly, which encrypts nothing, received 4',
    ]);
    const six = { address: '2001:db8::1/64' };
    expect(faults({ ...six, peer: 'mtu: 1279' })).toEqual([
      'peers.b.mtu (line 6): expected at least 1280 where secured.address is IPv6, received 1279',
    ]);
    expect(faults({ ...six, peer: 'mtu: 1280' })).toEqual([]);
  });

  it('are versions that encrypt, or their counterparts that do not', () => {
    expect(versionsWith([1, 0], { authOnly: false })).toEqual([1, 0]);
    expect(versionsWith([1, 0], { authOnly: true })).toEqual([3, 2]);
    expect(versionsWith([0], { authOnly: true })).toEqual([2]);
  });
});

describe('the outer header', () => {
  it.each<[string, string, string]>([
    ['hopLimit: %s', '255', '0'],
    ['dscp: %s', '63', '64'],
    ['dscp: %s', 'copy', 'cs1'],
    ['udpChecksum: %s', 'true', 'yes'],
    ['sourcePorts: %s', 'symmetricHash', 'random'],
    [
      'sourcePorts: %s',
      `[${Array.from({ length: 16 }, (_, i) => 49_152 + i)}]`,
      `[${Array.from({ length: 15 }, (_, i) => 49_152 + i)}]`,
    ],
    ['sourcePorts: %s', `[${new Array(16).fill(1)}]`, `[${new Array(16).fill(0)}]`],
  ])('%s: %s is taken, %s is not', (key, yes, no) => {
    expect(faults({ secured: key.replace('%s', yes) })).toEqual([]);
    expect(faults({ secured: key.replace('%s', no) }).length).toBeGreaterThan(0);
  });

  it('accepts these values', () => {
    expect(faults({ secured: 'dscp: 64' })[0]).toMatch(
      /expected a whole number from 0 to 63, or copy, received 64$/,
    );
    expect(faults({ secured: 'sourcePorts: [1]' })[0]).toMatch(
      /expected hash, symmetricHash or a list of 16 to 4096 ports, received \[1\]$/,
    );
  });
});

describe('bypass', () => {
  const entries = (...list: string[]): Choices => ({
    more: `bypass: [${list.map((entry) => `{ ${entry} }`)}]`,
  });

  it('accepts prefixes, protocols by name or number, and ports of protocols that have them', () => {
    const config = load(
      entries(
        'prefix: 198.51.100.0/24',
        'prefix: 198.51.100.7/32, protocol: udp, port: 53',
        'prefix: 198.51.100.0/24, protocol: icmp',
        'prefix: 198.51.100.0/24, protocol: 89',
        'prefix: 198.51.100.0/24, protocol: 132, port: 7',
      ),
    );
    expect(config.bypass.map(bypassRule)).toEqual([
      '198.51.100.0/24',
      '198.51.100.7/32 udp port 53',
      '198.51.100.0/24 icmp',
      '198.51.100.0/24 protocol 89',
      '198.51.100.0/24 protocol 132 port 7',
    ]);
    expect(config.bypass[1]).toEqual({ prefix: '198.51.100.7/32', protocol: 17, port: 53 });
  });

  it('reports every fault of its entries', () => {
    const bad = entries(
      'prefix: 198.51.100.0/24, port: 53',
      'prefix: 198.51.100.0/24, protocol: icmp, port: 53',
      'prefix: "2001:db8::/32"',
      'prefix: 198.51.100.0/24, protocol: icmpv6',
      'prefix: 198.51.100.0/24, protocol: tcp',
      'prefix: 198.51.100.0/24, protocol: 6',
      'prefix: 198.51.100.1/24',
      'prefix: 198.51.100.0/24, protocol: 256',
      'prefix: 198.51.100.0/24, protocol: udp, port: 0',
    );
    expect(faults(bad).map((fault) => fault.replace(' (line 7)', ''))).toEqual([
      'bypass[6].prefix: expected a prefix (address/length with no host bits set), received "198.51.100.1/24"',
      'bypass[7].protocol: expected tcp, udp, icmp, icmpv6 or a protocol number from 1 to 255, received 256',
      'bypass[8].port: expected a whole number from 1 to 65535, received 0',
      'bypass[0].port: expected a protocol with ports, too: tcp, udp, 33 (DCCP) or 132 (SCTP), received 53',
      'bypass[1].port: expected a protocol with ports, too: tcp, udp, 33 (DCCP) or 132 (SCTP), received 53',
      'bypass[2].prefix: expected the family of secured.address, received 2001:db8::/32',
      'bypass[3].protocol: expected icmp with an IPv4 prefix, received icmpv6',
      'bypass[5]: expected another entry than bypass[4], received 198.51.100.0/24 tcp',
    ]);
  });

  it('has at most 64 entries', () => {
    const many = (count: number) =>
      entries(...Array.from({ length: count }, (_, i) => `prefix: 198.51.100.${i}/32`));
    expect(faults(many(64))).toEqual([]);
    expect(faults(many(65))).toEqual([
      expect.stringMatching(/^bypass \(line 7\): expected at most 64 entries/),
    ]);
  });
});

describe('copies', () => {
  it.each<[string, string, string]>([
    ['sampling: { points: %s }', '[plain, sealed]', '[]'],
    ['sampling: { points: %s }', '[plain]', '[plain, plain]'],
    ['sampling: { points: %s }', '[sealed]', '[opened]'],
    ['capture: { ingress: %s }', 'true', '1'],
    ['capture: { egress: %s }', 'true', '1'],
    ['capture: { perSecond: %s }', '10000', '10001'],
    ['capture: { perSecond: %s }', '1', '0'],
    ['ingressAcl: %s', 'false', '0'],
  ])('%s: %s is taken, %s is not', (key, yes, no) => {
    expect(faults({ more: key.replace('%s', yes) })).toEqual([]);
    expect(faults({ more: key.replace('%s', no) })).toHaveLength(1);
  });
});

describe('a valid file causes warnings', () => {
  it('nothing by default', () => {
    expect(warnings({})).toEqual([]);
    expect(warnings({ peer: 'mode: transport, cookie: true', more: 'capture: { ingress: true }' })).toEqual(
      [],
    );
  });

  it('about the readable part under a crypt offset, by mode, family and cookie', () => {
    expect(warnings({ peer: 'cryptOffset: 10' })).toEqual([
      'warning: peers.b.cryptOffset (line 6): in tunnel mode the first 40 octets (the IP header and the first 20 of ' +
        'layer 4) of an IPv4 packet and 40 octets (the IP header) of an IPv6 packet stay readable; with a cookie ' +
        '32 octets (the IP header and the first 12 of layer 4) of an IPv4 packet and 32 octets (of the IP header) ' +
        'of an IPv6 packet',
    ]);
    expect(warnings({ peer: 'cryptOffset: 2' })[0]).toMatch(
      /first 8 octets \(of the IP header\) of an IPv4 packet .* with a cookie nothing of it$/,
    );
    expect(warnings({ peer: 'cryptOffset: 10, mode: transport' })).toEqual([
      'warning: peers.b.cryptOffset (line 6): in transport mode the first 40 octets of layer 4 stay readable; ' +
        'with a cookie 32',
    ]);
  });

  it('about everything that passes unencrypted or unchecked', () => {
    const more =
      'ingressAcl: false\nbypass:\n  - { prefix: 198.51.100.0/24 }\n  - { prefix: 10.2.0.128/25, protocol: udp }\n' +
      '  - { prefix: 0.0.0.0/0, protocol: tcp, port: 22 }\nsampling:\n  points: [sealed, plain]\ncapture:\n  egress: true';
    expect(warnings({ peer: 'authOnly: true', more })).toEqual([
      'warning: peers.b.authOnly (line 6): traffic with b is authenticated, not encrypted',
      'warning: ingressAcl (line 7): every packet that authenticates is admitted, also from and to addresses that were not agreed',
      'warning: bypass[0] (line 9): 198.51.100.0/24 leaves and is let in unencrypted and unauthenticated',
      'warning: bypass[1] (line 10): 10.2.0.128/25 udp leaves and is let in unencrypted and unauthenticated; ' +
        'it overlaps vips of b: that traffic, too',
      'warning: bypass[2] (line 11): 0.0.0.0/0 tcp port 22 leaves and is let in unencrypted and unauthenticated; ' +
        'it overlaps vips of b: that traffic, too',
      'warning: sampling.points (line 13): packets that leave are sampled before they are encrypted: plaintext of hosts is stored',
      'warning: capture.egress (line 15): packets of hosts that cannot be sealed are stored as they are, in plaintext',
    ]);
  });
});
