// SPDX-License-Identifier: Apache-2.0
// Describes the counters that changed: the pipes of a frame and their decisions, its fate, and the frames that left.
// The source is counters and frames alone; nothing is decided again. Pure.
import type {
  CaptureTrace,
  FrameDissection,
  MovedCounters,
  TracedFrame,
  TracedPacket,
} from '../../native/addon/trace.js';
import { formatAddress, formatEpoch, formatSpi, unmapped } from '../../services/shared/address.js';
import { samplePoints } from '../../services/shared/samples/sample_points.js';
import { isEncrypted, modeName } from '../terms.js';

/** Names for the numbers of a trace. */
export interface TraceNames {
  node: string;
  port: 'unsecured' | 'secured';
  peers: readonly string[];
  /** Rules of the bypass as text. */
  bypass: readonly string[];
  dropReasons: readonly { name: string; direction: string; cause: string; remedy: string }[];
}

/** The fate of a frame: every frame that was run has exactly one. */
export const fates = ['forwarded', 'bypassed', 'held', 'waiting', 'consumed', 'dropped', 'skipped'] as const;
export type Fate = (typeof fates)[number];

export type TraceReport = ReturnType<typeof traceReportOf>;
export type FrameReport = ReturnType<typeof frameReportOf>;
export type Packet = NonNullable<ReturnType<typeof packetOf>>;
export type Psp = NonNullable<ReturnType<typeof pspOf>>;

export function traceReportOf(trace: CaptureTrace, names: TraceNames) {
  const frames = trace.frames.map((frame) => frameReportOf(frame, names));
  const count = (fate: Fate) => frames.filter((frame) => frame.fate === fate).length;
  return {
    frames,
    fates: Object.fromEntries(fates.map((fate) => [fate, count(fate)])) as Record<Fate, number>,
    held: trace.held,
    fragmentsWaiting: trace.fragmentsWaiting,
    more: trace.more,
  };
}

function frameReportOf(frame: TracedFrame, names: TraceNames) {
  const { number, atNs, length, skipped, dissection, moved, peer, flow } = frame;
  const drops = moved.drops.map((drop) => dropReportOf(drop, names));
  return {
    number,
    time: atNs === undefined ? null : timeOf(atNs),
    length,
    packet: packetOf(dissection.ip),
    psp: names.port === 'secured' ? pspOf(dissection) : null,
    /** The inner packet, as far as it can be opened. */
    inner: packetOf(frame.inner),
    peer: peer === undefined ? null : (names.peers[peer] ?? null),
    flow:
      flow === undefined
        ? null
        : {
            source: addressOf(flow.source),
            destination: addressOf(flow.destination),
            spi: formatSpi(flow.spi),
            version: flow.version,
            encrypted: isEncrypted(flow.version),
            mode: modeName(flow.mode),
            cookie: flow.cookie,
            pathMtu: flow.pathMtu === 0 ? null : flow.pathMtu,
          },
    steps: stepsOf(frame, names),
    fate: fateOf(frame, names),
    /** Drops of this frame. */
    drops: drops.filter(({ reason }) => !ofEarlier.has(reason)),
    /** Drops of frames that waited: by timers until now, and evicted by this frame. */
    dropsOfEarlier: [
      ...frame.before.drops.map((drop) => dropReportOf(drop, names)),
      ...drops.filter(({ reason }) => ofEarlier.has(reason)),
    ],
    notes: skipped === undefined ? notesOf(frame, names) : [`not run: ${skipped}`],
    left: frame.left.map(({ port, length, dissection }) => ({
      port,
      length,
      packet: packetOf(dissection.ip),
      psp: port === 'secured' ? pspOf(dissection) : null,
      tooBigMtu: dissection.tooBigMtu ?? null,
    })),
  };
}

/** Reasons under which a limit drops the oldest waiting packet, never the new frame. */
const ofEarlier = new Set([
  'held_overflow_flow',
  'held_overflow_source',
  'held_overflow_total',
  'fragment_table_full',
]);

const value = ({ values }: MovedCounters, name: string): number => values[name] ?? 0;

function fateOf({ skipped, moved }: TracedFrame, { port }: TraceNames): Fate {
  if (skipped !== undefined) return 'skipped';
  // An ICMP error back to the source is not a forwarded packet; if something is held or bypassed then, it is the
  // error.
  const forwarded = port === 'unsecured' ? 'forwardedEgress' : 'forwardedIngress';
  if (value(moved, 'icmpSent') > 0 && value(moved, forwarded) === 0) return 'dropped';
  if (moved.bypassed.length > 0) return 'bypassed';
  if (value(moved, forwarded) > 0) return 'forwarded';
  if (value(moved, 'heldTotal') > 0) return 'held';
  if (value(moved, 'consumed') > 0) return 'consumed';
  return moved.drops.some(({ reason }) => !ofEarlier.has(reason)) ? 'dropped' : 'waiting';
}

function dropReportOf({ reason, direction, packets }: MovedCounters['drops'][number], names: TraceNames) {
  const row = names.dropReasons.find((row) => row.name === reason && row.direction === direction);
  return { reason, direction, packets, cause: row?.cause ?? '', remedy: row?.remedy ?? '' };
}

/** The pipes in order; egress pipes, for a frame from the wire, belong to an ICMP error about it. */
function stepsOf(frame: TracedFrame, names: TraceNames) {
  const isEgress = ({ name }: { name: string }) => name.startsWith('egress');
  const { pipes } = frame.moved;
  const met =
    names.port === 'unsecured'
      ? pipes
      : [...pipes.filter((pipe) => !isEgress(pipe)), ...pipes.filter(isEgress)];
  return met.flatMap(({ name, hit, miss }) =>
    (['hit', 'miss'] as const)
      .filter((outcome) => (outcome === 'hit' ? hit : miss) > 0)
      .map((outcome) => ({ pipe: name, outcome, why: whyOf(`${name} ${outcome}`, frame, names) })),
  );
}

/** The reason of a pipe's decision, as text. */
function whyOf(step: string, frame: TracedFrame, names: TraceNames): string {
  const { moved, flow } = frame;
  const learned = value(moved, 'tooBigLearned') > 0;
  const pings = value(moved, 'echoAnswered') + value(moved, 'echoSuppressed') > 0;
  const peer = frame.peer === undefined ? 'no peer' : `peer ${names.peers[frame.peer]}`;
  const bypass = moved.bypassed.map((rule) => `bypass ${names.bypass[rule]}: passes unencrypted`)[0];
  const direction = names.port === 'unsecured' || step.startsWith('egress') ? 'egress' : 'ingress';
  const dropped =
    moved.drops.find((drop) => drop.direction === direction && !ofEarlier.has(drop.reason))?.reason ?? '';
  switch (step) {
    case 'ingress_root hit':
      return value(moved, 'consumed') > 0 && !learned && !pings
        ? 'ARP or neighbour discovery'
        : 'complete and well formed';
    case 'egress_root hit':
      if (pings) return 'a ping to the gateway itself';
      if (!moved.pipes.some(({ name }) => name === 'egress_acl')) return bypass ?? 'named by bypass';
      return `${peer} has the destination`;
    case 'egress_acl hit':
      return flow === undefined || names.port === 'secured'
        ? 'keyed'
        : `keyed: ${termsOf(flow)}, path MTU ${flow.pathMtu}`;
    case 'egress_acl miss':
      return dropped || 'the flow has no key yet';
    case 'egress_sampling hit':
      return 'selected: S is set';
    case 'egress_sampling miss':
      return 'not selected';
    case 'ingress_decrypt hit':
      return flow === undefined ? 'opened' : `opened: ${termsOf(flow)}, offered to ${peer}`;
    case 'ingress_decrypt miss':
      return learned ? 'a router reports the path MTU of a live flow' : (bypass ?? dropped);
    case 'ingress_sampling hit':
      return 'the sender set S: copied';
    case 'ingress_sampling miss':
      return 'the sender did not set S';
    case 'ingress_acl hit':
      return value(moved, 'aclBypassed') > 0
        ? 'not the flow that its SPI was offered for: admitted by ingressAcl: false'
        : 'the flow that its SPI was offered for';
    case 'ingress_acl miss':
      if (flow === undefined) return dropped;
      return `${dropped}: the SPI was offered for ${addressOf(flow.source)} > ${addressOf(flow.destination)}`;
    default:
      return dropped;
  }
}

const termsOf = (flow: NonNullable<TracedFrame['flow']>): string =>
  [
    `SPI ${formatSpi(flow.spi)}`,
    `version ${flow.version}${isEncrypted(flow.version) ? '' : ' NOT ENCRYPTED'}`,
    `${modeName(flow.mode)} mode${flow.cookie ? ' with cookie' : ''}`,
  ].join(', ');

/** Events between and after the pipes. */
function notesOf(frame: TracedFrame, { port }: TraceNames): string[] {
  const { moved, samples, resolved, left, flow } = frame;
  const count = (name: string) => value(moved, name);
  const notes: string[] = [];
  if (count('reassembled') > 0) notes.push(`reassembled from ${count('fragmentsJoined') + 1} fragments`);
  if (count('checksumsCompleted') > 0)
    notes.push('its checksum, which the host had left to its interface, was completed');
  const made = count('fragmentsMade');
  if (made > 0) {
    // A sealed packet that leaves because of a frame from the wire is an ICMP error about it.
    const sealed = port === 'unsecured' ? count('txPackets') : 0;
    const first = sealed === 1 ? 'sealed, then ' : '';
    const each = sealed > 1 ? ', each sealed on its own' : '';
    notes.push(`longer than the path MTU: ${first}split into ${made} fragments${each}`);
  }
  if (count('tooBigLearned') > 0) notes.push('the path MTU of the flow that it quotes was lowered');
  if (count('icmpSent') > 0) {
    const mtu = left.find(({ dissection }) => dissection.tooBigMtu !== undefined)?.dissection.tooBigMtu;
    const host = port === 'unsecured' ? 'its host' : 'its source, behind the peer,';
    if (mtu !== undefined) notes.push(`${host} receives an ICMP error: MTU ${mtu}`);
    else if (count('heldTotal') > 0)
      notes.push(`the ICMP error for ${host} is held: its flow has no key yet`);
    else notes.push(`an ICMP error for ${host} was made`);
  }
  if (count('icmpSuppressed') > 0)
    notes.push('no ICMP error: none is sent about such packets, or the rate limit is reached');
  if (count('echoSuppressed') > 0) notes.push('not answered: the rate limit is reached');
  const points = Object.entries(samplePoints).filter(([, point]) => samples.includes(point));
  if (points.length > 0) notes.push(`copied for the sampler: ${points.map(([point]) => point).join(', ')}`);
  if (count('capturesSuppressed') > 0) notes.push('not captured: the rate limit is reached');
  for (const address of resolved) notes.push(`requested the MAC address of ${addressOf(address)}`);
  if (port === 'secured' && flow === undefined && moved.drops.some(({ reason }) => reason === 'unknown_spi'))
    notes.push(
      'without the master keys no SPI counts as offered, nor does one of a version that is not configured',
    );
  return notes;
}

/** null if there is no IP packet that can be parsed. */
export function packetOf(ip: TracedPacket | undefined) {
  if (ip === undefined) return null;
  const { version, protocol, sourcePort, destinationPort, length, fragment, laterFragment } = ip;
  const ports = sourcePort !== 0 || destinationPort !== 0;
  return {
    version,
    source: addressOf(ip.source),
    destination: addressOf(ip.destination),
    protocol,
    sourcePort: ports ? sourcePort : null,
    destinationPort: ports ? destinationPort : null,
    length,
    fragment: fragment ? (laterFragment ? 'later' : 'first') : null,
  };
}

/** null if there is no PSP header. */
function pspOf({ psp }: FrameDissection) {
  if (psp === undefined) return null;
  const { spi, iv, version, ...rest } = psp;
  return { spi: formatSpi(spi), iv: formatEpoch(iv), version, encrypted: isEncrypted(version), ...rest };
}

const addressOf = (octets: Uint8Array): string => formatAddress(unmapped(octets));

/** RFC 3339 with nanoseconds; null beyond its years. */
function timeOf(ns: bigint): string | null {
  const ms = Number(ns / 1_000_000n);
  if (ms > 8.64e15) return null;
  const text = new Date(ms).toISOString();
  return text.replace(/\.\d{3}Z$/, `.${(ns % 1_000_000_000n).toString().padStart(9, '0')}Z`);
}
