// SPDX-License-Identifier: Apache-2.0
// Peers without TLS in the node file: what they need, what excludes them, and the warning about each.
import { describe, expect, it } from 'vitest';
import { rulesOf } from '../../../services/keyexchange/config.js';
import {
  canonicalSource,
  peersByIdentity,
  peersBySource,
} from '../../../services/keyexchange/core/sources.js';
import { checkConfig, formatFault, formatWarning } from '../../../services/shared/config/config.js';

const check = (peers: string, keyExchange = ', insecureReferenceListen: "198.51.100.1:3001"') =>
  checkConfig(
    `node: a
unsecured: { port: veth-host, gateway: 10.1.0.1/24 }
secured: { port: veth-wire, address: 192.0.2.1/24 }
keyExchange: { listen: "198.51.100.1:3000"${keyExchange} }
vips: [10.1.0.0/24]
peers:
${peers}
`,
    '/x/node.yaml',
  );
const peer = (name: string, endpoint: string, n: number, more = ', insecureReferenceInterop: true') =>
  `  ${name}: { endpoint: "${endpoint}", vips: [10.${n}.0.0/24]${more} }`;
const faults = (...context: Parameters<typeof check>): string[] => {
  const result = check(...context);
  return 'faults' in result ? result.faults.map((fault) => formatFault(fault).trim()) : [];
};
const configOf = (...context: Parameters<typeof check>) => {
  const result = check(...context);
  if ('faults' in result) throw new Error(result.faults.map(formatFault).join());
  return result;
};
const both = `${peer('b', '198.51.100.2:3000', 2)}\n${peer('c', '198.51.100.3:3000', 3, '')}`;

describe('a peer without TLS', () => {
  it('needs a listener of its own', () => {
    expect(faults(peer('b', '198.51.100.2:3000', 2))).toEqual([]);
    expect(faults(peer('b', '198.51.100.2:3000', 2), '')).toEqual([
      'peers.b.insecureReferenceInterop (line 7): expected keyExchange.insecureReferenceListen, too, received true',
    ]);
    expect(
      faults(peer('b', '198.51.100.2:3000', 2), ', insecureReferenceListen: "198.51.100.1:3000"'),
    ).toEqual([
      'keyExchange.insecureReferenceListen (line 4): expected an address other than keyExchange.listen, received 198.51.100.1:3000',
    ]);
    expect(
      faults(peer('b', '198.51.100.2:3000', 2), ', insecureReferenceListen: "192.0.2.1:3001"')[0],
    ).toMatch(
      /^keyExchange\.insecureReferenceListen \(line 4\): expected an address of another network than secured\.address/,
    );
  });

  it('may not rotate our keys', () => {
    const more = ', insecureReferenceInterop: true, mayRotate: true';
    expect(faults(peer('b', '198.51.100.2:3000', 2, more))).toEqual([
      'peers.b.mayRotate (line 7): expected false with insecureReferenceInterop, received true',
    ]);
  });

  it('needs an address in its endpoint that no other one has', () => {
    expect(faults(peer('b', 'b.example:3000', 2))).toEqual([
      'peers.b.endpoint (line 7): expected an address and a port, because insecureReferenceInterop knows the peer by its address, received b.example:3000',
    ]);
    const twice = `${peer('b', '198.51.100.2:3000', 2)}\n${peer('c', '198.51.100.2:3001', 3)}`;
    expect(faults(twice)).toEqual([
      'peers.c.endpoint (line 8): expected an address other than that of b, received 198.51.100.2:3001',
    ]);
    expect(faults(`${peer('b', '198.51.100.2:3000', 2)}\n${peer('c', '198.51.100.2:3001', 3, '')}`)).toEqual(
      [],
    );
  });

  it('is reported by a warning', () => {
    expect(configOf(both).warnings.map(formatWarning)).toEqual([
      'warning: peers.b.insecureReferenceInterop (line 7): keys are exchanged with b in plaintext, and only its source address identifies it: whoever reads the out-of-band network can decrypt its traffic',
    ]);
  });

  it('is known by its address and never by a certificate, and other peers the other way round', () => {
    const { peers } = rulesOf(configOf(both).config);
    expect([...peersBySource(peers.values())].map(([source, { name }]) => [source, name])).toEqual([
      ['198.51.100.2', 'b'],
    ]);
    expect([...peersByIdentity(peers.values()).keys()]).toEqual(['spiffe://psp/gateway/c']);
  });
});

it.each([
  ['198.51.100.2', '198.51.100.2'],
  ['::ffff:198.51.100.2', '198.51.100.2'],
  ['2001:DB8:0::1', '2001:db8::1'],
  ['fe80::1%eth0', 'fe80::1'],
  ['', undefined],
  ['unknown', undefined],
])('the source address %s is %s', (text, canonical) => {
  expect(canonicalSource(text)).toBe(canonical);
});
