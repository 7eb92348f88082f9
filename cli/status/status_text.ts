// SPDX-License-Identifier: Apache-2.0
// `psp status` for people: faults, then the dataplane's ports, pipes and drops, then one row per peer, per terms with
// it, and per service. Each replica of keyexchange has its own state of a peer: their counts are summed, and the
// worst of their links and breakers is shown.

import type { Counter, DataplaneStatus, PeerStatus } from '../../proto/gen/bus.js';
import { formatEpoch } from '../../services/shared/address.js';
import { specCounters } from '../../services/shared/spec_counters.js';
import { formatAge, table } from '../output.js';
import { modeName, protection } from '../terms.js';
import { keyExchangeOf, type NodeStatus } from './node_status.js';

type Age = (unixMs: bigint) => string;

export function asText(node: NodeStatus, nowMs: number, withCounters: boolean): string {
  const age: Age = (ms) => formatAge(nowMs - Number(ms));
  const health = node.health.map(({ part, message, sinceMs }) => {
    const since = sinceMs === 0n ? '' : ` (for ${age(sinceMs)})`;
    return `! ${part}${since}: ${message}`;
  });
  const parts = [health.length > 0 ? health.join('\n') : `node ${node.name} is well`];
  const notices = [
    ...node.notices,
    ...(node.dataplane?.notices ?? []),
    ...keyExchangeOf(node).flatMap((replica) => replica.notices),
  ];
  // Replicas have the same notices.
  const notes = new Set(notices.map(({ part, message }) => `note ${part}: ${message}`));
  if (notes.size > 0) parts.push([...notes].join('\n'));
  if (node.dataplane !== undefined) parts.push(...dataplaneText(node.dataplane, age, nowMs));
  const peers = peerRows(node, age);
  if (peers.length > 0) parts.push(table(peerHead, peers));
  const terms = termRows(node);
  if (terms.length > 0) parts.push(table(termHead, terms));
  const services = node.services.map(({ name, id, version, startedMs }) => [
    name,
    id,
    version,
    startedMs === null ? '-' : age(startedMs),
  ]);
  if (services.length > 0) parts.push(table(['SERVICE', 'ID', 'VERSION', 'UP'], services));
  if (withCounters) parts.push(...specText(node), countersText(node));
  return parts.join('\n\n');
}

/** When the next rotation is due, and what it would wait for now. */
function rotationText(status: DataplaneStatus, nowMs: number): string {
  const { nextRotationMs, rotationDue, unansweredFlows, drainLeftMs } = status;
  const due =
    rotationDue === 'spis'
      ? 'the next rotation is due, because few SPIs are left'
      : rotationDue !== ''
        ? 'the next rotation is due'
        : nextRotationMs === 0n
          ? 'no rotation on schedule'
          : `the next rotation is due in ${formatAge(Number(nextRotationMs) - nowMs)}`;
  if (unansweredFlows === 0 && drainLeftMs === 0) return `${due}; it is possible now`;
  const peers = status.traffic
    .filter(({ unansweredFlows }) => unansweredFlows > 0)
    .map(({ name, unansweredFlows: flows, unansweredSinceMs: sinceMs }) => {
      return `${name} (${flows} flows, for ${formatAge(nowMs - Number(sinceMs))})`;
    });
  const waits = [
    ...(unansweredFlows === 0
      ? []
      : [`the answers of peers that may still use the older key: ${peers.join(', ')}`]),
    ...(drainLeftMs === 0 ? [] : [`${drainLeftMs} ms of drain`]),
  ];
  return `${due}; it would wait for ${waits.join(' and ')}`;
}

function dataplaneText(status: DataplaneStatus, age: Age, nowMs: number): string[] {
  const { generation, generationMs, samplingLog2 } = status;
  const old = generationMs === 0n ? '' : `, ${age(generationMs)} old`;
  const rate =
    samplingLog2 === undefined ? 'is off' : `copies one of ${2 ** samplingLog2} packets that leave`;
  const rates = status.terms
    .filter((peer) => peer.samplingLog2 !== samplingLog2)
    .map(
      ({ name, samplingLog2: own }) => `${own === undefined ? 'none' : `one of ${2 ** own}`} towards ${name}`,
    );
  const about = [
    `dataplane up ${age(status.startedMs)}, epoch ${formatEpoch(status.epoch)}, crypto ${status.crypto}`,
    `master key generation ${generation}${old}; ${rotationText(status, nowMs)}`,
    `sampling ${[rate, ...rates].join('; ')}`,
    ...(status.ingressAcl ? [] : ['ingressAcl is false: every packet that authenticates is admitted']),
  ];
  const ports = status.ports.map((port) => [
    port.role,
    port.name,
    port.mac,
    port.mtu,
    port.up ? 'up' : 'DOWN',
    port.rxPackets,
    port.rxBytes,
    port.txPackets,
    port.txBytes,
  ]);
  const drops = status.drops.filter(({ packets }) => packets > 0n);
  return [
    about.join('\n'),
    table(['PORT', 'NAME', 'MAC', 'MTU', 'LINK', 'RX PACKETS', 'RX BYTES', 'TX PACKETS', 'TX BYTES'], ports),
    table(
      ['PIPE', 'HIT', 'MISS'],
      status.pipes.map(({ pipe, hit, miss }) => [pipe, hit, miss]),
    ),
    drops.length === 0
      ? 'no packet was dropped'
      : table(
          ['DROPPED', 'DIRECTION', 'PACKETS'],
          drops.map(({ reason, direction, packets }) => [reason, direction, packets]),
        ),
    ...(status.lcores.length < 2
      ? []
      : [
          table(
            ['LCORE', 'RX PACKETS', 'TX PACKETS'],
            status.lcores.map(({ rxPackets, txPackets }, lcore) => [lcore, rxPackets, txPackets]),
          ),
        ]),
    ...(status.bypass.length === 0
      ? []
      : [
          table(
            ['PASSED UNENCRYPTED BY', 'EGRESS', 'INGRESS'],
            status.bypass.map(({ rule, egressPackets, ingressPackets }) => [
              rule,
              egressPackets,
              ingressPackets,
            ]),
          ),
        ]),
  ];
}

const peerHead = [
  'PEER',
  'ENDPOINT',
  'LINK',
  'BREAKER',
  'GREETING',
  'LAST SENT',
  'LAST HEARD',
  'KEY AGE',
  'EXCHANGES',
  'ANSWERED',
  'REFUSED',
  'FAILED',
  'LAST FAILURE',
];

function peerRows(node: NodeStatus, age: Age) {
  const { dataplane } = node;
  const ago = (ms: bigint | undefined) => (ms === undefined || ms === 0n ? '-' : `${age(ms)} ago`);
  const known = keyExchangeOf(node).flatMap(({ peers }) => peers);
  const traffic = new Map(dataplane?.traffic.map((row) => [row.name, row]));
  const names = new Set([...known.map(({ name }) => name), ...traffic.keys()]);
  return Array.from(names, (name) => {
    const views = known.filter((peer) => peer.name === name);
    const sum = (count: (peer: PeerStatus) => bigint) => views.reduce((all, peer) => all + count(peer), 0n);
    const link = worst(views, ({ link }) => linkOrder.indexOf(link));
    const breaker = worst(views, (peer) => breakerOrder.indexOf(peer.breaker));
    const failure = worst(views, ({ lastCodeMs }) => Number(lastCodeMs));
    const packets = traffic.get(name);
    const keyMs = packets?.lastKeyMs ?? 0n;
    return [
      name,
      views[0]?.endpoint ?? '-',
      link === undefined || link.link === '' ? '-' : `${link.link} ${age(link.linkSinceMs)}`,
      breaker?.breaker ?? '-',
      packets?.greeting || '-',
      ago(packets?.lastEgressMs),
      ago(packets?.lastIngressMs),
      keyMs === 0n ? '-' : age(keyMs),
      sum(({ exchanges }) => exchanges),
      sum(({ answered }) => answered),
      sum(({ refused }) => refused),
      sum(({ failed }) => failed),
      failure === undefined || failure.lastCode === ''
        ? '-'
        : `${failure.lastCode} ${age(failure.lastCodeMs)} ago`,
    ];
  });
}

const termHead = ['PEER', 'MODE', 'TRAFFIC', 'COOKIE', 'CRYPT OFFSET', 'MTU', 'SAMPLING'];

/** The terms of packets to and from each peer. */
function termRows({ dataplane }: NodeStatus) {
  return (dataplane?.terms ?? []).map((terms) => [
    terms.name,
    modeName(terms.mode) ?? '-',
    protection(terms.authOnly),
    terms.cookie ? 'yes' : 'no',
    terms.cryptOffset,
    terms.mtu === 0 ? '-' : String(terms.mtu),
    terms.samplingLog2 === undefined ? 'off' : `1/${2 ** terms.samplingLog2}`,
  ]);
}

/** From good to bad. */
const linkOrder = ['connected', 'connecting', 'failed'];
const breakerOrder = ['closed', 'half-open', 'open'];

const worst = (views: readonly PeerStatus[], badness: (peer: PeerStatus) => number): PeerStatus | undefined =>
  [...views].sort((one, other) => badness(other) - badness(one))[0];

/** By Linux's names. */
function specText({ dataplane }: NodeStatus): string[] {
  const values = new Map(dataplane?.counters.map(({ name, value }) => [name, value]));
  const rows = specCounters.flatMap(({ counter, linux }) => {
    const value = values.get(counter);
    return value === undefined ? [] : [[linux, value]];
  });
  return rows.length === 0 ? [] : [`Counters of the PSP specification\n${table(['COUNTER', 'VALUE'], rows)}`];
}

function countersText({ dataplane, replicas }: NodeStatus): string {
  const of = (service: string, replicas: readonly { id: string; counters: Counter[] }[]) =>
    replicas.flatMap(({ id, counters }) =>
      counters
        .filter(({ value }) => value > 0n)
        .map(({ name, value }) => [replicas.length > 1 ? `${service} ${id}` : service, name, value]),
    );
  const rows = [
    ...of('dataplane', dataplane === undefined ? [] : [{ id: '', counters: dataplane.counters }]),
    ...[...replicas].flatMap(([service, each]) => of(service, each)),
  ];
  return rows.length === 0 ? 'nothing was counted' : table(['SERVICE', 'COUNTER', 'VALUE'], rows);
}
