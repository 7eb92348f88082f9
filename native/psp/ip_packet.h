// SPDX-License-Identifier: Apache-2.0
// Reading IPv4 and IPv6 packets without believing their lengths, and the checksums in them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "psp/address.h"

namespace psp {

inline constexpr uint8_t kProtocolIcmp = 1, kProtocolTcp = 6, kProtocolUdp = 17, kProtocolIcmpv6 = 58;
inline constexpr uint8_t kProtocolDccp = 33, kProtocolSctp = 132, kProtocolUdpLite = 136;
// IPv6 extension headers (RFC 8200 section 4, RFC 4302).
inline constexpr uint8_t kProtocolHopByHop = 0, kProtocolRouting = 43, kProtocolFragment = 44,
                         kProtocolAuthentication = 51, kProtocolDestinationOptions = 60;

struct IpPacket {
  uint8_t version = 0;           // 4 or 6
  uint8_t protocol = 0;          // of the payload, behind IPv6 extension headers
  uint8_t traffic_class = 0;     // DSCP and ECN
  bool fragment = false;         // part of a packet, also the first; an atomic fragment (RFC 6946) is whole
  bool later_fragment = false;   // offset not zero: no layer 4 header
  uint16_t protocol_offset = 0;  // of the octet that names `protocol`, in the last header before layer 4
  uint16_t payload_offset = 0;   // of layer 4, from the start of the IP header
  uint32_t length = 0;           // of the IP packet as its header says; link padding is beyond
  Address source{};
  Address destination{};
};

enum class IpFault : uint8_t {
  kNone,
  kTruncated,  // fewer octets than its header says
  kMalformed,  // version, header length, total length or extension chain impossible; a mapped IPv4 address
  kChecksum,   // IPv4 header checksum wrong
};

// Reads the packet at the start of `length` octets. An IPv6 packet with an address of ::ffff:0:0/96 is
// refused: it would pass for the IPv4 flow of these addresses.
IpFault read_ip(const uint8_t* octets, size_t length, IpPacket* packet);

struct Ports {
  uint16_t source = 0, destination = 0;
};

// Ports of a packet that read_ip accepted; zero where its protocol has none or its front is elsewhere.
Ports read_ports(const IpPacket& packet, const uint8_t* octets);

// Hash of addresses, protocol and ports, seeded; for ECMP entropy. Fragments: of addresses alone, so that
// those of one packet stay together. Symmetric: the same for both directions of a conversation.
uint32_t flow_hash(const IpPacket& packet, const uint8_t* octets, uint32_t seed, bool symmetric = false);

// The Internet checksum of `length` octets, continued from `sum` (RFC 1071); not yet complemented. Only the
// last piece may be of odd length.
uint32_t checksum_add(const uint8_t* octets, size_t length, uint32_t sum);
// Folds and complements.
inline uint16_t checksum_fold(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~(sum + (sum >> 16)));
}
// Sum of the pseudo-header (RFC 793, RFC 8200) for a layer 4 length; both addresses are of one family.
uint32_t pseudo_header_sum(const Address& source, const Address& destination, uint8_t protocol,
                           uint32_t layer4_length);
inline uint32_t pseudo_header_sum(const IpPacket& packet, uint32_t layer4_length) {
  return pseudo_header_sum(packet.source, packet.destination, packet.protocol, layer4_length);
}

// Writes the checksum of the IPv4 header at `octets`, whose length octet is right.
void write_ipv4_checksum(uint8_t* octets);

// A host whose checksums its interface would fill in leaves the folded pseudo-header sum in the field of a
// TCP or UDP packet. Completes it; true when it did. Fragments are left alone. A checksum that is already
// right stays as it is.
bool complete_checksum(const IpPacket& packet, uint8_t* octets);

}  // namespace psp
