// SPDX-License-Identifier: Apache-2.0
// Checks a capture of the wire between two gateways: each frame must be UDP/1000 or a gateway's own ARP or neighbour
// discovery, none may contain a marker, and no IV may occur twice under an SPI of one gateway. Fragments are
// reassembled first and checked as whole packets. Nothing here is shared with the gateway's own code.
import type { Frame } from './capture.js';
import { octetsOf4, octetsOf6 } from './packet_octets.js';

export interface Fault {
  /** The violation. */
  what: 'not psp' | 'marker' | 'not the gateway' | 'the same IV again';
  /** Milliseconds since the epoch. */
  time: number;
  /** Hex of its first octets. */
  octets: string;
}

export interface Judgement {
  frames: number;
  /** UDP/1000, unfragmented or reassembled. */
  psp: number;
  /** Packets that arrived in fragments and were reassembled. */
  reassembled: number;
  /** Packets of which the first fragment arrived, but not all. */
  unfinished: number;
  neighbours: number;
  /** Versions of the PSP packets, and their SPIs by receiving gateway. */
  versions: Set<number>;
  spis: Set<string>;
  faults: Fault[];
}

export interface Gatekeeper {
  mac: Buffer;
  /** The gateway's outer address; ARP and neighbour discovery come from there, or from a link-local address. */
  address: string;
}

/** The fields of an IP packet that the checks need. */
interface Packet {
  /** Protocol of layer 4, after all extension headers that may precede it or a fragment header. */
  protocol: number;
  /** The octets after the headers before layer 4. */
  payload: Buffer;
  fragment?: { key: string; offset: number; more: boolean };
}

const pspPort = 1000;
const shown = 96;

export function judge(
  frames: readonly Frame[],
  gateways: readonly Gatekeeper[],
  markers: readonly string[],
): Judgement {
  const needles = markers.map((marker) => Buffer.from(marker, 'latin1'));
  const result: Judgement = {
    frames: 0,
    psp: 0,
    reassembled: 0,
    unfinished: 0,
    neighbours: 0,
    versions: new Set(),
    spis: new Set(),
    faults: [],
  };
  const parts = new Map<string, { time: number; pieces: Map<number, Piece> }>();
  const seen = new Set<string>();
  const blame = (what: Fault['what'], time: number, octets: Buffer) =>
    result.faults.push({ what, time: time * 1000, octets: octets.subarray(0, shown).toString('hex') });
  const settle = (protocol: number, payload: Buffer, time: number, mac: string) => {
    if (!isPsp(protocol, payload)) return blame('not psp', time, payload);
    result.psp++;
    result.versions.add(((payload[11] ?? 0) >> 2) & 15);
    // By destination gateway: the key of an SPI is that of its receiver.
    const spi = `${mac} ${payload.toString('hex', 12, 16)}`;
    const nonce = `${spi} ${payload.toString('hex', 16, 24)}`;
    if (seen.has(nonce)) blame('the same IV again', time, payload);
    result.spis.add(spi);
    seen.add(nonce);
  };
  for (const { octets, time } of frames) {
    result.frames++;
    if (needles.some((needle) => octets.includes(needle))) blame('marker', time, octets);
    const packet = packetOf(octets);
    const mac = octets.toString('hex', 0, 6);
    if (isNeighbourTalk(octets, packet)) {
      result.neighbours++;
      if (!gateways.some((gateway) => isFrom(octets, gateway))) blame('not the gateway', time, octets);
    } else if (packet === undefined) {
      blame('not psp', time, octets);
    } else if (packet.fragment === undefined) {
      settle(packet.protocol, packet.payload, time, mac);
    } else {
      const { key, offset, more } = packet.fragment;
      const part = parts.get(key) ?? { time, pieces: new Map<number, Piece>() };
      part.pieces.set(offset, { payload: packet.payload, more, protocol: packet.protocol });
      parts.set(key, part);
      const whole = assembled(part.pieces);
      if (whole === undefined) continue;
      parts.delete(key);
      result.reassembled++;
      settle(part.pieces.get(0)?.protocol ?? 0, whole, time, mac);
      if (needles.some((needle) => whole.includes(needle))) blame('marker', time, whole);
    }
  }
  for (const { time, pieces } of parts.values()) {
    const first = pieces.get(0);
    const [any] = pieces.values();
    if (first !== undefined && isPsp(first.protocol, first.payload)) result.unfinished++;
    else blame('not psp', time, (first ?? any)?.payload ?? Buffer.alloc(0));
  }
  return result;
}

interface Piece {
  payload: Buffer;
  more: boolean;
  protocol: number;
}

const isPsp = (protocol: number, payload: Buffer): boolean =>
  protocol === 17 && payload.length >= 8 && payload.readUInt16BE(2) === pspPort;

/** The whole payload, once no octet between the first and the last piece is missing. */
function assembled(pieces: Map<number, Piece>): Buffer | undefined {
  const inOrder: Buffer[] = [];
  for (let offset = 0; ; ) {
    const piece = pieces.get(offset);
    if (piece === undefined || piece.payload.length === 0) return undefined;
    inOrder.push(piece.payload);
    if (!piece.more) return Buffer.concat(inOrder);
    offset += piece.payload.length;
  }
}

function packetOf(frame: Buffer): Packet | undefined {
  if (frame.length < 34) return undefined;
  const type = frame.readUInt16BE(12);
  const packet = frame.subarray(14);
  if (type === 0x0800 && (packet[0] ?? 0) >> 4 === 4) return ofIpv4(packet);
  if (type === 0x86dd && (packet[0] ?? 0) >> 4 === 6 && packet.length >= 40) return ofIpv6(packet);
  return undefined;
}

function ofIpv4(packet: Buffer): Packet {
  const header = ((packet[0] ?? 0) & 15) * 4;
  const word = packet.readUInt16BE(6);
  const protocol = packet[9] ?? 0;
  const payload = packet.subarray(header, packet.readUInt16BE(2));
  if ((word & 0x3fff) === 0) return { protocol, payload };
  const key = `4 ${packet.subarray(12, 20).toString('hex')} ${packet.readUInt16BE(4)} ${protocol}`;
  return { protocol, payload, fragment: { key, offset: (word & 0x1fff) * 8, more: (word & 0x2000) !== 0 } };
}

/** Hop-by-hop options, routing headers and destination options may precede UDP or a fragment header. */
function ofIpv6(packet: Buffer): Packet {
  const end = 40 + packet.readUInt16BE(4);
  let protocol = packet[6] ?? 59;
  let at = 40;
  while ([0, 43, 60].includes(protocol) && at + 8 <= packet.length) {
    protocol = packet[at] ?? 59;
    at += ((packet[at + 1] ?? 0) + 1) * 8;
  }
  if (protocol !== 44 || at + 8 > packet.length) return { protocol, payload: packet.subarray(at, end) };
  const word = packet.readUInt16BE(at + 2);
  const key = `6 ${packet.subarray(8, 40).toString('hex')} ${packet.readUInt32BE(at + 4)}`;
  const payload = packet.subarray(at + 8, end);
  return {
    protocol: packet[at] ?? 59,
    payload,
    fragment: { key, offset: word & 0xfff8, more: (word & 1) === 1 },
  };
}

const isArp = (frame: Buffer): boolean => frame.length >= 42 && frame.readUInt16BE(12) === 0x0806;
const isNeighbourTalk = (frame: Buffer, packet: Packet | undefined): boolean =>
  isArp(frame) || (packet?.protocol === 58 && [135, 136].includes(packet.payload[0] ?? 0));

/** Whether ARP or neighbour discovery is the gateway's own, by all fields that describe its sender. */
function isFrom(frame: Buffer, { mac, address }: Gatekeeper): boolean {
  if (!frame.subarray(6, 12).equals(mac)) return false;
  if (!isArp(frame)) {
    const source = frame.subarray(22, 38);
    return source.equals(addressOf(address)) || source.readUInt16BE(0) === 0xfe80;
  }
  return frame.subarray(22, 28).equals(mac) && frame.subarray(28, 32).equals(addressOf(address));
}

const addressOf = (text: string): Buffer => (text.includes(':') ? octetsOf6(text) : octetsOf4(text));
