// SPDX-License-Identifier: Apache-2.0
// Pairs of gateways with the configuration that a test names: node files with additional keys, links with MTUs.
import type { FlowLine, Gateway } from './gateway.js';
import { hostInterface, Topology, type TopologyOptions } from './topology.js';

export type Mode = 'tunnel' | 'transport';
export type Family = 4 | 6;

/** Additional keys of one node's file, as YAML flow mappings without braces. */
export interface Terms {
  /** Under `secured`. */
  secured?: string;
  /** Under the one peer. */
  peer?: string;
  /** Complete lines. */
  top?: string;
}

export interface PairOptions extends Pick<TopologyOptions, 'wireMtu' | 'gsoPackets'> {
  outer: Family;
  /** MTU of the hosts' links. */
  hostMtu?: number;
  terms?: { a?: Terms; b?: Terms };
}

/** A pair whose gateways are not started yet. */
export async function createPair({ hostMtu = 1500, terms = {}, ...links }: PairOptions) {
  const edit = (node: 'a' | 'b', yaml: string): string => {
    const { secured = '', peer = '', top = '' } = terms[node] ?? {};
    return `${yaml
      .replace('port: veth-wire,', secured === '' ? '$&' : `$& ${secured},`)
      .replace(/endpoint: /, peer === '' ? '$&' : `${peer}, $&`)}${top === '' ? '' : `${top}\n`}`;
  };
  const pair = await Topology.create({ ...links, edit });
  for (const [host, gateway] of [
    [pair.host1, pair.a],
    [pair.host2, pair.b],
  ] as const) {
    host.namespace.ip('link', 'set', hostInterface, 'mtu', `${hostMtu}`);
    gateway.namespace.ip('link', 'set', 'veth-host', 'mtu', `${hostMtu}`);
  }
  return pair;
}

/** As `psp flows` shows it. */
export type Flow = FlowLine & { encrypted: boolean | null; mode: Mode | null; pathMtu: number | null };

/** A gateway's egress flow between two hosts. @throws Error if there is none */
export async function egressFlow(gateway: Gateway, source: string, destination: string): Promise<Flow> {
  const flow = (await gateway.flows()).find(
    (row) => row.direction === 'egress' && row.source === source && row.destination === destination,
  );
  if (flow === undefined) throw new Error(`no flow from ${source} to ${destination}`);
  return flow as Flow;
}

/** Octets that sealing adds to a packet (PSP specification, "PSP Packet Format"): outer IP, UDP, header, ICV. */
export const overheadOf = (mode: Mode, outer: Family): number =>
  (mode === 'transport' ? 0 : outer === 4 ? 20 : 40) + 8 + 16 + 16;
