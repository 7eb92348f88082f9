// SPDX-License-Identifier: Apache-2.0
// Frames of the wire sealed by the implementation that makes the vectors, under keys that a gateway gave to a client
// with its peer's identity: packets that a correct peer would never send.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { type IpFields, ipPacket, udp } from '../vectors/ip.js';
import { sealPacket } from '../vectors/packet.js';
import type { Gateway } from './gateway.js';
import { frame, octetsOf4 } from './packet_octets.js';
import { macIn } from './raw_frames.js';
import type { Topology } from './topology.js';

/** One direction of a pair over IPv4, from the view of the owner of its keys. */
export interface Way {
  into: Gateway;
  /** The addresses of its peer and of itself on the wire, and the port of the wire that leads to it. */
  from: string;
  to: string;
  fromMac: Buffer;
  toMac: Buffer;
  port: 'to-a' | 'to-b';
  /** A host behind the gateway, one behind its peer (the agreed flow), and another address. */
  host: string;
  agreed: string;
  other: string;
  spi: number;
  version: number;
  key: Buffer;
}

/** The offers of a peer for the reverse direction. */
export interface Offer {
  spi: number;
  /** Of version 1. */
  key: Buffer;
}

/** Requests a tunnel from a gateway with its peer's identity, several times, with these offers in turn. */
export async function keysInto(
  net: Topology,
  into: 'a' | 'b',
  offers: readonly Offer[] = [{ spi: 0x1234_5678, key: randomBytes(32) }],
  times = 1,
): Promise<Way> {
  const [own, from] = into === 'a' ? [1, 2] : [2, 1];
  const peer = into === 'a' ? net.b : net.a;
  const way = {
    into: net[into],
    from: `192.0.2.${from}`,
    to: `192.0.2.${own}`,
    fromMac: macIn(peer.namespace, 'veth-wire'),
    toMac: macIn(net[into].namespace, 'veth-wire'),
    port: `to-${into}` as const,
    host: `10.${own}.0.2`,
    agreed: `10.${from}.0.50`,
    other: `10.${from}.0.51`,
  };
  const request = {
    tls: join(peer.files, 'tls'),
    endpoint: `198.51.100.${own}:3000`,
    version: 1,
    source: way.agreed,
    destination: way.host,
    address: way.from,
    mac: way.fromMac.toString('hex').replace(/..(?=.)/g, '$&:'),
    offers: offers.map(({ spi, key }) => ({ spi, key: key.toString('hex') })),
    times,
  };
  const agent = fromPackageRoot('dist/test/e2e/agents/tunnel_asker.js');
  const { code, stdout, stderr } = await peer.namespace.try(process.execPath, [
    agent,
    JSON.stringify(request),
  ]);
  if (code !== 0) throw new Error(`asking for a tunnel failed: ${stderr}`);
  const given = JSON.parse(stdout) as { spi: number; version: number; key: string };
  return { ...way, ...given, key: Buffer.from(given.key, 'hex') };
}

let iv = 1n;

/** A frame of the wire with a sealed datagram from an address behind the peer. */
export function sealed(way: Way, source: string, port: number, text: string): Buffer {
  const ends = (from: string, to: string): IpFields => ({
    source: octetsOf4(from),
    destination: octetsOf4(to),
    trafficClass: 0,
    hopLimit: 64,
  });
  const inner = ends(source, way.host);
  const packet = ipPacket(inner, udp(40_000, port, Buffer.from(text), inner));
  const header = {
    version: way.version,
    spi: way.spi,
    iv: iv++,
    cryptOffset: 0,
    sample: false,
    drop: false,
    cookie: undefined,
    extension: Buffer.alloc(0),
    reserved: 0,
  };
  const sealing = { key: way.key, header, udpSource: 50_000, udpChecksum: false };
  const octets = sealPacket(packet, { ...sealing, outer: ends(way.from, way.to) });
  return frame(way.toMac, way.fromMac, 0x0800, octets);
}
