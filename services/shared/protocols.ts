// SPDX-License-Identifier: Apache-2.0
// The numbers of PSP and of the protocols around it that TypeScript needs. C++ declares them in native/psp/header.h and
// native/psp/protocols.h; a house test compares them.

/** The UDP port of PSP (PSP specification, "UDP Header"). */
export const pspPort = 1000;

/** Octets of an IP header without options and extension headers. */
export const ipHeaderOctets = { 4: 20, 6: 40 } as const;

/** The smallest MTU that every link of a family has (RFC 791, RFC 8200 section 5). */
export const leastMtu = { 4: 576, 6: 1280 } as const;

/** Assigned Internet protocol numbers. */
export const ipProtocols = { icmp: 1, tcp: 6, udp: 17, dccp: 33, icmpv6: 58, sctp: 132 } as const;

/** Protocol numbers of IPv6 extension headers (RFC 8200 section 4, RFC 4302). */
export const extensionHeaders = {
  hopByHop: 0,
  routing: 43,
  fragment: 44,
  authentication: 51,
  destinationOptions: 60,
} as const;

/** ICMPv6 types of neighbour discovery (RFC 4861). */
export const neighbourDiscovery = { solicitation: 135, advertisement: 136 } as const;

/** Octets that encapsulation adds besides an outer IP header: UDP header, PSP header, ICV. */
export const encapsulationOctets = 8 + 16 + 16;

/** Octets of a virtualization cookie (PSP specification, "PSP Header"). */
export const cookieOctets = 8;

/** The crypt offset of a PSP header has 6 bits. */
export const highestCryptOffset = 63;

/** Octets of the key of a PSP version (PSP specification, "Packet Encryption"). */
export const keyLengthOf = (version: number): number => (version & 1 ? 32 : 16);
