// SPDX-License-Identifier: Apache-2.0
// The output formats of a sample: one JSON line of metadata (docs/schemas/sample.json), and one packet of a pcapng file with
// the copy. The sampler and `psp tap` use them. Samples are validated first, because programs that read lines and files
// trust their form.
import type { Sample, SamplePoint } from '../../../proto/gen/bus.js';
import { formatAddress, formatSpi } from '../address.js';
import { highestSamplingLog2 } from '../limits.js';
import { isNodeName } from '../node_name.js';
import { directions, interfaceDescription, linkTypes, type Packet, sectionHeader } from './pcapng.js';
import { samplePoints } from './sample_points.js';

/**
 * The sampling points: their names, and the first header of their copies. The index is that of the pcapng interface.
 * Captured packets have interfaces of their own, because they failed and may contain anything.
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
    description: 'frames from the wire that could not be opened',
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

/** By point; undefined for an unknown one. */
const interfaces: readonly (number | undefined)[] = points.reduce<(number | undefined)[]>(
  (known, { point }, i) => {
    known[point] = i;
    return known;
  },
  [],
);
const interfaceOf = ({ point }: Sample): number => interfaces[point] ?? 0;

const captured: readonly SamplePoint[] = [samplePoints.ingressFailed, samplePoints.egressFailed];
/** A name of the table of drop reasons, preceded by the direction. */
const isReason = (text: string): boolean => /^(?:egress|ingress)\/[a-z][a-z0-9_]{0,63}$/.test(text);

/** In the year 2255: the last time that a number represents with microseconds. */
const lastUs = BigInt(Number.MAX_SAFE_INTEGER);
const longestPacket = 0xffff;

/** Whether a sample from the bus is valid. */
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
    // A captured packet may have no peer; every other sample has a peer and no reason.
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

/** A valid sample as a packet of a file that began with `samplesHeader`. */
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
 * Renders samples as JSON lines. An instance caches the last second and the addresses that it rendered, because consecutive
 * samples share them.
 */
export class LineWriter {
  #second = -1;
  #date = '';
  readonly #addresses = new Map<string, string>();

  /** The line of a valid sample in ASCII, with its newline. */
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
