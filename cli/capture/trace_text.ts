// SPDX-License-Identifier: Apache-2.0
// A trace as text: one block per frame with its pipes, then other events, the frames that left, and its fate.
import { protocolName } from '../../services/shared/config/bypass.js';
import {
  type Fate,
  type FrameReport,
  fates,
  type Packet,
  type Psp,
  type TraceReport,
} from './trace_steps.js';

export interface About {
  file: string;
  node: string;
  port: 'unsecured' | 'secured';
  unsecuredMtu: number;
  securedMtu: number;
}

export function traceText(trace: About & TraceReport): string {
  const { node, file, port, unsecuredMtu, securedMtu, frames, more } = trace;
  const first = frames.find(({ time }) => time !== null)?.time ?? null;
  const mtus = `MTU ${unsecuredMtu} unsecured, ${securedMtu} secured`;
  return [
    `node ${node}: the frames of ${file} arrive at its ${port} port; ${mtus}`,
    ...frames.map((frame) => frameText(frame, first)),
    summary(trace),
    ...(more ? ['there are more frames: use --limit'] : []),
  ].join('\n\n');
}

const ends: Record<Fate, string> = {
  forwarded: 'forwarded',
  bypassed: 'passed unencrypted',
  held: 'held until the flow has a key',
  waiting: 'waits for the other fragments of its packet',
  consumed: 'consumed by the gateway',
  dropped: 'dropped',
  skipped: 'skipped',
};

function summary({ frames, fates: counts, held, fragmentsWaiting }: TraceReport): string {
  const parts = fates.filter((fate) => counts[fate] > 0).map((fate) => `${counts[fate]} ${fate}`);
  const total = `${frames.length} frames: ${parts.join(', ') || 'none'}`;
  return `${total}; at the end ${held} packets are held and ${fragmentsWaiting} fragments wait`;
}

function frameText(frame: FrameReport, first: string | null): string {
  const { number, time, length, packet, psp, inner, steps, notes, left, fate, drops, dropsOfEarlier } = frame;
  const head = [
    `frame ${number}`,
    ...(time === null || first === null ? [] : [`${secondsBetween(first, time)} s`]),
    `${length} octets`,
    ...(packet === null ? [] : [packetText(packet)]),
    ...(psp === null ? [] : [pspText(psp)]),
  ];
  const earlier = dropsOfEarlier.map(
    ({ packets, direction, reason }) => `${packets} earlier dropped: ${direction}/${reason}`,
  );
  const out = left.map(
    ({ port, length, packet, psp, tooBigMtu }) =>
      `-> ${port} port: ${[
        `${length} octets`,
        packet === null ? 'an answer to a neighbour request' : packetText(packet),
        ...(psp === null ? [] : [pspText(psp)]),
        ...(tooBigMtu === null ? [] : [`too big, MTU ${tooBigMtu}`]),
      ].join(', ')}`,
  );
  const causes = drops.flatMap(({ direction, reason, cause, remedy }) => [
    `dropped: ${direction}/${reason}. ${cause}`,
    `what to do: ${remedy}`,
  ]);
  const lines = [
    ...(inner === null ? [] : [`carries ${packetText(inner)}`]),
    ...earlier,
    ...steps.map(({ pipe, outcome, why }) => `${pipe.padEnd(16)} ${outcome.padEnd(4)} ${why}`.trimEnd()),
    ...notes,
    ...out,
    ...(causes.length > 0 ? causes : [ends[fate]]),
  ];
  return [head.join('  '), ...lines.map((line) => `  ${line}`)].join('\n');
}

function packetText({
  source,
  destination,
  protocol,
  sourcePort,
  destinationPort,
  fragment,
}: Packet): string {
  const end = (address: string, port: number | null) => (port === null ? address : `${address} port ${port}`);
  const part = fragment === null ? '' : ` (${fragment} fragment)`;
  return `${end(source, sourcePort)} > ${end(destination, destinationPort)} ${protocolName(protocol)}${part}`;
}

function pspText({ spi, version, encrypted, iv, sample, drop, cryptOffset, cookie }: Psp): string {
  return [
    `SPI ${spi}`,
    `version ${version}${encrypted ? '' : ' NOT ENCRYPTED'}`,
    `IV ${iv}`,
    ...(cryptOffset === 0 ? [] : [`crypt offset ${cryptOffset}`]),
    ...(cookie ? ['cookie'] : []),
    ...(sample ? ['S'] : []),
    ...(drop ? ['D'] : []),
  ].join(' ');
}

/** The distance of two times with nanoseconds, with six decimals. */
function secondsBetween(from: string, to: string): string {
  const ns = (time: string) =>
    BigInt(Date.parse(time.replace(/\.\d+Z$/, 'Z'))) * 1_000_000n + BigInt(time.slice(-10, -1));
  const between = ns(to) - ns(from);
  const magnitude = between < 0n ? -between : between;
  const micros = (magnitude / 1000n).toString().padStart(7, '0');
  return `${between < 0n ? '-' : ''}${micros.slice(0, -6)}.${micros.slice(-6)}`;
}
