// SPDX-License-Identifier: Apache-2.0
// The counters of a node: `psp status --json` flattened into maps by name, so that a test can compute differences.

interface StatusJson {
  health: { part: string; message: string }[];
  dataplane: {
    epoch: string;
    generation: number;
    ports: { role: string; rxPackets: number; rxBytes: number; txPackets: number; txBytes: number }[];
    pipes: { pipe: string; hit: number; miss: number }[];
    drops: { reason: string; direction: string; packets: number }[];
    counters: { name: string; value: number }[];
    bypass: BypassNumbers[];
    lcores: LcoreNumbers[];
    unansweredFlows: number;
    drainLeftMs: number;
  } | null;
  keyExchange: {
    peers: (PeerNumbers & { name: string })[];
    counters: { name: string; value: number }[];
  }[];
}

export interface PeerNumbers {
  exchanges: number;
  answered: number;
  refused: number;
  failed: number;
  lastCode: string;
  breaker: string;
}

export interface PortNumbers {
  rxPackets: number;
  rxBytes: number;
  txPackets: number;
  txBytes: number;
}

export interface LcoreNumbers {
  rxPackets: number;
  txPackets: number;
}

export interface BypassNumbers {
  rule: string;
  egressPackets: number;
  ingressPackets: number;
}

export interface Numbers {
  /** The faults, one line each. */
  health: string[];
  epoch: string;
  generation: number;
  /** By pipe. */
  hit: Record<string, number>;
  miss: Record<string, number>;
  /** By "direction/reason"; only those above 0. */
  drops: Record<string, number>;
  /** The dataplane's counters and gauges by name. */
  values: Record<string, number>;
  /** keyexchange's counters by name, all replicas together. */
  exchange: Record<string, number>;
  /** By role: unsecured, secured. */
  ports: Record<string, PortNumbers>;
  /** By peer: the results of our exchanges, and the last code. */
  peers: Record<string, PeerNumbers>;
  /** By entry of bypass, as the node writes it. */
  bypass: Record<string, BypassNumbers>;
  /** In order, the main lcore first. */
  lcores: LcoreNumbers[];
  unansweredFlows: number;
  drainLeftMs: number;
}

/**
 * @throws Error if the dataplane does not answer.
 */
export function numbersOf(status: StatusJson): Numbers {
  const { dataplane, keyExchange } = status;
  if (dataplane === null) throw new Error('the dataplane does not answer');
  const exchange: Record<string, number> = {};
  for (const { name, value } of keyExchange.flatMap(({ counters }) => counters)) {
    exchange[name] = (exchange[name] ?? 0) + value;
  }
  const drops = dataplane.drops.filter(({ packets }) => packets > 0);
  return {
    health: status.health.map(({ part, message }) => `${part}: ${message}`),
    epoch: dataplane.epoch,
    generation: dataplane.generation,
    hit: byName(dataplane.pipes.map(({ pipe, hit }) => [pipe, hit])),
    miss: byName(dataplane.pipes.map(({ pipe, miss }) => [pipe, miss])),
    drops: byName(drops.map(({ reason, direction, packets }) => [`${direction}/${reason}`, packets])),
    values: byName(dataplane.counters.map(({ name, value }) => [name, value])),
    exchange,
    ports: byName(dataplane.ports.map((port) => [port.role, port])),
    peers: byName(keyExchange.flatMap(({ peers }) => peers).map((peer) => [peer.name, peer])),
    bypass: byName(dataplane.bypass.map((row) => [row.rule, row])),
    lcores: dataplane.lcores,
    unansweredFlows: dataplane.unansweredFlows,
    drainLeftMs: dataplane.drainLeftMs,
  };
}

const byName = <T>(rows: [string, T][]): Record<string, T> => Object.fromEntries(rows);

/** Drop reasons of frames that hosts and kernels send on their own: no useful traffic is lost with them. */
const chatter = new Set([
  'egress/multicast',
  'egress/not_ip',
  'egress/not_local_source',
  'ingress/not_for_us',
  'ingress/not_psp',
  'ingress/other_host',
]);

/** Drops that `after` has beyond `before`, without the chatter of idle hosts. */
export function newDrops(before: Numbers, after: Numbers): Record<string, number> {
  return byName(
    Object.entries(after.drops)
      .map(([reason, count]): [string, number] => [reason, count - (before.drops[reason] ?? 0)])
      .filter(([reason, count]) => count > 0 && !chatter.has(reason)),
  );
}

/** How many more packets were dropped for a reason, as "direction/reason". */
export const dropped = (before: Numbers, after: Numbers, reason: string): number =>
  (after.drops[reason] ?? 0) - (before.drops[reason] ?? 0);

/** How much a counter or gauge of the dataplane grew. */
export const grew = (before: Numbers, after: Numbers, name: string): number =>
  (after.values[name] ?? 0) - (before.values[name] ?? 0);

/** Frames that arrived at a gateway's ports and were neither forwarded, held nor counted as dropped. */
export function unaccounted(before: Numbers, after: Numbers): number {
  const received = (numbers: Numbers) =>
    (numbers.ports.unsecured?.rxPackets ?? 0) + (numbers.ports.secured?.rxPackets ?? 0);
  const dropped = (numbers: Numbers) => Object.values(numbers.drops).reduce((sum, count) => sum + count, 0);
  const fates = ['forwardedEgress', 'forwardedIngress', 'consumed', 'held', 'neighbourQueued'];
  const fared = fates.reduce((sum, name) => sum + grew(before, after, name), 0);
  return received(after) - received(before) - (dropped(after) - dropped(before)) - fared;
}
