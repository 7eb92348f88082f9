// SPDX-License-Identifier: Apache-2.0
// An entry of `bypass` in the node file: traffic that passes in the clear, both ways. It goes by one text in
// warnings, audit, status and metrics alike.
import { protocols, type Schema } from './schema.js';

export type BypassEntry = Schema['bypass'][number];

/** Protocols whose packets have ports: TCP, UDP, DCCP, SCTP. */
export const portProtocols: readonly number[] = [6, 17, 33, 132];

const names = new Map<number, string>(Object.entries(protocols).map(([name, number]) => [number, name]));

/** "tcp", "protocol 89". */
export const protocolName = (protocol: number): string => names.get(protocol) ?? `protocol ${protocol}`;

/** "198.51.100.0/24", "198.51.100.7/32 udp", "198.51.100.7/32 udp port 53", "198.51.100.0/24 protocol 89". */
export function bypassRule({ prefix, protocol, port }: BypassEntry): string {
  const what = protocol === undefined ? '' : ` ${protocolName(protocol)}`;
  return `${prefix}${what}${port === undefined ? '' : ` port ${port}`}`;
}
