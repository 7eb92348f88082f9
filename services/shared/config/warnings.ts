// SPDX-License-Identifier: Apache-2.0
// The loss of confidentiality by a valid node file, in an operator's terms. `psp config check` prints every warning; a running
// node also logs, audits and shows in its health those that let traffic pass unencrypted or unchecked.
import { contains, familyOf, networkOf, type Prefix, parsePrefix } from '../address.js';
import { cookieOctets, ipHeaderOctets } from '../protocols.js';
import { bypassRule } from './bypass.js';
import type { NodeConfig, PeerConfig } from './config.js';
import type { Path } from './cross_rules.js';

export interface ConfigWarning {
  kind:
    | 'insecureReferenceInterop'
    | 'cryptOffset'
    | 'authOnly'
    | 'ingressAcl'
    | 'bypass'
    | 'samplingPlain'
    | 'captureEgress';
  path: Path;
  message: string;
}

/** In the order of the file's schema. */
export function warningsOf(config: NodeConfig): ConfigWarning[] {
  const warnings: ConfigWarning[] = [];
  for (const [name, peer] of Object.entries(config.peers)) {
    if (peer.insecureReferenceInterop) {
      const path = ['peers', name, 'insecureReferenceInterop'];
      const message = `keys are exchanged with ${name} in plaintext, and only its source address identifies it: whoever reads the out-of-band network can decrypt its traffic`;
      warnings.push({ kind: 'insecureReferenceInterop', path, message });
    }
    if (peer.cryptOffset > 0) {
      const path = ['peers', name, 'cryptOffset'];
      warnings.push({ kind: 'cryptOffset', path, message: offsetMessage(peer) });
    }
    if (peer.authOnly) {
      const path = ['peers', name, 'authOnly'];
      warnings.push({
        kind: 'authOnly',
        path,
        message: `traffic with ${name} is authenticated, not encrypted`,
      });
    }
  }
  if (!config.ingressAcl) {
    const message =
      'every packet that authenticates is admitted, also from and to addresses that were not agreed';
    warnings.push({ kind: 'ingressAcl', path: ['ingressAcl'], message });
  }
  for (const [i, entry] of config.bypass.entries()) {
    const rule = bypassRule(entry);
    const overlapped = peersWithin(parsePrefix(entry.prefix), config.peers);
    const more =
      overlapped.length === 0 ? '' : `; it overlaps vips of ${overlapped.join(', ')}: that traffic, too`;
    const message = `${rule} leaves and is let in unencrypted and unauthenticated${more}`;
    warnings.push({ kind: 'bypass', path: ['bypass', i], message });
  }
  if (config.sampling.points.includes('plain')) {
    const message = 'packets that leave are sampled before they are encrypted: plaintext of hosts is stored';
    warnings.push({ kind: 'samplingPlain', path: ['sampling', 'points'], message });
  }
  if (config.capture.egress) {
    const message = 'packets of hosts that cannot be sealed are stored as they are, in plaintext';
    warnings.push({ kind: 'captureEgress', path: ['capture', 'egress'], message });
  }
  return warnings;
}

/** The offset counts from the end of the IV, so a cookie takes the first 8 octets of it. */
function offsetMessage({ cryptOffset, mode }: PeerConfig): string {
  const octets = cryptOffset * 4;
  const left = Math.max(0, octets - cookieOctets);
  if (mode === 'transport') {
    return `in transport mode the first ${octets} octets of layer 4 stay readable; with a cookie ${left}`;
  }
  const inner = (family: 4 | 6, count: number) =>
    `${count} octets (${partsOf(count, ipHeaderOctets[family])})`;
  const both = (count: number) =>
    `${inner(4, count)} of an IPv4 packet and ${inner(6, count)} of an IPv6 packet`;
  const withCookie = left === 0 ? 'nothing of it' : both(left);
  return `in tunnel mode the first ${both(octets)} stay readable; with a cookie ${withCookie}`;
}

function partsOf(octets: number, header: number): string {
  if (octets < header) return 'of the IP header';
  if (octets === header) return 'the IP header';
  return `the IP header and the first ${octets - header} of layer 4`;
}

function peersWithin(prefix: Prefix, peers: NodeConfig['peers']): string[] {
  return Object.entries(peers)
    .filter(([, { vips }]) => vips.some((vip) => overlap(prefix, parsePrefix(vip))))
    .map(([name]) => name);
}

const overlap = (one: Prefix, other: Prefix): boolean =>
  familyOf(one.address) === familyOf(other.address) &&
  (contains(networkOf(one), other.address) || contains(networkOf(other), one.address));
