// SPDX-License-Identifier: Apache-2.0
// A sample as it is shown: one JSON line of metadata, and one packet of a pcapng file with the copy. Used by the
// sampler and by `psp tap`. Samples are checked before they are shown, because lines and files are for programs
// that trust their form. Lines: docs/schemas/sample.json.
import type { Sample, SamplePoint } from '../../../proto/gen/bus.js';
import { formatAddress, formatSpi } from '../address.js';
import { highestSamplingLog2 } from '../limits.js';
import { isNodeName } from '../node_name.js';
import { directions, interfaceDescription, linkTypes, type Packet, sectionHeader } from './pcapng.js';
import { samplePoints } from './sample_points.js';

/**
 * The points: how they are called, what their copies begin with. The position is the pcapng interface. Captured
 * packets have interfaces of their own: they failed, and may hold anything.
 */
const points = [
  {
    point: samplePoints.egressSealed,
    name: 'egress_sealed',
    direction: 'egress',
    flag: directions.outbound,
    linkType: linkTypes.ethernet,
    description: 'sealed packets on their way to the wire',
  },
  {
    point: samplePoints.ingressOpened,
    name: 'ingress_opened',
    direction: 'ingress',
    flag: directions.inbound,
    linkType: linkTypes.raw,
    description: 'inner packets that were opened and authenticated',
  },
  {
    point: samplePoints.egressPlain,
    name: 'egress_plain',
    direction: 'egress',
    flag: directions.outbound,
    linkType: linkTypes.raw,
    description: 'inner packets before they are sealed',
  },
  {
    point: samplePoints.ingressFailed,
    name: 'ingress_failed',
    direction: 'ingress',
    flag: directions.inbound,
    linkType: linkTypes.ethernet,
    description: 'frames from the wire that did not open',
  },
  {
    point: samplePoints.egressFailed,
    name: 'egress_failed',
    direction: 'egress',
    flag: directions.outbound,
    linkType: linkTypes.raw,
    description: 'inner packets that could not be sealed',
  },
] as const;

/** By point; undefined for what is no point. */
const interfaces: readonly (number | undefined)[] = points.reduce<(number | undefined)[]>(
  (known, { point }, i) => {
    known[point] = i;
    return known;
  },
  [],
);
const interfaceOf = ({ point }: Sample): number => interfaces[point] ?? 0;

const captured: readonly SamplePoint[] = [samplePoints.ingressFailed, samplePoints.egressFailed];
/** As the table of drop reasons writes them, with the direction in front. */
const isReason = (text: string): boolean => /^(?:egress|ingress)\/[a-z][a-z0-9_]{0,63}$/.test(text);

/** In 2255: the last time that a number tells to the microsecond. */
const lastUs = BigInt(Number.MAX_SAFE_INTEGER);
const longestPacket = 0xffff;

/** Whether a sample that came over the bus has the form that it must have. */
export function isWellFormed(sample: Sample): boolean {
  const { flow, copy } = sample;
  const family = flow?.source.length;
  return (
    interfaces[sample.point] !== undefined &&
    (family === 4 || family === 16) &&
    flow?.destination.length === family &&
    sample.atUs <= lastUs &&
    sample.protocol <= 0xff &&
    sample.sourcePort <= 0xffff &&
    sample.destinationPort <= 0xffff &&
    (sample.rateLog2 ?? 0) <= highestSamplingLog2 &&
    // What failed may be of no peer; whatever else is a sample has one, and no reason.
    (captured.includes(sample.point)
      ? isReason(sample.reason) && (sample.peer === '' || isNodeName(sample.peer))
      : sample.reason === '' && isNodeName(sample.peer)) &&
    copy.length <= sample.originalLength &&
    sample.originalLength <= longestPacket
  );
}

/**
 * The first blocks of a pcapng file of samples.
 * @param snapBytes octets of each packet that are copied.
 * @param version of this package, recorded as the application that wrote the file.
 */
export const samplesHeader = (node: string, snapBytes: number, version: string): Buffer =>
  Buffer.concat([
    sectionHeader(`psp ${version}`, `samples of PSP gateway ${node}`),
    ...points.map(({ name, description, linkType }) =>
      interfaceDescription({ name, description, linkType, snapBytes }),
    ),
  ]);

/** A whole sample as a packet of a file that began with `samplesHeader`. */
export function packetOf(sample: Sample): Packet {
  const index = interfaceOf(sample);
  const { name, flag } = points[index] as (typeof points)[number];
  const rate = sample.rateLog2 === undefined ? '' : `, rate 1/${2 ** sample.rateLog2}`;
  const of = sample.peer === '' ? '' : `peer ${sample.peer}, `;
  const why = sample.reason === '' ? '' : `, dropped as ${sample.reason}`;
  return {
    interface: index,
    atUs: sample.atUs,
    originalLength: sample.originalLength,
    direction: flag,
    comment: `${of}SPI ${formatSpi(sample.spi)}, point ${name}${rate}${why}`,
    copy: sample.copy,
  };
}

/**
 * Renders samples as JSON lines. One instance remembers the last second and the addresses that it met, because
 * neighbours share them.
 */
export class LineWriter {
  #second = -1;
  #date = '';
  readonly #addresses = new Map<string, string>();

  /** The line of a whole sample, ASCII, ended by a newline. */
  line(sample: Sample): string {
    const { name, direction } = points[interfaceOf(sample)] as (typeof points)[number];
    const { flow, sourcePort, destinationPort, rateLog2 } = sample;
    return (
      `{"time":"${this.#time(Number(sample.atUs))}","point":"${name}","direction":"${direction}",` +
      `"peer":${sample.peer === '' ? null : `"${sample.peer}"`},"source":"${this.#address(flow?.source)}",` +
      `"destination":"${this.#address(flow?.destination)}","protocol":${sample.protocol},` +
      `"sourcePort":${sourcePort || null},"destinationPort":${destinationPort || null},` +
      `"spi":"${formatSpi(sample.spi)}","rateLog2":${rateLog2 ?? null},` +
      `"reason":${sample.reason === '' ? null : `"${sample.reason}"`},` +
      `"length":${sample.originalLength},"copied":${sample.copy.length}}\n`
    );
  }

  /** "2026-01-02T03:04:05.000006Z" */
  #time(us: number): string {
    const second = Math.floor(us / 1_000_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#date = new Date(second * 1000).toISOString().slice(0, 20);
    }
    return `${this.#date}${String(us - second * 1_000_000).padStart(6, '0')}Z`;
  }

  #address(octets: Uint8Array | undefined): string {
    if (octets === undefined) return '';
    if (octets.length === 4) return `${octets[0]}.${octets[1]}.${octets[2]}.${octets[3]}`;
    const key = Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1');
    let text = this.#addresses.get(key);
    if (text === undefined) {
      if (this.#addresses.size >= rememberedAddresses) this.#addresses.clear();
      text = formatAddress(octets);
      this.#addresses.set(key, text);
    }
    return text;
  }
}

const rememberedAddresses = 4096;
