// SPDX-License-Identifier: Apache-2.0
// Peers that are known by the source address of their connections alone, because their software has no TLS. Their
// address is that of their endpoint. Such a peer is never known by a certificate, and no other peer by its address.
import { formatAddress, mapped, parseAddress, parseEndpoint, unmapped } from '../../shared/address.js';
import type { Peer } from './rules.js';

/** An address in its canonical text, an IPv4 address also if the socket is an IPv6 one; undefined for anything else. */
export function canonicalSource(text: string): string | undefined {
  try {
    // The zone of a link-local address is no part of it.
    return formatAddress(unmapped(mapped(parseAddress(text.replace(/%.*$/, '')))));
  } catch {
    return undefined;
  }
}

/** The peers with insecureReferenceInterop by their source address. */
export function peersBySource(peers: Iterable<Peer>): ReadonlyMap<string, Peer> {
  const bySource = new Map<string, Peer>();
  for (const peer of peers) {
    if (peer.insecure) bySource.set(canonicalSource(parseEndpoint(peer.endpoint).host) ?? '', peer);
  }
  return bySource;
}

/** The other peers, by the identity in their certificates. */
export const peersByIdentity = (peers: Iterable<Peer>): ReadonlyMap<string, Peer> =>
  new Map(
    Array.from(peers, (peer) => [peer.identity, peer] as const).filter(([, { insecure }]) => !insecure),
  );
