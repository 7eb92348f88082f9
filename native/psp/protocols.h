// SPDX-License-Identifier: Apache-2.0
// The numbers of the protocols around PSP, each declared once: EtherTypes, IP protocol numbers, header
// lengths, fragmentation fields and ICMP types. Those of PSP itself are in header.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace psp {

// Ethernet (IEEE 802.3), with VLAN tags (IEEE 802.1Q clause 9). Lengths are in octets.
inline constexpr uint16_t kEthernetLength = 14, kVlanTag = 4;
inline constexpr uint16_t kEtherTypeIpv4 = 0x0800, kEtherTypeArp = 0x0806, kEtherTypeIpv6 = 0x86dd;
inline constexpr uint16_t kEtherTypeVlan = 0x8100, kEtherTypeServiceVlan = 0x88a8;

// Link type of a capture file (LINKTYPE_ETHERNET).
inline constexpr uint16_t kEthernetLink = 1;

// Assigned Internet protocol numbers.
inline constexpr uint8_t kProtocolIcmp = 1, kProtocolTcp = 6, kProtocolUdp = 17, kProtocolGre = 47,
                         kProtocolIcmpv6 = 58;
inline constexpr uint8_t kProtocolDccp = 33, kProtocolSctp = 132, kProtocolUdpLite = 136;
// IPv6 extension headers (RFC 8200 section 4, RFC 4302).
inline constexpr uint8_t kProtocolHopByHop = 0, kProtocolRouting = 43, kProtocolFragment = 44,
                         kProtocolAuthentication = 51, kProtocolDestinationOptions = 60;

// Octets of a header without options and extension headers.
inline constexpr uint16_t kIpv4Header = 20, kIpv6Header = 40, kTcpHeader = 20;
inline constexpr size_t kUdpHeaderLength = 8;
inline constexpr uint8_t kFragmentHeader = 8, kIcmpHeader = 8;
// The first octet of an IPv4 header without options: version 4, five words of 32 bits.
inline constexpr uint8_t kPlainIpv4 = 0x45;

// Octets from the start of an IPv6 header to its next header field (RFC 8200 section 3).
inline constexpr uint16_t kIpv6NextHeader = 6;
// IPv6 extension headers that a packet may have besides a fragment header; one with more counts as malformed.
inline constexpr int kExtensionsAtMost = 8;
// TTL and hop limit of ICMP messages that the gateway sends (RFC 1700).
inline constexpr uint8_t kIcmpHopLimit = 64;

// Flags and fragment offset of IPv4 (RFC 791 section 3.1); a packet is a fragment when either of the last two
// is set. The gateway sends packets that must not be fragmented with identification 0 (RFC 6864).
inline constexpr uint16_t kDontFragment = 0x4000, kMoreFragments = 0x2000, kFragmentOffset = 0x1fff;
inline constexpr uint16_t kAnyFragment = kMoreFragments | kFragmentOffset;
// The offset in an IPv6 fragment header, which is in octets (RFC 8200 section 4.5).
inline constexpr uint16_t kIpv6FragmentOffset = 0xfff8;

// Octets from the start of a UDP or TCP header to a field (RFC 768, RFC 9293).
inline constexpr uint8_t kUdpLength = 4, kUdpChecksum = 6, kTcpFlags = 13, kTcpChecksum = 16;

// ICMP (RFC 792): types, and the code of the error that reports an MTU (RFC 1191).
inline constexpr uint8_t kIcmpEchoReply = 0, kIcmpUnreachable = 3, kIcmpEchoRequest = 8;
inline constexpr uint8_t kFragmentationNeeded = 4;
// ICMPv6 (RFC 4443), with neighbour discovery (RFC 4861): router and neighbour solicitation and
// advertisement, and redirect, are the types from 133 to 137.
inline constexpr uint8_t kIcmpv6TooBig = 2, kIcmpv6EchoRequest = 128, kIcmpv6EchoReply = 129;
inline constexpr uint8_t kNeighbourSolicitation = 135, kNeighbourAdvertisement = 136;
inline constexpr uint8_t kDiscoveryFirst = 133, kDiscoveryLast = 137;

}  // namespace psp
