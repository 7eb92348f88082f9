// SPDX-License-Identifier: Apache-2.0
// An entry of `bypass` in the node file: traffic that passes unencrypted in both directions. Its text is the same in
// warnings, audit, status and metrics.
import { ipProtocols } from '../protocols.js';
import type { Schema } from './schema.js';

export type BypassEntry = Schema['bypass'][number];

/** Protocols whose packets have ports. */
export const portProtocols: readonly number[] = [
  ipProtocols.tcp,
  ipProtocols.udp,
  ipProtocols.dccp,
  ipProtocols.sctp,
];

/** Names that the node file has too (schema.ts). */
const names = new Map<number, string>(
  (['icmp', 'tcp', 'udp', 'icmpv6'] as const).map((name) => [ipProtocols[name], name]),
);

/** "tcp", "protocol 89". */
export const protocolName = (protocol: number): string => names.get(protocol) ?? `protocol ${protocol}`;

/** "198.51.100.0/24", "198.51.100.7/32 udp", "198.51.100.7/32 udp port 53", "198.51.100.0/24 protocol 89". */
export function bypassRule({ prefix, protocol, port }: BypassEntry): string {
  const what = protocol === undefined ? '' : ` ${protocolName(protocol)}`;
  return `${prefix}${what}${port === undefined ? '' : ` port ${port}`}`;
}
