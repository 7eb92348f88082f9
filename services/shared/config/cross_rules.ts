// SPDX-License-Identifier: Apache-2.0
// Rules of the node file that concern several keys. They check the parts of the file that are valid by themselves, so that
// one check reports every fault.
import type { z } from 'zod';
import {
  contains,
  familyOf,
  formatAddress,
  formatPrefix,
  isAddress,
  isLinkLocalIpv6,
  isUnicast,
  networkOf,
  parseAddress,
  parseEndpoint,
  parsePrefix,
} from '../address.js';
import { ipProtocols, leastMtu } from '../protocols.js';
import { bypassRule, portProtocols } from './bypass.js';
import { interfacesOf } from './port_name.js';
import { schema } from './schema.js';

/** The path of a value from the root of the file. */
export type Path = readonly (string | number)[];
/** One fault, without its line. */
export interface Finding {
  path: Path;
  expected: string;
  received: string;
}

type Secured = z.output<typeof schema.shape.secured>;
type ReportFault = (path: Path, expected: string, received: string) => void;

/** Checks address families, overlaps, mutually exclusive choices, and tunnels that no peer could agree to. */
export function crossFaults(raw: Record<string, unknown>): Finding[] {
  const faults: Finding[] = [];
  const fault: ReportFault = (path, expected, received) => faults.push({ path, expected, received });
  const { node, secured, vips, peers, tunnels, bus, audit } = schema.shape;
  const self = good(secured, raw.secured);
  const own = self && parsePrefix(self.address);
  if (self) nextHopFaults(self, fault);
  portFaults(raw, fault);

  const buses = [good(bus, raw.bus)?.listen, good(audit, raw.audit)?.listen];
  if (buses[0] !== undefined && buses[0] === buses[1]) {
    fault(['audit', 'listen'], 'an address other than bus.listen', buses[0]);
  }

  const owners = new Map<string, string>();
  const claim = (list: readonly string[], path: Path) => {
    for (const [i, vip] of list.entries()) {
      const owner = owners.get(vip);
      if (owner === undefined) owners.set(vip, formatPath([...path, i]));
      else fault([...path, i], `a prefix other than that of ${owner}`, vip);
    }
  };
  const local = good(vips, raw.vips);
  claim(local ?? [], ['vips']);
  const remote: string[] = [];
  for (const [name, value] of Object.entries(isMap(raw.peers) ? raw.peers : {})) {
    const peer = good(peers.unwrap().valueType, value);
    claim(peer?.vips ?? [], ['peers', name, 'vips']);
    remote.push(...(peer?.vips ?? []));
    if (name === good(node, raw.node)) fault(['peers', name], 'a name other than that of this node', name);
    for (const [i, each] of (peer?.underlay ?? []).entries()) {
      if (own && familyOf(parsePrefix(each).address) !== familyOf(own.address)) {
        fault(['peers', name, 'underlay', i], 'the family of secured.address', each);
      }
    }
    if (peer?.insecureReferenceInterop && peer.mayRotate) {
      fault(['peers', name, 'mayRotate'], 'false with insecureReferenceInterop', 'true');
    }
    if (peer?.authOnly && peer.cryptOffset > 0) {
      fault(['peers', name, 'cryptOffset'], '0 with authOnly, which encrypts nothing', `${peer.cryptOffset}`);
    }
    if (own && peer?.mtu !== undefined && familyOf(own.address) === 6 && peer.mtu < leastMtu[6]) {
      fault(['peers', name, 'mtu'], `at least ${leastMtu[6]} where secured.address is IPv6`, `${peer.mtu}`);
    }
  }
  insecureFaults(raw, fault);
  bypassFaults(raw.bypass, own && familyOf(own.address), fault);

  const inside = (list: readonly string[], address: string) =>
    list.some((each) => contains(parsePrefix(each), parseAddress(address)));
  const allPeers = good(peers, raw.peers) !== undefined;
  for (const [i, value] of (Array.isArray(raw.tunnels) ? raw.tunnels : []).entries()) {
    const tunnel = good(tunnels.unwrap().element, value);
    if (tunnel === undefined) continue;
    if (local && !inside(local, tunnel.local)) {
      fault(['tunnels', i, 'local'], 'an address in vips', tunnel.local);
    }
    if (allPeers && !inside(remote, tunnel.remote)) {
      fault(['tunnels', i, 'remote'], 'an address in the vips of a peer', tunnel.remote);
    }
    if (familyOf(parseAddress(tunnel.local)) !== familyOf(parseAddress(tunnel.remote))) {
      fault(['tunnels', i], 'two addresses of one family', `${tunnel.local}, ${tunnel.remote}`);
    }
  }
  return faults;
}

/**
 * Reports a next hop that cannot be resolved. IPv6 link-local ones are on every link and can also be the next hop of an IPv4
 * address (RFC 8950); an IPv4 one cannot be that of an IPv6 address, because no IPv4 address could send ARP requests.
 */
function nextHopFaults({ address, gateway, onlink }: Secured, fault: ReportFault): void {
  const own = parsePrefix(address);
  if (gateway === undefined) {
    if (onlink) fault(['secured', 'onlink'], 'secured.gateway, too', 'true');
    return;
  }
  const hop = parseAddress(gateway);
  if (familyOf(own.address) === 6 && familyOf(hop) === 4) {
    fault(['secured', 'gateway'], 'an IPv6 address where secured.address is IPv6', gateway);
  } else if (!isUnicast(hop)) {
    fault(['secured', 'gateway'], 'the address of one host', gateway);
  } else if (formatAddress(hop) === formatAddress(own.address)) {
    fault(['secured', 'gateway'], 'an address other than secured.address', gateway);
  } else if (!onlink && !isLinkLocalIpv6(hop) && !contains(own, hop)) {
    const inside = formatPrefix(networkOf(own));
    fault(
      ['secured', 'gateway'],
      `an address in ${inside}, an IPv6 link-local one, or onlink: true`,
      gateway,
    );
  }
}

/** Reports one interface on both sides, and services that listen where the fence drops everything. */
function portFaults(raw: Record<string, unknown>, fault: ReportFault): void {
  const { unsecured, secured, keyExchange, metrics } = schema.shape;
  const [inside, outside] = [good(unsecured, raw.unsecured), good(secured, raw.secured)];
  if (inside && outside) {
    const taken = interfacesOf(inside.port);
    const same =
      inside.port === outside.port || interfacesOf(outside.port).some((name) => taken.includes(name));
    if (same) fault(['secured', 'port'], 'another interface than unsecured.port', outside.port);
  }
  const ours: [string, string][] = [
    ...(outside ? [['secured.address', outside.address] as [string, string]] : []),
    ...(inside?.gateway ?? []).map((gateway): [string, string] => ['unsecured.gateway', gateway]),
  ];
  const listeners: [Path, string | undefined][] = [
    [['keyExchange', 'listen'], good(keyExchange, raw.keyExchange)?.listen],
    [['keyExchange', 'insecureReferenceListen'], good(keyExchange, raw.keyExchange)?.insecureReferenceListen],
    [['metrics', 'listen'], good(metrics, raw.metrics)?.listen],
  ];
  for (const [path, listen] of listeners) {
    const host = listen && parseEndpoint(listen).host;
    if (!host || !isAddress(host)) continue;
    const own = formatAddress(parseAddress(host));
    const clash = ours.find(([, address]) => formatAddress(parsePrefix(address).address) === own);
    if (clash === undefined) continue;
    fault(
      path,
      `an address of another network than ${clash[0]}, whose port passes nothing but PSP`,
      listen ?? '',
    );
  }
}

/** Reports peers without TLS that nobody could tell apart, or that have no listener. */
function insecureFaults(raw: Record<string, unknown>, fault: ReportFault): void {
  const { keyExchange, peers } = schema.shape;
  const listeners = good(keyExchange, raw.keyExchange);
  const insecureListen = listeners?.insecureReferenceListen;
  if (insecureListen !== undefined && insecureListen === listeners?.listen) {
    const path = ['keyExchange', 'insecureReferenceListen'];
    fault(path, 'an address other than keyExchange.listen', insecureListen);
  }
  const sources = new Map<string, string>();
  for (const [name, value] of Object.entries(isMap(raw.peers) ? raw.peers : {})) {
    const peer = good(peers.unwrap().valueType, value);
    if (!peer?.insecureReferenceInterop) continue;
    if (listeners !== undefined && insecureListen === undefined) {
      fault(['peers', name, 'insecureReferenceInterop'], 'keyExchange.insecureReferenceListen, too', 'true');
    }
    const { host } = parseEndpoint(peer.endpoint);
    const expected = 'an address and a port, because insecureReferenceInterop knows the peer by its address';
    if (!isAddress(host)) {
      fault(['peers', name, 'endpoint'], expected, peer.endpoint);
      continue;
    }
    const source = formatAddress(parseAddress(host));
    const other = sources.get(source);
    if (other === undefined) sources.set(source, name);
    else fault(['peers', name, 'endpoint'], `an address other than that of ${other}`, peer.endpoint);
  }
}

/** Reports entries without a port, with an unreachable far end, and duplicates. */
function bypassFaults(raw: unknown, family: 4 | 6 | undefined, fault: ReportFault): void {
  const seen = new Map<string, number>();
  for (const [i, value] of (Array.isArray(raw) ? raw : []).entries()) {
    const entry = good(schema.shape.bypass.unwrap().element, value);
    if (entry === undefined) continue;
    const { prefix, protocol, port } = entry;
    const own = familyOf(parsePrefix(prefix).address);
    if (family !== undefined && own !== family) {
      fault(['bypass', i, 'prefix'], 'the family of secured.address', prefix);
    }
    if ((protocol === ipProtocols.icmp && own === 6) || (protocol === ipProtocols.icmpv6 && own === 4)) {
      fault(
        ['bypass', i, 'protocol'],
        own === 6 ? 'icmpv6 with an IPv6 prefix' : 'icmp with an IPv4 prefix',
        own === 6 ? 'icmp' : 'icmpv6',
      );
    }
    if (port !== undefined && !portProtocols.includes(protocol ?? 0)) {
      fault(
        ['bypass', i, 'port'],
        'a protocol with ports, too: tcp, udp, 33 (DCCP) or 132 (SCTP)',
        `${port}`,
      );
    }
    const rule = bypassRule(entry);
    const first = seen.get(rule);
    if (first === undefined) seen.set(rule, i);
    else fault(['bypass', i], `another entry than bypass[${first}]`, rule);
  }
}

const good = <T extends z.ZodType>(part: T, value: unknown): z.output<T> | undefined => {
  const result = part.safeParse(value);
  return result.success ? result.data : undefined;
};

export const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `peers.b.vips[0]` */
export const formatPath = (path: Path): string =>
  path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`))
    .join('')
    .replace(/^\./, '');
