// SPDX-License-Identifier: Apache-2.0
// Reading IPv4 and IPv6 packets without believing their lengths, and the checksums in them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "psp/address.h"
#include "psp/protocols.h"

namespace psp {

struct IpPacket {
  uint8_t version = 0;           // 4 or 6
  bool fragment = false;         // part of a packet, also the first; an atomic fragment (RFC 6946) is whole
  bool later_fragment = false;   // offset not zero: no layer 4 header
  uint16_t protocol_offset = 0;  // of the octet that names `protocol`, in the last header before layer 4
  uint16_t payload_offset = 0;   // of layer 4, from the start of the IP header
  uint8_t protocol = 0;          // of the payload, behind IPv6 extension headers
  uint8_t traffic_class = 0;     // DSCP and ECN
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

// The Internet checksum of `length` octets, continued from `sum` (RFC 1071); not yet complemented. Only the
// last piece may be of odd length.
uint32_t checksum_add(const uint8_t* octets, size_t length, uint32_t sum);
// Folds and complements.
inline uint16_t checksum_fold(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~(sum + (sum >> 16)));
}

// Whether the checksum of an IPv4 header without options holds: the sum of its words, of 16 bits, is a
// multiple of 0xffff. So is then that of longer words in the machine's own order, carries added (RFC 1071
// section 2).
inline bool plain_ipv4_checksum_holds(const uint8_t* octets) {
  uint64_t words[2];
  uint32_t last;
  std::memcpy(words, octets, sizeof words);
  std::memcpy(&last, octets + sizeof words, sizeof last);
  uint64_t sum = words[0] + words[1];
  sum += sum < words[1];
  sum += last;
  sum += sum < last;
  return sum % 0xffff == 0;
}

// read_ip for a packet of version 4 whose header, of which 20 octets are there, claims to have `header`.
inline IpFault read_ipv4(const uint8_t* octets, size_t length, size_t header, IpPacket* packet) {
  // As they stand in the header, which need not be turned then.
  const uint16_t any_fragment = swap_to_network(kAnyFragment), offset = swap_to_network(kFragmentOffset);
  constexpr uint16_t kProtocol = 9;  // where it stands
  const size_t total = load_u16(octets + 2);
  if (header < kIpv4Header || total < header) return IpFault::kMalformed;
  if (total > length) return IpFault::kTruncated;
  const bool holds = header == kIpv4Header ? plain_ipv4_checksum_holds(octets)
                                           : checksum_fold(checksum_add(octets, header, 0)) == 0;
  if (!holds) return IpFault::kChecksum;
  uint16_t fragment;
  std::memcpy(&fragment, octets + 6, sizeof fragment);
  packet->version = 4;
  packet->fragment = fragment & any_fragment;
  packet->later_fragment = fragment & offset;
  packet->protocol_offset = kProtocol;
  packet->payload_offset = static_cast<uint16_t>(header);
  packet->protocol = octets[kProtocol];
  packet->traffic_class = octets[1];
  packet->length = static_cast<uint32_t>(total);
  packet->source = mapped(octets + 12);
  packet->destination = mapped(octets + 16);
  return IpFault::kNone;
}

// read_ip for all but IPv4 without options.
IpFault read_other_ip(const uint8_t* octets, size_t length, IpPacket* packet);

// Reads the packet at the start of `length` octets. An IPv6 packet with an address of ::ffff:0:0/96 is
// refused: it would pass for the IPv4 flow of these addresses.
inline IpFault read_ip(const uint8_t* octets, size_t length, IpPacket* packet) {
  if (length >= kIpv4Header && octets[0] == kPlainIpv4) return read_ipv4(octets, length, kIpv4Header, packet);
  return read_other_ip(octets, length, packet);
}

struct Ports {
  uint16_t source = 0, destination = 0;
};

// Whether layer 4 of a packet that read_ip accepted begins with a source and a destination port, which are
// here and not in another fragment.
inline bool has_ports(const IpPacket& packet) {
  if (packet.later_fragment || packet.payload_offset + 4u > packet.length) return false;
  switch (packet.protocol) {
    case kProtocolTcp:
    case kProtocolUdp:
    case kProtocolDccp:
    case kProtocolSctp:
    case kProtocolUdpLite:
      return true;
    default:
      return false;
  }
}
// Ports of a packet that read_ip accepted; zero where there are none.
inline Ports read_ports(const IpPacket& packet, const uint8_t* octets) {
  if (!has_ports(packet)) return {};
  return {load_u16(octets + packet.payload_offset), load_u16(octets + packet.payload_offset + 2)};
}

// Both halves of the product of two numbers, one upon the other.
inline uint64_t fold_product(uint64_t one, uint64_t other) {
  const auto product = static_cast<unsigned __int128>(one) * other;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// What the hash of a packet takes from its addresses, the same for all packets of a flow.
struct AddressHash {
  uint64_t value = 0;
  bool swapped = false;  // the destination counts as the first end
};
// Symmetric: the same for both directions of a conversation; a host's with itself is told by its ports alone.
AddressHash address_hash(const Address& source, const Address& destination, bool symmetric);
// Hash of addresses, protocol and ports, seeded; for ECMP entropy. Fragments: of addresses alone, so that
// those of one packet stay together. `addresses` is that of the packet.
inline uint32_t flow_hash(const AddressHash& addresses, const IpPacket& packet, const uint8_t* octets,
                          uint32_t seed) {
  constexpr uint64_t kNumber = 0x9e3779b97f4a7c15;
  uint64_t layer4 = uint64_t{seed} << 32;
  if (!packet.fragment) {
    layer4 ^= static_cast<uint64_t>(packet.protocol) << 32;
    if (has_ports(packet)) {
      const uint32_t ports = load_u32(octets + packet.payload_offset);
      layer4 ^= addresses.swapped ? ports << 16 | ports >> 16 : ports;
    }
  }
  return static_cast<uint32_t>(fold_product(addresses.value ^ layer4, kNumber) >> 32);
}
inline uint32_t flow_hash(const IpPacket& packet, const uint8_t* octets, uint32_t seed,
                          bool symmetric = false) {
  AddressHash addresses = address_hash(packet.source, packet.destination, symmetric);
  if (symmetric && is_same(packet.source, packet.destination)) {
    const Ports ports = read_ports(packet, octets);
    addresses.swapped = ports.source > ports.destination;
  }
  return flow_hash(addresses, packet, octets, seed);
}

// Sum of the pseudo-header (RFC 793, RFC 8200) for a layer 4 length; both addresses are of one family.
uint32_t pseudo_header_sum_ipv6(const Address& source, const Address& destination, uint8_t protocol,
                                uint32_t layer4_length);
inline uint32_t pseudo_header_sum(const Address& source, const Address& destination, uint8_t protocol,
                                  uint32_t layer4_length) {
  if (!is_ipv4(source)) return pseudo_header_sum_ipv6(source, destination, protocol, layer4_length);
  const uint32_t from = load_u32(source.data() + 12), to = load_u32(destination.data() + 12);
  return (from >> 16) + (from & 0xffff) + (to >> 16) + (to & 0xffff) + protocol + (layer4_length >> 16) +
         (layer4_length & 0xffff);
}
inline uint32_t pseudo_header_sum(const IpPacket& packet, uint32_t layer4_length) {
  return pseudo_header_sum(packet.source, packet.destination, packet.protocol, layer4_length);
}

// Writes the checksum of the IPv4 header at `octets`, whose length octet is right.
void write_ipv4_checksum(uint8_t* octets);

// A host whose checksums its interface would fill in leaves the folded pseudo-header sum in the field of a
// TCP or UDP packet. Where such a checksum stands in layer 4, or 0.
inline size_t checksum_offset(uint8_t protocol) {
  if (protocol == kProtocolUdp) return kUdpChecksum;
  return protocol == kProtocolTcp ? kTcpChecksum : 0;
}
// Whether a packet looks like that, of which read_ip read the headers. Fragments never do.
inline bool looks_partial(const IpPacket& packet, const uint8_t* octets) {
  const size_t offset = checksum_offset(packet.protocol);
  const uint32_t length = packet.length - packet.payload_offset;
  if (offset == 0 || packet.fragment || length < offset + 2) return false;
  const uint16_t field = load_u16(octets + packet.payload_offset + offset);
  if (packet.version != 4) {
    return field == static_cast<uint16_t>(~checksum_fold(pseudo_header_sum(packet, length)));
  }
  // As pseudo_header_sum, in the machine's own order: the sum does not mind. Folded it is the field, which
  // then is not 0, when their difference is a multiple of 0xffff.
  uint32_t from, to;
  std::memcpy(&from, packet.source.data() + 12, sizeof from);
  std::memcpy(&to, packet.destination.data() + 12, sizeof to);
  const uint64_t sum = uint64_t{from} + to + swap_to_network(static_cast<uint16_t>(length)) +
                       swap_to_network(static_cast<uint16_t>(packet.protocol));
  return field != 0 && (sum + 0xffff - swap_to_network(field)) % 0xffff == 0;
}
// Completes the checksum of a packet that looks partial; true when it did. One that is already right stays as
// it is.
bool complete_checksum(const IpPacket& packet, uint8_t* octets);

}  // namespace psp
